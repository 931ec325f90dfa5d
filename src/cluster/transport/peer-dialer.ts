/**
 * Keeps one outgoing link: connects, waits, connects again.
 *
 *     waiting ─► connecting ─► handshaking ─► up ─► waiting …
 *
 * The delay doubles with every failure up to a bound and is shortened by chance, so that a cluster whose network comes
 * back does not knock all at once. A link counts as a success only once it has lasted: a peer that accepts and closes
 * is not worth more attempts than one that refuses.
 *
 * A connection under way cannot be called off: where packets get lost the system tries for two minutes, at intervals
 * that double, and would notice a network that is back up to a minute late. So after `connectMs` another is begun
 * beside it, and the first that stands is used.
 */
import { assert } from "../../base/assert.ts";
import type { Clock, Timer } from "../../base/clock.ts";
import type { PeerConnection } from "./peer-connection.ts";
import type { Address, Purpose } from "./transport.ts";
import type { TransportLimits } from "./transport-limits.ts";

/**
 * Connections under way at once. At one every connectMs and backoffMaxMs the last repetition of the first comes when
 * there are as many, so that somebody knocks every few seconds however long it takes.
 */
const ATTEMPTS_MAX = 16;
/** No power of two beyond is needed to reach any bound. */
const DOUBLINGS_MAX = 20;

/** A connection stands: who wants it makes a PeerConnection of it; undefined closes it. */
export type OnStanding = () => DialerSlot | undefined;

/** Where the connection of an attempt goes. */
export interface DialerSlot {
  readonly peer: string;
  readonly purpose: Purpose;
  /** REQUIRES: called at once. */
  take(connection: PeerConnection): void;
}

export interface DialerHost {
  readonly clock: Clock;
  readonly limits: TransportLimits;
  /** At least 0, less than 1. */
  randomFraction(): number;
  /** Calls exactly one of the two, later. */
  connect(address: Address, onStanding: OnStanding, onFailed: (reason: string) => void): void;
  onFailed(dialer: PeerDialer, reason: string): void;
}

export class PeerDialer implements DialerSlot {
  readonly peer: string;
  readonly purpose: Purpose;
  readonly #host: DialerHost;
  #address: Address;
  #connection: PeerConnection | undefined;
  #timer: Timer | undefined;
  /** Attempts to addresses that are no longer the peer's are not counted. */
  #attempts = 0;
  #addressVersion = 0;
  #attemptedMs = 0;
  #failures = 0;
  #upSinceMs: number | undefined;
  #isStopped = false;

  constructor(host: DialerHost, peer: string, purpose: Purpose, address: Address) {
    this.#host = host;
    this.peer = peer;
    this.purpose = purpose;
    this.#address = address;
  }

  get address(): Address {
    return this.#address;
  }

  /** The link, when it is up. */
  get link(): PeerConnection | undefined {
    return this.#connection?.isUp === true ? this.#connection : undefined;
  }

  start(): void {
    this.#attempt();
  }

  /** Connects no more; a link that is up stays. */
  stop(): void {
    this.#isStopped = true;
    this.#timer?.cancel();
  }

  disconnect(reason: string): void {
    this.#connection?.close(reason);
  }

  moveTo(address: Address): void {
    this.#address = address;
    this.#addressVersion++;
    this.#attempts = 0;
    this.#failures = 0;
    if (this.#connection === undefined) this.#attempt();
    else this.#connection.close("the peer has another address");
  }

  /** The peer is known to be there: no reason to wait. */
  hurry(): void {
    if (this.#isStopped || this.#connection !== undefined) return;
    const { clock, limits } = this.#host;
    const isRecent = clock.monotonicMs() - this.#attemptedMs < limits.backoffMinMs;
    if (this.#attempts >= ATTEMPTS_MAX || (this.#attempts > 0 && isRecent)) return;
    this.#failures = 0;
    this.#attempt();
  }

  take(connection: PeerConnection): void {
    assert(this.#connection === undefined, "two connections for one link");
    this.#connection = connection;
    this.#timer?.cancel();
  }

  onUp(): void {
    this.#upSinceMs = this.#host.clock.monotonicMs();
  }

  onClosed(connection: PeerConnection, reason: string): void {
    if (connection !== this.#connection) return;
    this.#connection = undefined;
    const { clock, limits } = this.#host;
    const upMs = this.#upSinceMs === undefined ? 0 : clock.monotonicMs() - this.#upSinceMs;
    if (upMs >= limits.backoffMaxMs) this.#failures = 0;
    const wasUp = this.#upSinceMs !== undefined;
    this.#upSinceMs = undefined;
    if (this.#isStopped) return;
    if (!wasUp) this.#host.onFailed(this, reason);
    this.#attemptLater();
  }

  #attempt(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    const { clock, limits } = this.#host;
    const version = this.#addressVersion;
    const isCurrent = () => version === this.#addressVersion;
    this.#attempts++;
    this.#attemptedMs = clock.monotonicMs();
    this.#host.connect(
      this.#address,
      () => {
        if (isCurrent()) this.#attempts--;
        const isWanted = isCurrent() && !this.#isStopped && this.#connection === undefined;
        return isWanted ? this : undefined;
      },
      (reason) => {
        if (isCurrent()) this.#onFailedAttempt(reason);
      },
    );
    this.#timer = clock.after(limits.connectMs, () => {
      this.#host.onFailed(this, "timed out");
      this.#attemptLater();
    });
  }

  #onFailedAttempt(reason: string): void {
    this.#attempts--;
    if (this.#isStopped || this.#connection !== undefined) return;
    this.#host.onFailed(this, reason);
    this.#attemptLater();
  }

  #attemptLater(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    // Each of those under way calls this again when it fails.
    if (this.#attempts >= ATTEMPTS_MAX) return;
    const { clock, limits } = this.#host;
    const full = limits.backoffMinMs * 2 ** Math.min(this.#failures++, DOUBLINGS_MAX);
    const delayMs = Math.min(full, limits.backoffMaxMs) * (1 - this.#host.randomFraction() / 2);
    this.#timer = clock.after(delayMs, () => this.#attempt());
  }
}
