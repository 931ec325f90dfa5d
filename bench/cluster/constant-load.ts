/**
 * A client's constant load: a SET of a fresh key every few milliseconds, and a GET of a key that was acknowledged,
 * whether or not what was sent before is answered. So a pause is seen by every command that falls into it.
 *
 * What was acknowledged is kept, for it must be there afterwards. How late the load itself was is a bound on what the
 * machine, not the cluster, has added to a latency.
 */

import type { StockClient } from "./stock-client.ts";

const SET_INTERVAL_MS = 2;
/** A GET with every so many SETs. */
const SETS_PER_GET = 2;
const READ_BACK_BATCH = 500;

export interface LoadMark {
  /** Of the commands that were answered since the mark before. */
  longestMs: number;
  /** Of the load's own timer. */
  ownLagMs: number;
  commands: number;
}

export class ConstantLoad {
  readonly #client: StockClient;
  readonly #prefix: string;
  #timer: Timer | undefined = undefined;
  #startedAt = 0;
  #sets = 0;
  #mark: LoadMark = { longestMs: 0, ownLagMs: 0, commands: 0 };
  readonly #underWay = new Set<Promise<void>>();
  #onAcknowledged: ((sentAt: number, answeredAt: number) => void) | undefined = undefined;
  readonly acknowledged: string[] = [];
  readonly failures: string[] = [];
  readonly wrongReads: string[] = [];

  /** Keys begin with `prefix`, which no other load may use. */
  constructor(client: StockClient, prefix: string) {
    this.#client = client;
    this.#prefix = prefix;
  }

  start(): void {
    this.#startedAt = performance.now();
    this.#timer = setInterval(() => this.#send(), SET_INTERVAL_MS);
  }

  /** What has happened since the last call, commands that are not answered yet aside. */
  mark(): LoadMark {
    const mark = this.#mark;
    this.#mark = { longestMs: 0, ownLagMs: 0, commands: 0 };
    return mark;
  }

  /** When the first write that is sent from now on is answered. */
  nextAcknowledgement(): Promise<number> {
    const from = performance.now();
    return new Promise((resolve) => {
      this.#onAcknowledged = (sentAt, answeredAt) => {
        if (sentAt < from) return;
        this.#onAcknowledged = undefined;
        resolve(answeredAt);
      };
    });
  }

  /** Sends nothing more, and waits for what was sent. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await Promise.all(this.#underWay);
  }

  /** Acknowledged keys that do not have the value that was written. */
  async readBack(client: StockClient): Promise<string[]> {
    const lost: string[] = [];
    for (let at = 0; at < this.acknowledged.length; at += READ_BACK_BATCH) {
      const keys = this.acknowledged.slice(at, at + READ_BACK_BATCH);
      const values = await Promise.all(keys.map((key) => client.get(key)));
      lost.push(...keys.filter((key, index) => values[index] !== valueFor(key)));
    }
    return lost;
  }

  #send(): void {
    const due = Math.floor((performance.now() - this.#startedAt) / SET_INTERVAL_MS);
    const lagMs = (due - this.#sets - 1) * SET_INTERVAL_MS;
    this.#mark.ownLagMs = Math.max(this.#mark.ownLagMs, lagMs);
    while (this.#sets < due) {
      this.#set(`${this.#prefix}${this.#sets++}`);
      if (this.#sets % SETS_PER_GET === 0) this.#get();
    }
  }

  #set(key: string): void {
    const sentAt = performance.now();
    this.#track(this.#client.set(key, valueFor(key)), sentAt, (answeredAt) => {
      this.acknowledged.push(key);
      this.#onAcknowledged?.(sentAt, answeredAt);
    });
  }

  /** Of a key that is different each time, and not only of the newest. */
  #get(): void {
    const { length } = this.acknowledged;
    if (length === 0) return;
    const key = this.acknowledged[this.#sets % 8 === 0 ? (this.#sets * 31) % length : length - 1]!;
    const sentAt = performance.now();
    this.#track(this.#client.get(key), sentAt, (answeredAt, value) => {
      if (value === valueFor(key)) return;
      const at = new Date(performance.timeOrigin + sentAt).toISOString();
      this.wrongReads.push(`${key} at ${at}, ${(answeredAt - sentAt).toFixed(1)} ms: ${value}`);
    });
  }

  #track<Reply>(
    reply: Promise<Reply>,
    sentAt: number,
    onReply: (answeredAt: number, value: Reply) => void,
  ): void {
    const isDone = (): number => {
      const now = performance.now();
      this.#mark.commands++;
      this.#mark.longestMs = Math.max(this.#mark.longestMs, now - sentAt);
      return now;
    };
    const tracked = reply.then(
      (value) => onReply(isDone(), value),
      (error: Error) => {
        isDone();
        this.failures.push(error.message);
      },
    );
    this.#underWay.add(tracked);
    void tracked.finally(() => this.#underWay.delete(tracked));
  }
}

function valueFor(key: string): string {
  return `value of ${key}`;
}
