/** Keys under WATCH: a write of one makes the EXEC of each session that watches it answer nil. */
import type { Session } from "./session.ts";

export class WatchedKeys {
  /** By key, one character per byte. */
  readonly #sessions = new Map<string, Set<Session>>();

  get count(): number {
    return this.#sessions.size;
  }

  add(key: string, session: Session): void {
    let sessions = this.#sessions.get(key);
    if (sessions === undefined) {
      sessions = new Set();
      this.#sessions.set(key, sessions);
    }
    sessions.add(session);
    session.watchedKeys.add(key);
  }

  /** Ends all watches of a session. */
  removeAll(session: Session): void {
    for (const key of session.watchedKeys) {
      const sessions = this.#sessions.get(key);
      sessions?.delete(session);
      if (sessions?.size === 0) this.#sessions.delete(key);
    }
    session.watchedKeys.clear();
    session.isWatchBroken = false;
  }

  /** The key bytes[start, end) was written. */
  touch(bytes: Uint8Array, start: number, end: number): void {
    if (this.#sessions.size === 0) return;
    const key = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString(
      "latin1",
      start,
      end,
    );
    for (const session of this.#sessions.get(key) ?? []) session.isWatchBroken = true;
  }

  /** Every watched key, one character per byte. */
  keys(): Iterable<string> {
    return this.#sessions.keys();
  }
}
