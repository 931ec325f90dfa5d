/**
 * The writer's side of checkpoints, for one node at a time:
 *
 *     need ─► capture ─► offer ─► fetch* / chunk* ─► end: installed ─► catching up by log ─► over
 *              tables and log behind it are kept ──────────────────────────────────────────┘
 *
 * The receiver asks for each piece, and what it may ask for at a time is bounded, so nothing piles up here. The rate is
 * the one that is configured, however fast the receiver is. Whoever says nothing for long is given up, and begins anew
 * with the next offer: the core repeats that it needs one.
 *
 * Log behind the checkpoint is kept until the node has it (StoreLog.keepFor).
 */

import type { Clock, Timer } from "../../base/clock.ts";
import { CorruptionError } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import type { Checkpoint } from "../../store/checkpoint.ts";
import type { TransferStatus } from "../replication-status.ts";
import {
  CHUNK_BYTES,
  type CheckpointFetch,
  type CheckpointMessage,
  type CheckpointOutcome,
  encodeCheckpoint,
} from "./checkpoint-codec.ts";
import type { SetMember } from "./set-member.ts";
import type { StoreLog } from "./store-log.ts";
import { TransferProgress } from "./transfer-progress.ts";

const TICK_MS = 500;
/** A receiver that has said nothing for so long is given up. */
const SILENCE_MS = 10_000;
/** Catching up without any progress. */
const STANDSTILL_MS = 30_000;
/** After an installation the core may need so long to hear of it. */
const SETTLE_MS = 3000;
/** Pieces asked for and not sent; more are not taken. */
const QUEUE_MAX = 32;
/** When the link takes no more. */
const BUSY_MS = 20;
/** What was not sent for so long may be sent at once. */
const BURST_MS = 100;
/** Slower, and receivers would give up. */
const RATE_MIN = 256 * 1024;

export type CheckpointLog = Pick<StoreLog, "checkpoint" | "keepFor">;

export interface CheckpointSenderOptions {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly log: CheckpointLog;
  /** Undefined: not yet. */
  member(): Pick<SetMember, "epoch" | "status"> | undefined;
  /** False: not now. Borrows the parts until `release` is called, which happens once if it is true. */
  send(to: string, parts: readonly Uint8Array[], release: () => void): boolean;
  /** 0: as fast as it goes. May change at any time. */
  bytesPerSecond(): number;
  /** An integer that is not likely to come twice. */
  newId(): number;
  onFatal(error: Error): void;
}

interface Transfer {
  readonly to: string;
  readonly id: number;
  readonly progress: TransferProgress;
  /** Undefined while it is captured. */
  checkpoint: Checkpoint | undefined;
  /** Tables are not needed any more. */
  isInstalled: boolean;
  readonly queue: CheckpointFetch[];
  isReading: boolean;
  sentBytes: number;
  /** Nothing is sent before. */
  nextMs: number;
  /** When the receiver last said something, or came further. */
  heardMs: number;
  matched: number;
}

export class CheckpointSender {
  readonly #options: CheckpointSenderOptions;
  readonly #ticker: Timer;
  #transfer: Transfer | undefined = undefined;
  #capturing: Promise<void> = Promise.resolve();
  #pumpTimer: Timer | undefined = undefined;
  readonly #spare: Uint8Array[] = [];

  constructor(options: CheckpointSenderOptions) {
    this.#options = options;
    this.#ticker = options.clock.every(TICK_MS, () => this.#tick());
  }

  /** Undefined: nobody gets one. */
  get status(): TransferStatus | undefined {
    const transfer = this.#transfer;
    if (transfer === undefined) return undefined;
    const { to, sentBytes, checkpoint, isInstalled } = transfer;
    const totalBytes = checkpoint?.bytes ?? 0;
    const during = checkpoint === undefined ? "preparing" : "transferring";
    const phase = isInstalled ? "catching-up" : during;
    const heardMsAgo = this.#options.clock.monotonicMs() - transfer.heardMs;
    const doneBytes = Math.min(sentBytes, totalBytes);
    return { nodeId: to, phase, doneBytes, totalBytes, heardMsAgo };
  }

  /** `node` needs one. Who is told again and again tells when nothing else is to be done. */
  offer(node: string): void {
    const transfer = this.#transfer;
    const nowMs = this.#options.clock.monotonicMs();
    if (transfer !== undefined) {
      if (transfer.to !== node || !transfer.isInstalled) return;
      if (nowMs - transfer.heardMs < SETTLE_MS) return;
      this.#end("the log that the node needs next is gone again");
    }
    const { clock, logger, newId } = this.#options;
    const next: Transfer = {
      ...{ to: node, id: newId(), checkpoint: undefined, isInstalled: false },
      progress: new TransferProgress(clock, logger, node, "sending a checkpoint"),
      ...{ queue: [], isReading: false, sentBytes: 0, matched: 0, nextMs: nowMs, heardMs: nowMs },
    };
    this.#transfer = next;
    this.#capturing = this.#capturing
      .then(() => this.#capture(next))
      .catch((error: Error) => this.#onError(error));
  }

  /** Fetches and ends. */
  receive(from: string, message: CheckpointMessage): void {
    const transfer = this.#transfer;
    if (message.type !== "fetch" && message.type !== "end") return;
    if (transfer?.to !== from || transfer.id !== message.id || transfer.isInstalled) {
      if (message.type === "fetch") this.#sendEnd(from, message.id, "gone");
      return;
    }
    transfer.heardMs = this.#options.clock.monotonicMs();
    if (message.type === "fetch") this.#onFetch(transfer, message);
    else this.#onEnd(transfer, message.outcome);
  }

  /** This node is the writer no more, or ends. Done when nothing of the store is in use. */
  stop(): Promise<void> {
    if (this.#transfer !== undefined) this.#end("this node is not the writer any more");
    return this.#capturing;
  }

  close(): Promise<void> {
    this.#ticker.cancel();
    return this.stop();
  }

  async #capture(transfer: Transfer): Promise<void> {
    const { log, logger } = this.#options;
    if (this.#transfer !== transfer) return;
    const checkpoint = await log.checkpoint();
    if (this.#transfer !== transfer) {
      checkpoint?.release();
      log.keepFor(undefined);
      return;
    }
    if (checkpoint === undefined) {
      this.#end("there is none now");
      return;
    }
    transfer.checkpoint = checkpoint;
    const { bytes, last, files } = checkpoint;
    logger.info({ node: transfer.to, bytes, files: files.length, last }, "offering a checkpoint");
    this.#sendOffer(transfer, checkpoint);
  }

  #sendOffer({ to, id }: Transfer, checkpoint: Checkpoint): void {
    const { seed, runs, last, bytes, files } = checkpoint;
    const [manifest, log] = files;
    const epoch = this.#options.member()!.epoch;
    const sizes = { manifestBytes: manifest!.bytes, logBytes: log!.bytes, bytes };
    const offer = { type: "offer", id, epoch, seed, runs, last, ...sizes } as const;
    this.#options.send(to, encodeCheckpoint(offer), () => undefined);
  }

  #sendEnd(to: string, id: number, outcome: CheckpointOutcome): void {
    this.#options.send(to, encodeCheckpoint({ type: "end", id, outcome }), () => undefined);
  }

  #onFetch(transfer: Transfer, fetch: CheckpointFetch): void {
    const { file, offset, length } = fetch;
    const bytes = transfer.checkpoint?.files[file]?.bytes ?? 0;
    if (offset + length > bytes) return;
    const isQueued = transfer.queue.some((each) => each.file === file && each.offset === offset);
    if (isQueued || transfer.queue.length >= QUEUE_MAX) return;
    transfer.queue.push(fetch);
    this.#pump();
  }

  #onEnd(transfer: Transfer, outcome: CheckpointOutcome): void {
    const { logger, log } = this.#options;
    const checkpoint = transfer.checkpoint;
    if (outcome !== "installed" || checkpoint === undefined) {
      this.#end(`the node says: ${outcome}`);
      return;
    }
    const { elapsedMs } = transfer.progress;
    logger.info({ node: transfer.to, bytes: checkpoint.bytes, elapsedMs }, "sent a checkpoint");
    checkpoint.release();
    transfer.isInstalled = true;
    transfer.queue.length = 0;
    transfer.matched = checkpoint.last;
    log.keepFor(checkpoint.last);
  }

  /** Sends the next piece, when it is time. */
  #pump(): void {
    const transfer = this.#transfer;
    if (transfer === undefined || transfer.isReading || this.#pumpTimer !== undefined) return;
    const { checkpoint, queue } = transfer;
    if (checkpoint === undefined || queue.length === 0) return;
    const { clock } = this.#options;
    const waitMs = transfer.nextMs - clock.monotonicMs();
    if (waitMs > 0) {
      this.#pumpTimer = clock.after(waitMs, () => {
        this.#pumpTimer = undefined;
        this.#pump();
      });
      return;
    }
    const fetch = queue[0]!;
    let buffer = this.#spare.pop();
    if (buffer === undefined || buffer.length < fetch.length)
      buffer = new Uint8Array(Math.max(fetch.length, CHUNK_BYTES));
    const into = buffer;
    transfer.isReading = true;
    checkpoint.read(fetch.file, fetch.offset, into.subarray(0, fetch.length)).then(
      () => this.#onRead(transfer, fetch, into),
      (error: Error) => this.#onError(error),
    );
  }

  #onRead(transfer: Transfer, fetch: CheckpointFetch, buffer: Uint8Array): void {
    transfer.isReading = false;
    if (this.#transfer !== transfer || transfer.isInstalled) {
      this.#spare.push(buffer);
      return;
    }
    const { id, file, offset, length } = fetch;
    const chunk = { type: "chunk", id, file, offset, bytes: buffer.subarray(0, length) } as const;
    const give = () => void this.#spare.push(buffer);
    const { clock, send, bytesPerSecond } = this.#options;
    const nowMs = clock.monotonicMs();
    if (send(transfer.to, encodeCheckpoint(chunk), give)) {
      transfer.queue.shift();
      transfer.sentBytes += length;
      const rate = bytesPerSecond();
      const takesMs = rate === 0 ? 0 : (length / Math.max(rate, RATE_MIN)) * 1000;
      transfer.nextMs = Math.max(transfer.nextMs, nowMs - BURST_MS) + takesMs;
      transfer.progress.note(transfer.sentBytes, transfer.checkpoint!.bytes);
    } else {
      give();
      transfer.nextMs = nowMs + BUSY_MS;
    }
    this.#pump();
  }

  #tick(): void {
    const transfer = this.#transfer;
    if (transfer?.checkpoint === undefined) return;
    const nowMs = this.#options.clock.monotonicMs();
    if (transfer.isInstalled) this.#follow(transfer, nowMs);
    else if (nowMs - transfer.heardMs >= SILENCE_MS) this.#end("the node says nothing");
    // The link may not have been there yet.
    else if (transfer.sentBytes === 0) this.#sendOffer(transfer, transfer.checkpoint);
  }

  /** Log is kept as far as the node has not got it. */
  #follow(transfer: Transfer, nowMs: number): void {
    const { member, log } = this.#options;
    const { peers = [], last = 0 } = member()?.status() ?? {};
    const matched = peers.find(({ nodeId }) => nodeId === transfer.to)?.matched;
    if (matched === undefined) {
      this.#end("the node is not of this set any more");
    } else if (matched >= last) {
      this.#end("the node has caught up");
    } else if (matched > transfer.matched) {
      transfer.matched = matched;
      transfer.heardMs = nowMs;
      log.keepFor(matched + 1);
    } else if (nowMs - transfer.heardMs >= STANDSTILL_MS) {
      this.#end("the node does not come further");
    }
  }

  #end(reason: string): void {
    const { to, checkpoint, isInstalled, progress } = this.#transfer!;
    this.#transfer = undefined;
    this.#pumpTimer?.cancel();
    this.#pumpTimer = undefined;
    this.#spare.length = 0;
    const { log, logger } = this.#options;
    if (!isInstalled) checkpoint?.release();
    log.keepFor(undefined);
    logger.info({ node: to, elapsedMs: progress.elapsedMs }, `end of a checkpoint: ${reason}`);
  }

  /** A table that cannot be read, or is damaged, is found by this node's readers and merges too. */
  #onError(error: Error): void {
    if (this.#transfer !== undefined) this.#end(error.message);
    if (!(error instanceof CorruptionError)) this.#options.onFatal(error);
  }
}
