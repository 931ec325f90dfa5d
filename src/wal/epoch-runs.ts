/**
 * Which epoch each frame of the log belongs to, those that are deleted included: runs [(epoch, first index)].
 *
 *     index   1 2 3 4 5 6 7 8 9
 *     epoch   1 1 1 3 3 3 3 4 4      runs (1,1) (3,4) (4,8)
 *
 * Invariant: epochs and first indexes ascend strictly; unless it is empty, the first run starts at 1.
 *
 * The frames themselves say it. Of deleted ones the file EPOCHS does, in the log's directory: its runs are those that
 * start before some frame that was the log's first one, and it is replaced, durably, before the last frame goes that
 * shows where a run starts. Deleted frames are committed, so no truncation ever makes it wrong. A log that has never
 * left epoch 0, as of a node by itself, has no such file.
 *
 *   {"format":1,"runs":[[epoch,first],…],"checksum":"<XXH64 of the text of runs, 16 hex digits>"}
 */
import { z } from "zod";
import { xxh64 } from "../base/checksum.ts";
import { CorruptionError } from "../base/errors.ts";
import type { FileSystem } from "../base/file-system.ts";

/** Frames from `first` up to the next run's are of `epoch`. */
export interface EpochRun {
  readonly epoch: number;
  readonly first: number;
}

export const EPOCHS_FILE = "EPOCHS";
const FORMAT = 1;
const number = z.number().int().nonnegative();
const schema = z.strictObject({
  format: z.literal(FORMAT),
  runs: z.array(z.tuple([number, number])).min(1),
  checksum: z.string(),
});

export class EpochRuns {
  #runs: EpochRun[];
  /** How many of them EPOCHS holds. */
  #storedCount: number;

  /** `stored`: what EPOCHS holds; `runs`: all of them. */
  constructor(runs: readonly EpochRun[] = [], storedCount = 0) {
    this.#runs = [...runs];
    this.#storedCount = storedCount;
  }

  get all(): readonly EpochRun[] {
    return this.#runs;
  }

  get storedCount(): number {
    return this.#storedCount;
  }

  /** The frame at `index` is of `epoch`, which is no older than that of the frame before it. */
  note(epoch: number, index: number): void {
    // Only frames of epoch 0 are appended without a word about it.
    if (this.#runs.length === 0 && index > 1) this.#runs.push({ epoch: 0, first: 1 });
    if (this.#runs.at(-1)?.epoch !== epoch) this.#runs.push({ epoch, first: index });
  }

  /** Drops the runs that start behind `last`. */
  truncate(last: number): void {
    this.#runs = this.#runs.filter((run) => run.first <= last);
  }

  /** Frames before `first` are about to be deleted. */
  keepBefore(fileSystem: FileSystem, directory: string, first: number): void {
    const runs = this.#runs.filter((run) => run.first < first);
    const isObvious = runs.every((run) => run.epoch === 0);
    if (isObvious || runs.length <= this.#storedCount) return;
    writeEpochs(fileSystem, directory, runs);
    this.#storedCount = runs.length;
  }
}

/**
 * The runs of a log whose first frame has `index` and `epoch`, as far as they start before it or with it. Throws
 * CorruptionError when they cannot be known.
 */
export function runsBefore(
  fileSystem: FileSystem,
  directory: string,
  first: { readonly epoch: number; readonly index: number },
): EpochRuns {
  const stored = readEpochs(fileSystem, directory);
  const runs = stored.filter((run) => run.first < first.index);
  const newest = runs.at(-1);
  if (newest === undefined && first.index > 1) {
    // Epochs never descend, so all frames before one of epoch 0 are of epoch 0.
    if (first.epoch === 0) return new EpochRuns([{ epoch: 0, first: 1 }]);
    const path = `${directory}/${EPOCHS_FILE}`;
    throw new CorruptionError(`the epochs of frames before ${first.index} are not known`, { path });
  }
  if (newest !== undefined && newest.epoch > first.epoch) {
    const path = `${directory}/${EPOCHS_FILE}`;
    const message = `epoch ${newest.epoch} comes before epoch ${first.epoch} of frame ${first.index}`;
    throw new CorruptionError(message, { path });
  }
  const epochs = new EpochRuns(runs, stored.length);
  epochs.note(first.epoch, first.index);
  return epochs;
}

/** What EPOCHS holds; nothing when there is no such file. */
export function readEpochs(fileSystem: FileSystem, directory: string): EpochRun[] {
  const path = `${directory}/${EPOCHS_FILE}`;
  if (!fileSystem.exists(path)) return [];
  const file = fileSystem.open(path, "read");
  const bytes = Buffer.alloc(file.size());
  file.read(bytes, 0);
  file.close();
  try {
    const content = schema.parse(JSON.parse(bytes.toString("utf8")));
    if (checksumOf(content.runs) !== content.checksum) throw new Error("wrong checksum");
    return content.runs.map(([epoch, first]) => ({ epoch, first }));
  } catch (cause) {
    throw new CorruptionError("the log's epochs cannot be read", { path, offset: 0, cause });
  }
}

function writeEpochs(fileSystem: FileSystem, directory: string, all: readonly EpochRun[]): void {
  const path = `${directory}/${EPOCHS_FILE}`;
  const runs = all.map(({ epoch, first }) => [epoch, first] as const);
  const content = { format: FORMAT, runs, checksum: checksumOf(runs) };
  const file = fileSystem.open(`${path}.new`, "create");
  try {
    file.write(Buffer.from(`${JSON.stringify(content)}\n`), 0);
    file.sync();
  } finally {
    file.close();
  }
  fileSystem.rename(`${path}.new`, path);
  fileSystem.syncDirectory(directory);
}

function checksumOf(runs: readonly (readonly [number, number])[]): string {
  return xxh64(Buffer.from(JSON.stringify(runs)))
    .toString(16)
    .padStart(16, "0");
}
