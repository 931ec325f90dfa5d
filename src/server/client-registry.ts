/** All connected sessions, for CLIENT LIST and KILL, MONITOR and the limits that span connections. */
import type { Clock, Timer } from "../base/clock.ts";
import type { Session } from "./session.ts";

/** A timer cannot be set for much longer. */
const PAUSE_CHECK_MS_MAX = 24 * 3600 * 1000;

export class ClientRegistry {
  readonly #sessions = new Map<number, Session>();
  readonly #monitors = new Set<Session>();
  /** Until when CLIENT PAUSE holds commands back, on the monotonic clock; 0: not paused. */
  pausedUntilMs = 0;
  /** Whether CLIENT PAUSE holds back reads too. */
  pausesReads = false;
  readonly #unpause: (() => void)[] = [];
  #pauseTimer: Timer | undefined = undefined;

  get count(): number {
    return this.#sessions.size;
  }

  get monitors(): ReadonlySet<Session> {
    return this.#monitors;
  }

  /** In the order of their connection. */
  all(): IterableIterator<Session> {
    return this.#sessions.values();
  }

  get(id: number): Session | undefined {
    return this.#sessions.get(id);
  }

  add(session: Session): void {
    this.#sessions.set(session.id, session);
  }

  remove(session: Session): void {
    this.#sessions.delete(session.id);
    this.#monitors.delete(session);
  }

  addMonitor(session: Session): void {
    this.#monitors.add(session);
  }

  removeMonitor(session: Session): void {
    this.#monitors.delete(session);
  }

  /** CLIENT PAUSE: of several, the longest and the strictest holds. */
  pause(clock: Clock, durationMs: number, pausesReads: boolean): void {
    const untilMs = Math.max(clock.monotonicMs() + durationMs, this.pausedUntilMs);
    this.pausedUntilMs = untilMs;
    this.pausesReads ||= pausesReads;
    this.#pauseTimer?.cancel();
    const waitMs = Math.min(Math.ceil(untilMs - clock.monotonicMs()), PAUSE_CHECK_MS_MAX);
    this.#pauseTimer = clock.after(waitMs, () => {
      if (clock.monotonicMs() >= untilMs) this.unpause();
      else this.pause(clock, 0, false);
    });
  }

  /** Resolves when the pause ends. */
  unpaused(): Promise<void> {
    return new Promise((resolve) => this.#unpause.push(resolve));
  }

  /** Ends CLIENT PAUSE: what it held back goes on. */
  unpause(): void {
    this.pausedUntilMs = 0;
    this.pausesReads = false;
    this.#pauseTimer?.cancel();
    this.#pauseTimer = undefined;
    for (const resolve of this.#unpause.splice(0)) resolve();
  }
}
