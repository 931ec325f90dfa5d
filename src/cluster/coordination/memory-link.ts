/**
 * A connection that exists only in memory: two directions, each in order, each taking a time. It can be cut, with
 * what was under way to the ensemble lost or arriving, and it can stall, so that neither end learns anything.
 */
import type { Clock } from "../../base/clock.ts";

class Channel {
  readonly #clock: Clock;
  readonly #isStalled: () => boolean;
  #queue: (() => void)[] = [];
  #dueMs = 0;
  /** How many actions have come of age while the link stalled. */
  #overdue = 0;

  constructor(clock: Clock, isStalled: () => boolean) {
    this.#clock = clock;
    this.#isStalled = isStalled;
  }

  push(delayMs: number, action: () => void): void {
    const nowMs = this.#clock.monotonicMs();
    this.#dueMs = Math.max(this.#dueMs, nowMs + delayMs);
    this.#queue.push(action);
    const deliver = () => this.#deliver();
    if (this.#dueMs <= nowMs) this.#clock.immediate(deliver);
    else this.#clock.after(this.#dueMs - nowMs, deliver);
  }

  release(): void {
    const count = this.#overdue;
    this.#overdue = 0;
    for (let i = 0; i < count; i++) this.#deliver();
  }

  drop(): void {
    this.#queue = [];
  }

  /** What has not been delivered happens now. */
  flush(): void {
    for (let action = this.#queue.shift(); action !== undefined; action = this.#queue.shift())
      action();
  }

  #deliver(): void {
    if (this.#isStalled()) this.#overdue++;
    else this.#queue.shift()?.();
  }
}

export interface LinkOptions {
  readonly clock: Clock;
  /** Of one message in one direction. */
  readonly latencyMs: () => number;
  /** The link was cut, by whichever side. */
  readonly onCut: () => void;
}

export class MemoryLink {
  readonly #options: LinkOptions;
  readonly #requests: Channel;
  readonly #replies: Channel;
  #isStalled = false;
  #isOpen = true;

  constructor(options: LinkOptions) {
    this.#options = options;
    this.#requests = new Channel(options.clock, () => this.#isStalled);
    this.#replies = new Channel(options.clock, () => this.#isStalled);
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  toEnsemble(action: () => void): void {
    if (this.#isOpen) this.#requests.push(this.#options.latencyMs(), action);
  }

  toClient(action: () => void, extraMs = 0): void {
    if (this.#isOpen) this.#replies.push(this.#options.latencyMs() + extraMs, action);
  }

  stall(): void {
    this.#isStalled = true;
  }

  release(): void {
    this.#isStalled = false;
    this.#requests.release();
    this.#replies.release();
  }

  /** `arrives`: requests that were under way still take effect; nothing of it is heard. */
  cut(inFlight: "lost" | "arrives"): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    if (inFlight === "arrives") this.#requests.flush();
    this.#requests.drop();
    this.#replies.drop();
    this.#options.onCut();
  }
}
