/**
 * Warnings that others can provoke: of each kind one at once and then one in a while, which says how many there were
 * meanwhile. However many kinds somebody makes up, memory and log stay bounded.
 */
import type { Clock } from "../../base/clock.ts";
import type { LogFields, Logger } from "../../base/logger.ts";

const INTERVAL_MS = 10_000;
const KINDS_MAX = 256;

interface Kind {
  quietUntilMs: number;
  suppressed: number;
}

const UNSEEN: Kind = { quietUntilMs: Number.NEGATIVE_INFINITY, suppressed: 0 };

export class LimitedLog {
  readonly #logger: Logger;
  readonly #clock: Clock;
  readonly #kinds = new Map<string, Kind>();
  /** All kinds that come when there are too many. */
  readonly #others: Kind = { ...UNSEEN };

  constructor(logger: Logger, clock: Clock) {
    this.#logger = logger;
    this.#clock = clock;
  }

  /** `kind`: what is counted together, such as a reason and a peer. */
  warn(kind: string, fields: LogFields, message: string): void {
    const nowMs = this.#clock.monotonicMs();
    const entry = this.#find(kind);
    if (nowMs < entry.quietUntilMs) {
      entry.suppressed++;
      return;
    }
    const { suppressed } = entry;
    entry.quietUntilMs = nowMs + INTERVAL_MS;
    entry.suppressed = 0;
    this.#logger.warn(suppressed === 0 ? fields : { ...fields, suppressed }, message);
  }

  #find(kind: string): Kind {
    const known = this.#kinds.get(kind);
    if (known !== undefined) return known;
    if (this.#kinds.size >= KINDS_MAX) return this.#others;
    const entry = { ...UNSEEN };
    this.#kinds.set(kind, entry);
    return entry;
  }
}
