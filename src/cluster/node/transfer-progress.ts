/** How far a checkpoint is on its way: a line in the log every few seconds. */
import type { Clock } from "../../base/clock.ts";
import type { Logger } from "../../base/logger.ts";

const LINE_MS = 5000;
const PERCENT = 100;

export class TransferProgress {
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #node: string;
  readonly #message: string;
  readonly #startMs: number;
  #lineMs: number;

  constructor(clock: Clock, logger: Logger, node: string, message: string) {
    this.#clock = clock;
    this.#logger = logger;
    this.#node = node;
    this.#message = message;
    this.#startMs = clock.monotonicMs();
    this.#lineMs = this.#startMs;
  }

  get elapsedMs(): number {
    return Math.round(this.#clock.monotonicMs() - this.#startMs);
  }

  note(doneBytes: number, totalBytes: number): void {
    const nowMs = this.#clock.monotonicMs();
    if (nowMs - this.#lineMs < LINE_MS) return;
    this.#lineMs = nowMs;
    const leftMs = ((nowMs - this.#startMs) * (totalBytes - doneBytes)) / Math.max(1, doneBytes);
    const percent = Math.floor((doneBytes / totalBytes) * PERCENT);
    const leftSeconds = Math.ceil(leftMs / 1000);
    this.#logger.info(
      { node: this.#node, percent, doneBytes, totalBytes, leftSeconds },
      this.#message,
    );
  }
}
