/**
 * MEMBER: what a node of a cluster has to remember beside its data, in the data directory.
 *
 *     {"format":1,"content":{…},"checksum":"<XXH64 of its values as a JSON array, 16 hex digits>"}
 *
 * It is replaced by rename, durably, before anybody is told what it says. The promise only grows (invariant I2).
 *
 * An incarnation is one life of the data: all that a node acknowledged under it is still there. With appendfsync
 * everysec or no a machine that lost power may have lost some of it: `isExposed` says that this may be, and the kernel's
 * boot id, whether it has happened. Then the node takes the next incarnation, and has to become a member anew.
 */
import { z } from "zod";
import { assert } from "../../base/assert.ts";
import { xxh64 } from "../../base/checksum.ts";
import { CorruptionError } from "../../base/errors.ts";
import type { FileSystem } from "../../base/file-system.ts";
import { ID } from "../coordination/paths.ts";
import type { PersistedPromise } from "../replication/event.ts";

export const MEMBER_FILE = "MEMBER";
const FORMAT = 1;
const FILE_BYTES_MAX = 4096;

const id = z.string().regex(ID);
const count = z.int().nonnegative();
const contentSchema = z.strictObject({
  /** Made once, kept for ever. */
  nodeId: id,
  /** The cluster that the directory's data belongs to. */
  clusterId: id,
  /** The replica set whose log and tables they are; empty: of none yet. */
  setId: z.union([z.literal(""), id]),
  incarnation: z.int().min(1),
  promise: z.strictObject({ epoch: count, leaseMs: count }),
  bootId: z.uuid(),
  isExposed: z.boolean(),
  /**
   * Index from which on the log's frames were written while the node was a member: what they call durable was so here. Null:
   * it is none, so that frames speak of others.
   */
  marksFrom: count.nullable(),
});
const schema = z.strictObject({
  format: z.literal(FORMAT),
  content: contentSchema,
  checksum: z.string(),
});

export type MemberState = z.infer<typeof contentSchema>;

/** The machine and the durability that a start begins under. */
export interface StartConditions {
  readonly bootId: string;
  /** Whether a power failure may lose what was acknowledged: appendfsync everysec or no. */
  readonly isExposed: boolean;
}

export class MemberFile {
  readonly #fileSystem: FileSystem;
  readonly #directory: string;
  #state: MemberState;
  #writing: Promise<void> = Promise.resolve();

  private constructor(fileSystem: FileSystem, directory: string, state: MemberState) {
    this.#fileSystem = fileSystem;
    this.#directory = directory;
    this.#state = state;
  }

  /** Of a directory that has none. The caller writes it with begin(). */
  static create(
    fileSystem: FileSystem,
    directory: string,
    ids: Pick<MemberState, "nodeId" | "clusterId" | "bootId">,
  ): MemberFile {
    const promise = { epoch: 0, leaseMs: 0 };
    const state = {
      ...{ ...ids, setId: "", incarnation: 1, promise, isExposed: false },
      marksFrom: null,
    };
    return new MemberFile(fileSystem, directory, state);
  }

  /** Undefined: the directory has none. Throws CorruptionError when it is not one of this format. */
  static open(fileSystem: FileSystem, directory: string): MemberFile | undefined {
    const path = `${directory}/${MEMBER_FILE}`;
    if (!fileSystem.exists(path)) return undefined;
    const file = fileSystem.open(path, "read");
    const bytes = Buffer.alloc(Math.min(file.size(), FILE_BYTES_MAX));
    file.read(bytes, 0);
    file.close();
    return new MemberFile(fileSystem, directory, parseMemberState(path, bytes));
  }

  get state(): MemberState {
    return this.#state;
  }

  /**
   * A process starts: true when what was acknowledged before may be lost, so that the incarnation is a new one. What the
   * last process left unsynced stays exposed until setExposed().
   */
  begin(conditions: StartConditions): boolean {
    const { bootId } = conditions;
    const wasExposed = this.#state.isExposed;
    const isNew = wasExposed && bootId !== this.#state.bootId;
    const incarnation = this.#state.incarnation + (isNew ? 1 : 0);
    const isExposed = conditions.isExposed || (wasExposed && !isNew);
    const marksFrom = isNew ? null : this.#state.marksFrom;
    this.#state = { ...this.#state, incarnation, bootId, isExposed, marksFrom };
    const file = this.#writeNew(this.#state);
    file.sync();
    file.close();
    this.#rename();
    this.#fileSystem.syncDirectory(this.#directory);
    return isNew;
  }

  /** In the order of the calls. Done when a power failure cannot take it back. */
  persist(promise: PersistedPromise): Promise<void> {
    assert(promise.epoch >= this.#state.promise.epoch, "a promise that shrinks");
    assert(promise.leaseMs >= this.#state.promise.leaseMs, "a lease that is forgotten");
    return this.#replace({ ...this.#state, promise });
  }

  /** The directory's data is this set's from now on. */
  async enter(setId: string): Promise<void> {
    assert(this.#state.setId === "" || this.#state.setId === setId, "data of another replica set");
    if (this.#state.setId !== setId) await this.#replace({ ...this.#state, setId });
  }

  /** Whether the node is a member, and which frame comes next then. Late is harmless: a mark less says that data was lost. */
  async setMarksFrom(index: number | null): Promise<void> {
    if ((index === null) !== (this.#state.marksFrom === null))
      await this.#replace({ ...this.#state, marksFrom: index });
  }

  /** Before appendfsync becomes everysec or no; and, with false, when all that was acknowledged is synced. */
  setExposed(isExposed: boolean): Promise<void> {
    return this.#replace({ ...this.#state, isExposed });
  }

  #replace(state: MemberState): Promise<void> {
    this.#state = state;
    this.#writing = this.#writing.then(async () => {
      const file = this.#writeNew(state);
      await file.syncAsync();
      file.close();
      this.#rename();
      await this.#fileSystem.syncDirectoryAsync(this.#directory);
    });
    return this.#writing;
  }

  #writeNew(content: MemberState) {
    const file = this.#fileSystem.open(`${this.#directory}/${MEMBER_FILE}.new`, "create");
    file.write(encodeMemberState(content), 0);
    return file;
  }

  #rename(): void {
    const path = `${this.#directory}/${MEMBER_FILE}`;
    this.#fileSystem.rename(`${path}.new`, path);
  }
}

export function encodeMemberState(content: MemberState): Uint8Array {
  const text = JSON.stringify({ format: FORMAT, content, checksum: checksumOf(content) });
  return Buffer.from(`${text}\n`);
}

/** Throws CorruptionError and nothing else. */
export function parseMemberState(path: string, bytes: Buffer): MemberState {
  try {
    const { content, checksum } = schema.parse(JSON.parse(bytes.toString("utf8")));
    if (checksum !== checksumOf(content)) throw new Error("wrong checksum");
    return content;
  } catch (cause) {
    throw new CorruptionError("what the node has promised cannot be read", {
      path,
      offset: 0,
      cause,
    });
  }
}

/** Over the fields in the schema's order, which is the one that parsing gives. */
function checksumOf(content: MemberState): string {
  const { nodeId, clusterId, setId, incarnation, promise, bootId, isExposed, marksFrom } = content;
  const { epoch, leaseMs } = promise;
  const fields = [
    ...[nodeId, clusterId, setId, incarnation, epoch, leaseMs, bootId, isExposed],
    marksFrom,
  ];
  return xxh64(Buffer.from(JSON.stringify(fields)))
    .toString(16)
    .padStart(16, "0");
}
