/**
 * An ensemble in memory: the documents, the sessions, and the followers that clients are connected to. It does
 * everything by the clock it is given, so a simulator has it repeat itself exactly.
 *
 *     MemoryCoordinator ──link──► MemoryFollower ──► MemoryEnsemble ──► MemoryTree
 *                                 may be behind      sessions end here
 */
import type { Clock } from "../../base/clock.ts";
import type { MultiConflict, Operation } from "./coordinator.ts";
import { MemoryTree, type TreeChange, type TreeView } from "./memory-tree.ts";
import type { WatchKind } from "./watch-registry.ts";

interface Session {
  readonly timeoutMs: number;
  heardMs: number;
  /** Whoever holds the connection of the session. */
  onEnd: () => void;
}

export class MemoryEnsemble {
  readonly #clock: Clock;
  readonly #tree = new MemoryTree();
  readonly #sessions = new Map<number, Session>();
  readonly #followers = new Set<MemoryFollower>();
  #lastSession = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Everything as the leader has it; a snapshot that no later change touches. */
  get view(): TreeView {
    return this.#tree.view;
  }

  openSession(timeoutMs: number, onEnd: () => void): number {
    const id = ++this.#lastSession;
    this.#sessions.set(id, { timeoutMs, heardMs: this.#clock.monotonicMs(), onEnd });
    this.#watchOver(id, timeoutMs);
    return id;
  }

  /** Takes the session over with a new connection; false: it has ended. */
  resumeSession(id: number, onEnd: () => void): boolean {
    const session = this.#sessions.get(id);
    if (session !== undefined) session.onEnd = onEnd;
    return this.touch(id);
  }

  /** The session was heard of; false: it has ended. */
  touch(id: number): boolean {
    const session = this.#sessions.get(id);
    if (session !== undefined) session.heardMs = this.#clock.monotonicMs();
    return session !== undefined;
  }

  endSession(id: number): void {
    const session = this.#sessions.get(id);
    if (session === undefined) return;
    this.#sessions.delete(id);
    this.#publish(this.#tree.removeEphemerals(id));
    session.onEnd();
  }

  commit(operations: readonly Operation[], session: number): MultiConflict | undefined {
    const result = this.#tree.apply(operations, session);
    if (!Array.isArray(result)) return result;
    this.#publish(result);
    return undefined;
  }

  addFollower(follower: MemoryFollower): void {
    this.#followers.add(follower);
  }

  removeFollower(follower: MemoryFollower): void {
    this.#followers.delete(follower);
  }

  #publish(changes: readonly TreeChange[]): void {
    for (const follower of this.#followers) follower.changed(changes);
  }

  #watchOver(id: number, delayMs: number): void {
    this.#clock.after(delayMs, () => {
      const session = this.#sessions.get(id);
      if (session === undefined) return;
      const leftMs = session.heardMs + session.timeoutMs - this.#clock.monotonicMs();
      if (leftMs > 0) this.#watchOver(id, leftMs);
      else this.endSession(id);
    });
  }
}

/** What one client sees of an ensemble: up to date, or as it was a while ago, but never going back. */
export class MemoryFollower {
  readonly #ensemble: MemoryEnsemble;
  readonly #notify: (kind: WatchKind, path: string) => void;
  readonly #watched: Record<WatchKind, Set<string>> = { document: new Set(), children: new Set() };
  #frozen: TreeView | undefined;
  #missed: TreeChange[] = [];

  constructor(ensemble: MemoryEnsemble, notify: (kind: WatchKind, path: string) => void) {
    this.#ensemble = ensemble;
    this.#notify = notify;
    ensemble.addFollower(this);
  }

  get view(): TreeView {
    return this.#frozen ?? this.#ensemble.view;
  }

  watch(kind: WatchKind, path: string): void {
    this.#watched[kind].add(path);
  }

  /** Watches end with the connection that set them. */
  forgetWatches(): void {
    this.#watched.document.clear();
    this.#watched.children.clear();
  }

  /** From now on neither reads nor notifications show what changes, until catchUp() or thaw(). */
  freeze(): void {
    this.#frozen = this.view;
  }

  thaw(): void {
    this.catchUp();
    this.#frozen = undefined;
  }

  /** Shows all that has been committed; a frozen follower stays frozen there. */
  catchUp(): void {
    if (this.#frozen === undefined) return;
    this.#frozen = this.#ensemble.view;
    const missed = this.#missed;
    this.#missed = [];
    this.#trigger(missed);
  }

  changed(changes: readonly TreeChange[]): void {
    if (this.#frozen === undefined) this.#trigger(changes);
    else this.#missed.push(...changes);
  }

  #trigger(changes: readonly TreeChange[]): void {
    for (const { path, document, children } of changes) {
      if (document && this.#watched.document.delete(path)) this.#notify("document", path);
      if (children && this.#watched.children.delete(path)) this.#notify("children", path);
    }
  }
}
