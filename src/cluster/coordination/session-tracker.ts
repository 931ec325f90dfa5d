/**
 * The session as its own process sees it: state, the deadline after which it must count as over, and who is told.
 * Both coordinators use it.
 *
 * The ensemble counts a session's time from when it last received something; that was at or after the moment when we
 * sent the newest request that it answered. So a deadline of that moment plus the timeout never comes after the
 * ensemble's own, whatever the network did to requests and answers. The timer only makes the event punctual: `status`
 * compares clocks, since timers of a process that slept come late.
 */
import { assert } from "../../base/assert.ts";
import type { Clock, Timer } from "../../base/clock.ts";
import type { SessionEvent, SessionState, SessionStatus, Subscription } from "./coordinator.ts";

export class SessionTracker {
  readonly #clock: Clock;
  readonly #onExpired: () => void;
  readonly #listeners = new Set<(event: SessionEvent) => void>();
  #state: SessionState = "connecting";
  #number = 0;
  #timeoutMs: number;
  #deadlineMs = 0;
  #timer: Timer | undefined;

  /** `onExpired` is called at once when the deadline passes, before any listener. */
  constructor(clock: Clock, timeoutMs: number, onExpired: () => void) {
    this.#clock = clock;
    this.#timeoutMs = timeoutMs;
    this.#onExpired = onExpired;
  }

  get status(): SessionStatus {
    const isAlive = this.#state === "connected" || this.#state === "suspended";
    if (isAlive && this.#clock.monotonicMs() >= this.#deadlineMs) this.#passDeadline();
    return { state: this.#state, number: this.#number, timeoutMs: this.#timeoutMs };
  }

  subscribe(listener: (event: SessionEvent) => void): Subscription {
    this.#listeners.add(listener);
    return { cancel: () => this.#listeners.delete(listener) };
  }

  /** `sentMs`: when the request was sent by which the session was made or taken up again. */
  connected(isNew: boolean, timeoutMs: number, sentMs: number): void {
    assert(isNew || this.#number > 0, "a session taken up that never was");
    assert(this.#state !== "closed", "a session after the end");
    if (isNew) {
      this.#number++;
      this.#deadlineMs = 0;
    }
    this.#timeoutMs = timeoutMs;
    this.answered(sentMs);
    this.#change("connected", isNew);
  }

  /** The ensemble answered a request of this session that was sent at `sentMs`. */
  answered(sentMs: number): void {
    const deadlineMs = sentMs + this.#timeoutMs;
    if (deadlineMs <= this.#deadlineMs) return;
    this.#deadlineMs = deadlineMs;
    if (this.#timer === undefined) this.#arm();
  }

  suspended(): void {
    if (this.status.state === "connected") this.#change("suspended", false);
  }

  /** The ensemble says so. */
  expired(): void {
    const { state } = this.status;
    if (state === "connected" || state === "suspended") this.#change("expired", false);
  }

  closed(): void {
    if (this.#state === "closed") return;
    this.#stopTimer();
    this.#change("closed", false);
  }

  #passDeadline(): void {
    this.#change("expired", false);
    this.#onExpired();
  }

  /** One timer that is armed again as long as the deadline has moved: answers come far more often. */
  #arm(): void {
    const delayMs = Math.max(1, this.#deadlineMs - this.#clock.monotonicMs());
    this.#timer = this.#clock.after(delayMs, () => {
      this.#timer = undefined;
      const { state } = this.status;
      if (state === "connected" || state === "suspended") this.#arm();
    });
  }

  #stopTimer(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #change(state: SessionState, isNew: boolean): void {
    this.#state = state;
    const event = { state, number: this.#number, timeoutMs: this.#timeoutMs, isNew };
    for (const listener of this.#listeners) {
      // Apart from the caller's work, whose errors are caught and whose order must not depend on listeners.
      queueMicrotask(() => {
        if (this.#listeners.has(listener)) listener(event);
      });
    }
  }
}
