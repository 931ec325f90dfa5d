/**
 * The flush job: frozen memtables become tables of level 0, and count marks become deltas.
 *
 * Only the newest record of each (key, sub-key) is written; not written are records that a range deletion in
 * the sources or in force hides, chunks that their key's newest record hides, and tombstones of keys that no table
 * can hold. All records of lower sequences are in the tables, which decide whether a marked record's key existed.
 *
 * Hot: budget 400 ms for 600k records of 100 bytes; see bench/micro/flush.bench.ts.
 */
import { RecordType } from "../base/record.ts";
import { SLOT_COUNT } from "../base/slot.ts";
import { ChunkFilter } from "./chunk-filter.ts";
import { CountResolver } from "./count-resolver.ts";
import { ExpiredCollector } from "./expired-collector.ts";
import { SortedSources } from "./flush-sort.ts";
import { isLiveType, RecordView } from "./order-key.ts";
import { hiddenBelow } from "./range-deletions.ts";
import { EMPTY_RESULT, type FlushJob, type JobSteps, type ResolveJob } from "./storage-job.ts";
import type { TablePool } from "./table-pool.ts";
import { TableWriter } from "./table-writer.ts";

/** A flush is cut at partitions only if its tables are not tiny then. */
const PARTITION_BYTES_MIN = 4 * 1024 * 1024;
/** Records between two yields. */
const SLICE_RECORDS = 65_536;

export function* runFlush(job: FlushJob, pool: TablePool): JobSteps {
  const sorted = new SortedSources(job.sources);
  yield 0;
  const last = job.sources.at(-1)!;
  const sourceBytes = job.sources.reduce((sum, source) => sum + source.bytes.byteLength, 0);
  const isLarge = sourceBytes >= job.output.partitions * PARTITION_BYTES_MIN;
  const output = { ...job.output, partitions: isLarge ? job.output.partitions : 1 };
  // Deletions of the sources are applied to the sources, and older ones hide nothing in them.
  const writer = new TableWriter(
    pool.fileSystem,
    output,
    last.firstSequence + last.recordCount - 1,
  );
  const expired = new ExpiredCollector(job.expiredMax);
  const deltas = new Float64Array(SLOT_COUNT);
  let finished = false;
  try {
    const written = yield* write(job, pool, { sorted, writer, expired, deltas });
    const tables = writer.finish();
    finished = true;
    return {
      ...EMPTY_RESULT,
      tables,
      deltas,
      rangeDeletions: sorted.rangeDeletions,
      expired: expired.batch(),
      resumePosition: expired.resumePosition,
      bytesWritten: tables.reduce((sum, table) => sum + table.bytes, 0),
      droppedCount: sorted.count - written,
    };
  } finally {
    if (!finished) writer.abandon();
    sorted.free();
  }
}

interface FlushState {
  readonly sorted: SortedSources;
  readonly writer: TableWriter;
  readonly expired: ExpiredCollector;
  readonly deltas: Float64Array;
}

/** Returns the number of records written. */
function* write(
  job: FlushJob,
  pool: TablePool,
  state: FlushState,
): Generator<number, number, void> {
  const { sorted, writer, deltas } = state;
  const hidden = hiddenBelow([...job.rangeDeletions, ...sorted.rangeDeletions]);
  const tables = new CountResolver({
    pool,
    directory: job.output.directory,
    levels: job.levels,
    hidden,
  });
  const chunks = new ChunkFilter();
  const record = new RecordView();
  const clockMs = job.output.clockMs;
  let written = 0;
  let isOlderVersion = false;
  for (let i = 0; i < sorted.count; i++) {
    if (i % SLICE_RECORDS === SLICE_RECORDS - 1) yield 0;
    const skips = isOlderVersion;
    isOlderVersion = sorted.sameAsNext(i);
    const isMarked = sorted.isMarked(i);
    if (skips && !isMarked) continue;
    sorted.read(i, record);
    if (record.sequence < hidden[record.slot]!) continue;
    if (isMarked) deltas[record.slot]! += delta(state.sorted, i, record, tables);
    if (skips || !chunks.keeps(record)) continue;
    if (record.type === RecordType.TOMBSTONE && !tables.mayHold(record)) continue;
    if (record.expiry !== 0 && record.expiry <= clockMs && isLiveType(record.type)) {
      state.expired.add(record);
    }
    writer.add(record);
    written++;
  }
  return written;
}

const older = new RecordView();

/** What the marked i-th record changes in its slot's count. */
function delta(
  sorted: SortedSources,
  i: number,
  record: RecordView,
  tables: CountResolver,
): number {
  if (record.subKeyEnd !== record.subKeyStart) return 0;
  const exists = isLiveType(record.type) ? 1 : 0;
  let existed: boolean;
  if (sorted.sameAsNext(i)) {
    // Not the first write after all: the one before it in the sources decides.
    sorted.read(i + 1, older);
    existed = isLiveType(older.type) && !tables.hides(older);
  } else {
    existed = tables.holdsLive(record);
  }
  return exists - (existed ? 1 : 0);
}

export function* runResolve(job: ResolveJob, pool: TablePool): JobSteps {
  const sorted = new SortedSources(job.sources);
  yield 0;
  const deltas = new Float64Array(SLOT_COUNT);
  const hidden = hiddenBelow([...job.rangeDeletions, ...sorted.rangeDeletions]);
  const tables = new CountResolver({ pool, directory: job.directory, levels: job.levels, hidden });
  const record = new RecordView();
  for (let i = 0; i < sorted.count; i++) {
    if (i % SLICE_RECORDS === SLICE_RECORDS - 1) yield 0;
    if (!sorted.isMarked(i)) continue;
    sorted.read(i, record);
    if (record.sequence < hidden[record.slot]!) continue;
    deltas[record.slot]! += delta(sorted, i, record, tables);
  }
  sorted.free();
  return { ...EMPTY_RESULT, deltas, rangeDeletions: sorted.rangeDeletions };
}
