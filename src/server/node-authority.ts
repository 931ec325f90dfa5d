/**
 * What a node of a cluster makes sure of before its sessions run commands and before their replies leave:
 *
 *     write ──► admission ──► accepted │ waits for the quorum or a handover, then NOREPLICAS
 *     read  ──► what it saw is pinned ──► the lease is valid │ waits until a round confirms that nobody else was writer
 *     reply ──► its frame is committed │ its quorum is silent for too long: withdrawn
 *
 *     step-down:  suspend() ─ replies withdrawn, commands wait ─► no unit runs ─► another store ─► resume()
 *
 * The lease is asked for after a batch of commands has read, never before: who pauses in between must not answer.
 */
import type { Clock, Timer } from "../base/clock.ts";
import type { Admission } from "../cluster/replication/member.ts";
import type { Session } from "./session.ts";

export interface Authority {
  /** Whether this node is the writer of its set, and takes commands. */
  readonly isServing: boolean;
  readonly admission: Admission;
  /** Whether what was read before may be answered. */
  readonly isLeaseValid: boolean;
  /** Resolves when what was read before the call may be answered; false: this node is no writer any more. */
  confirm(): Promise<boolean>;
}

export interface AuthorityOptions {
  readonly authority: Authority;
  readonly clock: Clock;
  /** Milliseconds that a command waits for a quorum. */
  quorumTimeoutMs(): number;
  /** Whether reads never rely on the lease. */
  confirmsAllReads(): boolean;
  /** More rounds are confirmed: replies may leave. */
  onConfirmed(): void;
  /** Time has passed: replies that have waited since before tick `since` are to be withdrawn. */
  onTick(since: number): void;
  onFatal(error: Error): void;
}

const TICK_MS = 100;
/** A write that waits is looked at again so often: a handover takes some tens of milliseconds. */
const ADMISSION_POLL_MS = 5;
const NO_REPLICAS = "NOREPLICAS Not enough good replicas to write.";
const NOT_THE_WRITER = "TRYAGAIN this node is not the writer of the slot any more";

export class NodeAuthority {
  readonly #options: AuthorityOptions;
  readonly #ticker: Timer;
  ticks = 0;
  /** Rounds up to this one are confirmed. */
  confirmed = 0;
  #round = 0;
  #isRoundPlanned = false;
  /** The writes of this batch may run. */
  #accepts = false;
  #poll: Promise<void> | undefined = undefined;
  #suspension: PromiseWithResolvers<void> | undefined = undefined;

  constructor(options: AuthorityOptions) {
    this.#options = options;
    this.#ticker = options.clock.every(TICK_MS, () => {
      this.ticks++;
      const ticks = Math.ceil(options.quorumTimeoutMs() / TICK_MS);
      options.onTick(this.ticks - ticks);
    });
  }

  stop(): void {
    this.#ticker.cancel();
  }

  get isServing(): boolean {
    return this.#options.authority.isServing;
  }

  /** What every command waits for now; undefined: nothing. */
  get suspension(): Promise<void> | undefined {
    return this.#suspension?.promise;
  }

  suspend(): void {
    this.#suspension ??= Promise.withResolvers();
  }

  resume(): void {
    this.#suspension?.resolve();
    this.#suspension = undefined;
  }

  /** The round that must be confirmed before what was read until now may be answered; 0: none. */
  roundOfReads(): number {
    const { authority, clock, confirmsAllReads } = this.#options;
    if (!confirmsAllReads() && authority.isLeaseValid) return 0;
    if (!this.#isRoundPlanned) {
      this.#isRoundPlanned = true;
      this.#round++;
      // All reads of a turn are confirmed by one round, which begins after them.
      clock.immediate(() => this.#confirm());
    }
    return this.#round;
  }

  /** A batch of commands begins: what is known of the admission holds until its end. */
  beginBatch(): void {
    this.#accepts = false;
  }

  /** undefined: the session's write may run. A promise: ask again then. A text: the error to answer. */
  admit(session: Session): Promise<void> | string | undefined {
    if (this.#accepts) return undefined;
    const { authority, clock, quorumTimeoutMs } = this.#options;
    const { admission } = authority;
    if (admission === "accept") {
      this.#accepts = true;
      session.heldSinceMs = 0;
      return undefined;
    }
    if (admission === "not-writer") return NOT_THE_WRITER;
    const nowMs = clock.monotonicMs();
    if (session.heldSinceMs === 0) session.heldSinceMs = nowMs;
    if (nowMs - session.heldSinceMs < quorumTimeoutMs()) return this.#nextPoll();
    session.heldSinceMs = 0;
    return NO_REPLICAS;
  }

  #nextPoll(): Promise<void> {
    this.#poll ??= new Promise((resolve) => {
      this.#options.clock.after(ADMISSION_POLL_MS, () => {
        this.#poll = undefined;
        resolve();
      });
    });
    return this.#poll;
  }

  #confirm(): void {
    this.#isRoundPlanned = false;
    const round = this.#round;
    const { authority, onConfirmed, onFatal } = this.#options;
    authority.confirm().then((isConfirmed) => {
      // Who is no writer any more has had its replies withdrawn.
      if (!isConfirmed) return;
      this.confirmed = Math.max(this.confirmed, round);
      onConfirmed();
    }, onFatal);
  }
}
