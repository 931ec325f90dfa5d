/** All connected sessions, for CLIENT LIST and KILL, MONITOR and the limits that span connections. */
import type { Session } from "./session.ts";

export class ClientRegistry {
  readonly #sessions = new Map<number, Session>();
  readonly #monitors = new Set<Session>();
  /** Until when CLIENT PAUSE holds commands back, on the monotonic clock; 0: not paused. */
  pausedUntilMs = 0;
  /** Whether CLIENT PAUSE holds back reads too. */
  pausesReads = false;
  #unpause: (() => void)[] = [];

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

  /** Resolves when the pause ends. */
  unpaused(): Promise<void> {
    return new Promise((resolve) => this.#unpause.push(resolve));
  }

  /** Ends CLIENT PAUSE: what it held back goes on. */
  unpause(): void {
    this.pausedUntilMs = 0;
    for (const resolve of this.#unpause.splice(0)) resolve();
  }
}
