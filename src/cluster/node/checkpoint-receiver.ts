/**
 * A node's side of checkpoints: from an offer to a log that goes on behind it.
 *
 *     offer ─► fetch* ─► staged, synced ─► verified ─► the member lets it take the log's place ─► end: installed
 *
 * What comes goes to a place of its own (checkpoint-staging.ts); until the member has let it in, the node is what it was.
 * It is let in only while the log has nothing that the checkpoint lacks and that could be committed (Member.needsCheckpoint):
 * a node that has caught up meanwhile, or has promised a later epoch, drops it.
 *
 * Whatever is wrong (bytes, sizes, another cluster's order hash, no room, a writer that says nothing) ends it; the next
 * offer begins anew.
 */
import type { Clock, Timer } from "../../base/clock.ts";
import { CorruptionError, DiskFullError } from "../../base/errors.ts";
import type { FileSystem } from "../../base/file-system.ts";
import type { Logger } from "../../base/logger.ts";
import { CHECKPOINT_LOG, CHECKPOINT_MANIFEST } from "../../store/checkpoint.ts";
import { CheckpointStaging } from "../../store/checkpoint-staging.ts";
import { readIdentity } from "../../store/identity.ts";
import type { TransferStatus } from "../replication-status.ts";
import {
  type CheckpointChunk,
  type CheckpointMessage,
  type CheckpointOffer,
  type CheckpointOutcome,
  encodeCheckpoint,
} from "./checkpoint-codec.ts";
import { ChunkWindow } from "./chunk-window.ts";
import type { SetMember } from "./set-member.ts";
import { TransferProgress } from "./transfer-progress.ts";

const TICK_MS = 250;
const CHUNKS_MAX = 4;
const RETRY_MS = 2000;
/** A writer that has sent nothing for so long is given up. */
const SILENCE_MS = 15_000;

export interface CheckpointReceiverOptions {
  readonly fileSystem: FileSystem;
  readonly directory: string;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Asked for at once. */
  readonly chunkBytes: number;
  /** Disk space that must be left. */
  spareDiskBytes(): number;
  /** Undefined: not yet. */
  member(): Pick<SetMember, "needsCheckpoint" | "install"> | undefined;
  send(to: string, parts: readonly Uint8Array[]): void;
  onFatal(error: Error): void;
}

interface Transfer {
  readonly from: string;
  readonly offer: CheckpointOffer;
  readonly window: ChunkWindow;
  readonly staging: CheckpointStaging;
  readonly progress: TransferProgress;
  /** Names of the files that are known. */
  readonly names: string[];
  areTablesKnown: boolean;
  /** Files that are synced. */
  finished: number;
  phase: "transferring" | "verifying" | "ready" | "installing";
  heardMs: number;
}

export class CheckpointReceiver {
  readonly #options: CheckpointReceiverOptions;
  readonly #ticker: Timer;
  #transfer: Transfer | undefined = undefined;
  /** What still touches the staging of a transfer that has ended. */
  #working: Promise<void> = Promise.resolve();
  #workCount = 0;

  constructor(options: CheckpointReceiverOptions) {
    this.#options = options;
    this.#ticker = options.clock.every(TICK_MS, () => this.#tick());
  }

  /** Undefined: none comes. */
  get status(): TransferStatus | undefined {
    if (this.#transfer === undefined) return undefined;
    const { from, phase, window, offer, heardMs } = this.#transfer;
    const shown = phase === "ready" ? "installing" : phase;
    const heardMsAgo = this.#options.clock.monotonicMs() - heardMs;
    const { doneBytes } = window;
    return { nodeId: from, phase: shown, doneBytes, totalBytes: offer.bytes, heardMsAgo };
  }

  /** Offers, chunks and ends. */
  receive(from: string, message: CheckpointMessage): void {
    try {
      if (message.type === "offer") this.#onOffer(from, message);
      const transfer = this.#transfer;
      if (transfer?.from !== from || transfer.offer.id !== message.id) return;
      if (message.type === "chunk") this.#onChunk(transfer, message);
      else if (message.type === "end") this.#drop(transfer, "the writer has it no longer");
    } catch (error) {
      this.#onError(error as Error);
    }
  }

  /** Done when nothing of it touches the disk any more. */
  async close(): Promise<void> {
    this.#ticker.cancel();
    if (this.#transfer !== undefined) this.#drop(this.#transfer, "this node ends");
    await this.#working;
  }

  #onOffer(from: string, offer: CheckpointOffer): void {
    const { clock, logger } = this.#options;
    const nowMs = clock.monotonicMs();
    const current = this.#transfer;
    if (current?.from === from && current.offer.id === offer.id) return;
    if (current !== undefined) {
      const isStale = offer.epoch > current.offer.epoch || nowMs - current.heardMs >= RETRY_MS * 2;
      if (current.phase !== "transferring" || !isStale) return;
      this.#drop(current, "another one is offered");
    }
    // What has ended may still be syncing a file.
    if (this.#workCount > 0) return;
    if (!this.#isNeeded(offer)) {
      this.#sendEnd(from, offer.id, "unneeded");
      return;
    }
    const problem = this.#problemOf(offer);
    if (problem !== undefined) {
      logger.warn({ node: from, bytes: offer.bytes }, `a checkpoint is not taken: ${problem}`);
      this.#sendEnd(from, offer.id, "failed");
      return;
    }
    this.#begin(from, offer, nowMs);
  }

  #begin(from: string, offer: CheckpointOffer, nowMs: number): void {
    const { fileSystem, directory, clock, logger, chunkBytes } = this.#options;
    const { bytes, last, epoch } = offer;
    logger.info({ node: from, epoch, bytes, last }, "a checkpoint begins to come");
    const window = new ChunkWindow({ chunkBytes, chunksMax: CHUNKS_MAX, retryMs: RETRY_MS });
    window.add(offer.manifestBytes);
    window.add(offer.logBytes);
    this.#transfer = {
      ...{ from, offer, window, staging: new CheckpointStaging(fileSystem, directory) },
      progress: new TransferProgress(clock, logger, from, "a checkpoint is coming"),
      names: [CHECKPOINT_MANIFEST, CHECKPOINT_LOG],
      ...{ areTablesKnown: false, finished: 0, phase: "transferring", heardMs: nowMs },
    };
    this.#ask(this.#transfer);
  }

  #isNeeded({ epoch, runs, last }: CheckpointOffer): boolean {
    const position = { epoch: runs.at(-1)!.epoch, index: last };
    return this.#options.member()?.needsCheckpoint(epoch, position) === true;
  }

  #problemOf({ seed, bytes }: CheckpointOffer): string | undefined {
    const { fileSystem, directory, spareDiskBytes } = this.#options;
    const [low, high] = readIdentity(fileSystem, directory).hashSeed;
    if (seed.low !== low || seed.high !== high) return "its keys are ordered by another hash";
    if (fileSystem.freeBytes(directory) < bytes + spareDiskBytes())
      return "there is no room on the disk";
    return undefined;
  }

  #ask({ from, offer, window }: Transfer): void {
    const { clock, send } = this.#options;
    for (const { file, offset, length } of window.due(clock.monotonicMs()))
      send(from, encodeCheckpoint({ type: "fetch", id: offer.id, file, offset, length }));
  }

  #onChunk(transfer: Transfer, { file, offset, bytes }: CheckpointChunk): void {
    const { window, staging, names, progress, offer } = transfer;
    if (transfer.phase !== "transferring" || !window.take(file, offset, bytes.length)) return;
    transfer.heardMs = this.#options.clock.monotonicMs();
    const name = names[file]!;
    staging.write(name, bytes, offset);
    progress.note(window.doneBytes, offer.bytes);
    if (window.isFileDone(file)) this.#work(() => this.#finish(transfer, name));
    this.#ask(transfer);
  }

  /** A file is whole. */
  async #finish(transfer: Transfer, name: string): Promise<void> {
    const { staging, window, names, offer } = transfer;
    if (this.#transfer !== transfer) return;
    await staging.finish(name);
    if (this.#transfer !== transfer) return;
    transfer.finished++;
    if (name === CHECKPOINT_MANIFEST) {
      const tables = staging.tables();
      const sum = tables.reduce((bytes, table) => bytes + table.bytes, 0);
      const isWhole = offer.manifestBytes + offer.logBytes + sum === offer.bytes;
      if (!isWhole || tables.some(({ bytes }) => bytes === 0))
        throw new CorruptionError("not the tables that were announced", { path: name });
      for (const table of tables) {
        names.push(table.name);
        window.add(table.bytes);
      }
      transfer.areTablesKnown = true;
      this.#ask(transfer);
    }
    if (transfer.areTablesKnown && transfer.finished === names.length) await this.#verify(transfer);
  }

  async #verify(transfer: Transfer): Promise<void> {
    const { clock, logger } = this.#options;
    const { staging, offer, progress } = transfer;
    transfer.phase = "verifying";
    for (const _ of staging.complete(offer)) {
      await new Promise<void>((resolve) => clock.immediate(resolve));
      if (this.#transfer !== transfer) return;
    }
    const { elapsedMs } = progress;
    logger.info({ node: transfer.from, bytes: offer.bytes, elapsedMs }, "a checkpoint is complete");
    transfer.phase = "ready";
    this.#install(transfer);
  }

  /** As soon as the log is at rest. */
  #install(transfer: Transfer): void {
    const { from, offer, staging } = transfer;
    if (!this.#isNeeded(offer)) {
      this.#drop(transfer, "it is not needed any more");
      this.#sendEnd(from, offer.id, "unneeded");
      return;
    }
    const isBegun = this.#options.member()!.install(staging, () => {
      this.#transfer = undefined;
      const { elapsedMs } = transfer.progress;
      this.#options.logger.info({ node: from, last: offer.last, elapsedMs }, "became a copy");
      this.#sendEnd(from, offer.id, "installed");
    });
    if (isBegun) transfer.phase = "installing";
  }

  #tick(): void {
    const transfer = this.#transfer;
    if (transfer === undefined) return;
    try {
      if (transfer.phase === "ready") this.#install(transfer);
      if (transfer.phase !== "transferring") return;
      const nowMs = this.#options.clock.monotonicMs();
      if (nowMs - transfer.heardMs >= SILENCE_MS) this.#drop(transfer, "the writer sends nothing");
      else this.#ask(transfer);
    } catch (error) {
      this.#onError(error as Error);
    }
  }

  /** One after the other, in the order in which files are whole. */
  #work(work: () => Promise<void>): void {
    this.#workCount++;
    this.#working = this.#working
      .then(work)
      .catch((error: Error) => this.#onError(error))
      .finally(() => this.#workCount--);
  }

  #sendEnd(to: string, id: number, outcome: CheckpointOutcome): void {
    this.#options.send(to, encodeCheckpoint({ type: "end", id, outcome }));
  }

  #drop(transfer: Transfer, reason: string): void {
    const { from, staging, phase, progress } = transfer;
    // Then it is the log's.
    if (phase === "installing") return;
    this.#transfer = undefined;
    staging.discard();
    const { elapsedMs } = progress;
    this.#options.logger.info({ node: from, elapsedMs }, `a checkpoint is dropped: ${reason}`);
  }

  /** What is wrong with the checkpoint, or the room for it, ends it; a disk that fails ends the node. */
  #onError(error: Error): void {
    const transfer = this.#transfer;
    const isHarmless = error instanceof CorruptionError || error instanceof DiskFullError;
    if (!isHarmless) this.#options.onFatal(error);
    if (!isHarmless || transfer === undefined) return;
    this.#options.logger.warn({ node: transfer.from, error }, "a checkpoint that cannot be used");
    this.#drop(transfer, error.message);
    this.#sendEnd(transfer.from, transfer.offer.id, "failed");
  }
}
