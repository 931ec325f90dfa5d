/**
 * A checkpoint: what an empty or hopelessly late directory of the same cluster needs to go on from here, as files.
 *
 *     MANIFEST-000001      one record: the tables of one version, counts, deletions (lsm/manifest.ts)
 *     000000000002.log     a segment with one frame, committed: the one that the flushed sequence lies in or behind
 *     000123.table …       the tables, in the order of the manifest's levels
 *
 *     log    … in tables │ frame │ what follows, by log …      its first sequence ≤ flushed sequence ≤ the next frame's
 *
 * With the runs of the log up to that frame it is all that a start finds in a directory whose older log is deleted, so
 * recovery needs no case of its own: index, chain, epoch and clock go on from the frame, which is committed.
 *
 * A version may hold a deletion of all keys that is newer than what it has flushed, and lack the tables that this has
 * taken. Behind the one frame nothing would say when it happened: such a version is no checkpoint, until a flush.
 */
import { assert } from "../base/assert.ts";
import { CorruptionError } from "../base/errors.ts";
import type { FileSystem } from "../base/file-system.ts";
import type { HashSeed } from "../base/order-hash.ts";
import { encodeManifestRecord, manifestName } from "../lsm/manifest.ts";
import { tablePath } from "../lsm/table-writer.ts";
import { snapshotEdit, type TableMeta, type VersionState } from "../lsm/version-edit.ts";
import type { EpochRun } from "../wal/epoch-runs.ts";
import {
  type ArenaViews,
  type FrameFields,
  readFrame,
  SEGMENT_HEADER_BYTES,
  writeSegmentHeader,
} from "../wal/frame.ts";
import type { Log } from "../wal/log.ts";
import { segmentFileName } from "../wal/segment.ts";
import { readIdentity } from "./identity.ts";
import type { Store } from "./store.ts";

/** Not 1: recovery takes a log that begins there and has no good frame for an empty one. */
export const CHECKPOINT_SEGMENT = 2;
export const CHECKPOINT_MANIFEST = manifestName(1);
export const CHECKPOINT_LOG = segmentFileName(CHECKPOINT_SEGMENT);

export interface CheckpointFile {
  readonly name: string;
  readonly bytes: number;
}

/** What a checkpoint says of itself before any of its files is there. */
export interface CheckpointFacts {
  readonly seed: HashSeed;
  /** Epochs of all frames up to `last`, the frame that it holds. */
  readonly runs: readonly EpochRun[];
  readonly last: number;
}

export interface Checkpoint extends CheckpointFacts {
  /** Manifest, log, tables. */
  readonly files: readonly CheckpointFile[];
  readonly bytes: number;
  /** Fills `into` from `offset` of file number `file`. REQUIRES: within that file; before release(). */
  read(file: number, offset: number, into: Uint8Array): Promise<void>;
  /** The tables may go. */
  release(): void;
}

/** The files of tables, named as in a directory. */
export function checkpointTables(state: VersionState): CheckpointFile[] {
  return state.levels.flat().map((table) => ({ name: tableName(table), bytes: table.bytes }));
}

export function tableName({ id }: TableMeta): string {
  return tablePath("", id).slice(1);
}

/** Whether `state` says all that the log says up to the flushed sequence, and nothing of what comes behind. */
export function isCheckpoint({ rangeDeletions, flushedSequence }: VersionState): boolean {
  return rangeDeletions.every(({ sequence }) => sequence < flushedSequence);
}

/** Undefined: there is none now; what it lacks has been begun. REQUIRES: log is not deleted meanwhile. */
export async function captureCheckpoint(
  store: Store,
  fileSystem: FileSystem,
  directory: string,
): Promise<Checkpoint | undefined> {
  const { lsm, log, segments, pipeline } = store.internals;
  const { state, release } = lsm.snapshot();
  if (!isCheckpoint(state)) {
    release();
    if (store.replica === undefined) {
      pipeline.endTurn();
      segments.roll();
    }
    await segments.flush();
    return undefined;
  }
  const [low, high] = readIdentity(fileSystem, directory).hashSeed;
  const seed = { low, high };
  const frame = await frameAt(log, state.flushedSequence).catch((error: Error) => {
    release();
    throw error;
  });
  if (frame === undefined) {
    release();
    return undefined;
  }
  const last = frame.fields.index;
  const contents = [encodeManifestRecord(snapshotEdit(state)), segmentOf(frame, seed)];
  const files = [
    { name: CHECKPOINT_MANIFEST, bytes: contents[0]!.length },
    { name: CHECKPOINT_LOG, bytes: contents[1]!.length },
    ...checkpointTables(state),
  ];
  return {
    ...{ seed, last, files, release },
    runs: log.epochRuns.filter(({ first }) => first <= last),
    bytes: files.reduce((sum, { bytes }) => sum + bytes, 0),
    read: async (file, offset, into) => {
      const content = contents[file];
      if (content === undefined) {
        await readTable(fileSystem, `${directory}/tables/${files[file]!.name}`, offset, into);
        return;
      }
      assert(offset + into.length <= content.length, "a read behind the end");
      into.set(content.subarray(offset, offset + into.length));
    },
  };
}

interface FoundFrame {
  readonly fields: FrameFields;
  readonly bytes: Uint8Array;
}

/** The frame that `sequence` lies in or behind, a boundary of flushes; it is committed. Undefined: the log has gone on. */
async function frameAt(log: Log, sequence: number): Promise<FoundFrame | undefined> {
  const committed = Math.min(log.commitIndex, log.writtenIndex);
  for (const { firstIndex, lastIndex } of log.segments.toReversed()) {
    if (lastIndex === 0 || firstIndex > committed) continue;
    const first = await readOne(log, firstIndex);
    if (first === undefined || first.fields.firstSequence === sequence) return first;
    if (first.fields.firstSequence > Math.max(1, sequence)) continue;
    // Flushes take whole segments, all of whose frames are committed.
    return sequence === 0 ? first : await readOne(log, lastIndex);
  }
  return undefined;
}

async function readOne(log: Log, index: number): Promise<FoundFrame | undefined> {
  const reading = log.readFrames(index, index, 1);
  const frames = reading instanceof Promise ? await reading : reading;
  if (frames === undefined) return undefined;
  const views = newViews(frames.bytes.length);
  views.bytes.set(frames.bytes);
  return { fields: readFrame(views, 0), bytes: views.bytes };
}

function segmentOf({ fields, bytes }: FoundFrame, seed: HashSeed): Uint8Array {
  const views = newViews(SEGMENT_HEADER_BYTES + bytes.length);
  writeSegmentHeader(views, { number: CHECKPOINT_SEGMENT, seed, firstIndex: fields.index });
  views.bytes.set(bytes, SEGMENT_HEADER_BYTES);
  return views.bytes;
}

async function readTable(
  fileSystem: FileSystem,
  path: string,
  offset: number,
  into: Uint8Array,
): Promise<void> {
  const file = fileSystem.open(path, "read");
  try {
    for (let done = 0; done < into.length; ) {
      const count = await file.readAsync(into.subarray(done), offset + done);
      if (count === 0) throw new CorruptionError("table is cut short", { path, offset });
      done += count;
    }
  } finally {
    file.close();
  }
}

/** Frames have whole words. */
export function newViews(bytes: number): ArenaViews {
  const buffer = new ArrayBuffer(Math.ceil(bytes / 8) * 8);
  return {
    bytes: Buffer.from(buffer, 0, bytes),
    words: new Int32Array(buffer),
    words64: new BigUint64Array(buffer),
  };
}
