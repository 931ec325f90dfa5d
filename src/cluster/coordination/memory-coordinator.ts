/**
 * A Coordinator of an ensemble in memory, for the simulator and the playground. It goes through the motions of the
 * real one: requests and replies take time on a link, heartbeats keep the session, a silent link is given up, a lost
 * one is made again. Time is the clock's alone and every fault is asked for, so equal inputs give equal runs.
 */
import type { Clock, Timer } from "../../base/clock.ts";
import {
  assertMulti,
  assertOperation,
  type Coordinator,
  type Lifetime,
  type ListOutcome,
  type MultiConflict,
  type MultiOutcome,
  type Operation,
  type ReadOptions,
  type ReadOutcome,
  type RemoveOutcome,
  type SessionEvent,
  type SessionStatus,
  type Subscription,
  type Unavailable,
  type Unknown,
  type WriteOutcome,
} from "./coordinator.ts";
import { type MemoryEnsemble, MemoryFollower } from "./memory-ensemble.ts";
import { MemoryLink } from "./memory-link.ts";
import { childrenOf, type TreeView } from "./memory-tree.ts";
import { SessionTracker } from "./session-tracker.ts";
import { type WatchKind, WatchRegistry } from "./watch-registry.ts";

export interface MemoryCoordinatorOptions {
  /** The node's own; the ensemble has another, which may run at another rate. */
  readonly clock: Clock;
  readonly sessionTimeoutMs: number;
  /** Of one message in one direction; 0 if not given. */
  readonly latencyMs?: () => number;
  /** From the loss of a connection to the next try; 0 if not given. */
  readonly reconnectMs?: () => number;
}

const CLOSE_MS_MAX = 2000;

const UNKNOWN: Unknown = { kind: "unknown" };
const NOT_CONNECTED: Unavailable = { kind: "unavailable", reason: "not connected" };
const CLOSED: Unavailable = { kind: "unavailable", reason: "closed" };

export class MemoryCoordinator implements Coordinator {
  readonly #ensemble: MemoryEnsemble;
  readonly #options: MemoryCoordinatorOptions;
  readonly #clock: Clock;
  readonly #tracker: SessionTracker;
  readonly #watches = new WatchRegistry();
  readonly #follower: MemoryFollower;
  readonly #heartbeat: Timer;
  /** Settles each request under way as lost. */
  readonly #pending = new Set<() => void>();
  #link: MemoryLink | undefined;
  #sessionId = 0;
  #heardMs = 0;
  #isReachable = true;
  #isRetrying = false;
  #stalled: "lost" | "arrives" = "lost";
  #losing: boolean | undefined;
  /** Added to the latency of notifications; replies behind them wait too, since one connection keeps order. */
  notificationDelayMs = 0;

  constructor(ensemble: MemoryEnsemble, options: MemoryCoordinatorOptions) {
    this.#ensemble = ensemble;
    this.#options = options;
    this.#clock = options.clock;
    const { clock, sessionTimeoutMs } = options;
    this.#tracker = new SessionTracker(clock, sessionTimeoutMs, () => this.#onDeadline());
    this.#follower = new MemoryFollower(ensemble, (kind, path) => this.#notify(kind, path));
    this.#heartbeat = clock.every(sessionTimeoutMs / 3, () => this.#beat());
    this.#connect();
  }

  get session(): SessionStatus {
    return this.#tracker.status;
  }

  onSession(listener: (event: SessionEvent) => void): Subscription {
    return this.#tracker.subscribe(listener);
  }

  read(path: string, options: ReadOptions = {}): Promise<ReadOutcome> {
    return this.#look<ReadOutcome>("document", path, options, (view) => {
      const found = view.get(path);
      if (found === undefined) return { kind: "missing" };
      const { data, version, creationId, lifetime } = found;
      return { kind: "ok", data: data.slice(), version, creationId, lifetime };
    });
  }

  list(path: string, options: ReadOptions = {}): Promise<ListOutcome> {
    return this.#look<ListOutcome>("children", path, options, (view) =>
      view.has(path) ? { kind: "ok", names: childrenOf(view, path) } : { kind: "missing" },
    );
  }

  create(path: string, data: Uint8Array, lifetime: Lifetime): Promise<WriteOutcome> {
    return this.#change<WriteOutcome>(
      { kind: "create", path, data, lifetime },
      { kind: "ok", version: 0 },
    );
  }

  write(path: string, data: Uint8Array, version: number): Promise<WriteOutcome> {
    const operation = { kind: "write", path, data, version } as const;
    return this.#change<WriteOutcome>(operation, { kind: "ok", version: version + 1 });
  }

  remove(path: string, version: number): Promise<RemoveOutcome> {
    return this.#change<RemoveOutcome>({ kind: "remove", path, version }, { kind: "ok" });
  }

  multi(operations: readonly Operation[]): Promise<MultiOutcome> {
    assertMulti(operations);
    return this.#commit(operations);
  }

  async close(): Promise<void> {
    const { state } = this.session;
    if (state === "closed") return;
    const ended = new Promise<void>((resolve) => {
      if (state !== "connected") return resolve();
      this.#pending.add(resolve);
      this.#link?.toEnsemble(() => this.#ensemble.endSession(this.#sessionId));
      this.#clock.after(CLOSE_MS_MAX, resolve);
    });
    this.#tracker.closed();
    this.#heartbeat.cancel();
    await ended;
    this.#link?.cut("lost");
    this.#watches.clear();
    this.#ensemble.removeFollower(this.#follower);
  }

  // Faults.

  /** The connection ends, as both ends notice; the client connects again by itself. */
  cut(inFlight: "lost" | "arrives" = "lost"): void {
    this.#link?.cut(inFlight);
  }

  /** Like cut, and no new connection until resume(). */
  suspend(inFlight: "lost" | "arrives" = "lost"): void {
    this.#isReachable = false;
    this.#link?.cut(inFlight);
  }

  /** Nothing is delivered in either direction, and nobody told; `inFlight` is for when the client gives up. */
  stall(inFlight: "lost" | "arrives" = "lost"): void {
    this.#isReachable = false;
    this.#stalled = inFlight;
    this.#link?.stall();
  }

  /** Ends suspend and stall. */
  resume(): void {
    this.#isReachable = true;
    this.#stalled = "lost";
    this.#link?.release();
    if (this.#link === undefined) this.#connect();
  }

  /** The ensemble ends the session now. */
  expire(): void {
    this.#ensemble.endSession(this.#sessionId);
  }

  /** The connection ends when the next change arrives: after it was applied, or before. */
  loseReply(isApplied: boolean): void {
    this.#losing = isApplied;
  }

  /** Reads and notifications show the documents as they are now, whatever others write, as a follower that lags. */
  freezeReads(): void {
    this.#follower.freeze();
  }

  thawReads(): void {
    this.#follower.thaw();
  }

  // Requests.

  #look<T extends ReadOutcome | ListOutcome>(
    kind: WatchKind,
    path: string,
    { fresh, onChange }: ReadOptions,
    see: (view: TreeView) => T,
  ): Promise<T | Unavailable> {
    assertOperation({ kind: "check", path, version: 0 });
    const work = () => {
      if (fresh === true) this.#follower.catchUp();
      const { view } = this.#follower;
      // What is not there has no children to come or go: its creation is waited for.
      const watched = view.has(path) ? kind : "document";
      if (onChange !== undefined) this.#follower.watch(watched, path);
      return { watched, outcome: see(view) };
    };
    return this.#ask(work, undefined, (seen) => {
      if (onChange !== undefined) this.#watches.arm(seen.watched, path, onChange);
    }).then((seen) => (seen === undefined ? NOT_CONNECTED : "kind" in seen ? seen : seen.outcome));
  }

  async #change<T>(operation: Operation, ok: T) {
    assertOperation(operation);
    const outcome = await this.#commit([operation]);
    if (outcome.kind === "ok") return ok;
    return outcome.kind === "conflict" ? { kind: outcome.kind, cause: outcome.cause } : outcome;
  }

  #commit(operations: readonly Operation[]): Promise<MultiOutcome> {
    // What the caller does with its bytes meanwhile is no part of the request.
    const sent = operations.map((each) =>
      "data" in each ? { ...each, data: each.data.slice() } : each,
    );
    const apply = (): MultiConflict | undefined => this.#ensemble.commit(sent, this.#sessionId);
    const work = (): MultiOutcome => {
      const losing = this.#losing;
      this.#losing = undefined;
      const conflict = losing === false ? undefined : apply();
      // A session sees what it wrote, and why it could not.
      this.#follower.catchUp();
      if (losing !== undefined) this.#link?.cut("lost");
      return conflict ?? { kind: "ok" };
    };
    return this.#ask(work, UNKNOWN);
  }

  /** The answer to `work`, or `lost` when the connection ends before it has come. */
  #ask<T, L>(work: () => T, lost: L, onReply?: (reply: T) => void): Promise<T | L | Unavailable> {
    const { state } = this.session;
    const link = this.#link;
    if (state === "closed") return Promise.resolve(CLOSED);
    if (state !== "connected" || link === undefined) return Promise.resolve(NOT_CONNECTED);
    const sentMs = this.#clock.monotonicMs();
    return new Promise((resolve) => {
      const settleLost = () => resolve(lost);
      this.#pending.add(settleLost);
      link.toEnsemble(() => {
        // Of a session that is over nothing is done any more: the ensemble closes the connection.
        if (!this.#ensemble.touch(this.#sessionId)) {
          link.toClient(() => link.cut("lost"));
          return;
        }
        const reply = work();
        link.toClient(() => {
          this.#pending.delete(settleLost);
          this.#hear(sentMs);
          onReply?.(reply);
          resolve(reply);
        });
      });
    });
  }

  // The connection.

  #connect(): void {
    if (this.#isRetrying) return;
    this.#isRetrying = true;
    const attempt = () => {
      this.#isRetrying = false;
      if (this.#isReachable && this.session.state !== "closed") this.#open();
    };
    const delayMs = this.#options.reconnectMs?.() ?? 0;
    if (delayMs <= 0) this.#clock.immediate(attempt);
    else this.#clock.after(delayMs, attempt);
  }

  #open(): void {
    const { clock, latencyMs = () => 0, sessionTimeoutMs } = this.#options;
    const link = new MemoryLink({ clock, latencyMs, onCut: () => this.#onCut(link) });
    this.#link = link;
    const sentMs = clock.monotonicMs();
    this.#heardMs = sentMs;
    const previous = this.#sessionId;
    const mayResume = this.session.state === "suspended";
    link.toEnsemble(() => {
      const onEnd = () => link.toClient(() => link.cut("lost"));
      const isResumed = mayResume && this.#ensemble.resumeSession(previous, onEnd);
      // A session that was given up here must have ended there before the next one begins.
      if (!isResumed) this.#ensemble.endSession(previous);
      const id = isResumed ? previous : this.#ensemble.openSession(sessionTimeoutMs, onEnd);
      link.toClient(() => this.#onConnected(id, sentMs));
    });
  }

  #onConnected(id: number, sentMs: number): void {
    const isNew = id !== this.#sessionId;
    // The deadline has passed while the answer was under way.
    if (!isNew && this.session.state === "expired") {
      this.#link?.cut("lost");
      return;
    }
    if (isNew) this.#tracker.expired();
    this.#sessionId = id;
    this.#heardMs = this.#clock.monotonicMs();
    this.#tracker.connected(isNew, this.#options.sessionTimeoutMs, sentMs);
    this.#watches.fireAll();
  }

  #onCut(link: MemoryLink): void {
    if (link !== this.#link) return;
    this.#link = undefined;
    this.#follower.forgetWatches();
    for (const settleLost of this.#pending) settleLost();
    this.#pending.clear();
    if (this.session.state === "closed") return;
    this.#tracker.suspended();
    this.#connect();
  }

  #onDeadline(): void {
    this.#link?.cut(this.#stalled);
  }

  #hear(sentMs: number): void {
    this.#heardMs = this.#clock.monotonicMs();
    this.#tracker.answered(sentMs);
  }

  /** Three in the time of a session; when two are not answered the connection counts as lost. */
  #beat(): void {
    const silentMs = this.#clock.monotonicMs() - this.#heardMs;
    if (silentMs > (this.#options.sessionTimeoutMs * 2) / 3) this.#link?.cut(this.#stalled);
    else if (this.session.state === "connected") void this.#ask(() => undefined, undefined);
  }

  #notify(kind: WatchKind, path: string): void {
    this.#link?.toClient(() => this.#watches.fire(kind, path), this.notificationDelayMs);
  }
}
