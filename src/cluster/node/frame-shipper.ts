/** Sends messages that have frames: as many messages as their bytes need, each with what the log gives at once. */
import { type FrameMessage, type Message, partOf } from "../replication/message.ts";
import type { FrameBytes, ReplicatedLog } from "./replicated-log.ts";

/** Frames of one message, unless a single one is longer. */
const SHIPPED_BYTES_MAX = 1024 * 1024;

export interface Peers {
  /** Messages may be lost. `frames` are borrowed until it returns. */
  send(to: string, message: Message, frames: Uint8Array | undefined): void;
}

export class FrameShipper {
  readonly #log: Pick<ReplicatedLog, "readFrames">;
  readonly #peers: Peers;
  readonly #onError: (error: Error) => void;
  #isStopped = false;

  constructor(
    log: Pick<ReplicatedLog, "readFrames">,
    peers: Peers,
    onError: (error: Error) => void,
  ) {
    this.#log = log;
    this.#peers = peers;
    this.#onError = onError;
  }

  /** What is being read is not sent any more. */
  stop(): void {
    this.#isStopped = true;
  }

  ship(to: string, message: FrameMessage): void {
    this.#shipFrom(to, message, message.previous.index + 1);
  }

  #shipFrom(to: string, message: FrameMessage, first: number): void {
    for (let next = first; next <= message.last; ) {
      const read = this.#log.readFrames(next, message.last, SHIPPED_BYTES_MAX);
      // Gone, or not there yet: for the receiver the message was lost.
      if (read === undefined) return;
      if (read instanceof Promise) {
        read.then((frames) => this.#shipRead(to, message, frames), this.#onError);
        return;
      }
      this.#peers.send(to, partOf(message, read.first, read.last), read.bytes);
      next = read.last + 1;
    }
  }

  #shipRead(to: string, message: FrameMessage, frames: FrameBytes | undefined): void {
    if (frames === undefined || this.#isStopped) return;
    this.#peers.send(to, partOf(message, frames.first, frames.last), frames.bytes);
    this.#shipFrom(to, message, frames.last + 1);
  }
}
