/**
 * What ends a connection that takes too much: time (timeout) or memory for replies that it does not read
 * (client-output-buffer-limit).
 *
 * A session stops running commands at a megabyte of unread replies, so only one large value, or MONITOR, gets it to
 * a limit. A value may always be read, so that its size is no reason to end a connection: the hard limit is on top
 * of the longest value. Above the soft limit a client must read at least that many bytes per period.
 */
import type { Logger } from "../base/logger.ts";
import type { Config } from "../config/config.ts";
import type { Session } from "./session.ts";
import type { Statistics } from "./statistics.ts";

export interface ClientLimitsOptions {
  readonly config: Config;
  readonly logger: Logger;
  readonly statistics: Statistics;
  /** Longest value in bytes. */
  readonly valueBytesMax: number;
}

/** A client above the soft limit. */
interface SlowReader {
  sinceMs: number;
  sentBytes: number;
}

export class ClientLimits {
  readonly #options: ClientLimitsOptions;
  readonly #slowReaders = new Map<Session, SlowReader>();

  constructor(options: ClientLimitsOptions) {
    this.#options = options;
  }

  /** Once a second. `nowMs` as in Session.lastActiveMs. */
  check(sessions: readonly Session[], nowMs: number): void {
    const { config } = this.#options;
    const idleMs = config.get("timeout") * 1000;
    const { hardBytes, softBytes, softSeconds } = config.get("client-output-buffer-limit").normal;
    for (const session of sessions) {
      const pending = session.pendingBytes;
      const allowance = session.isMonitor ? 0 : this.#options.valueBytesMax;
      if (hardBytes > 0 && pending > hardBytes + allowance) this.#end(session, pending);
      else if (softBytes > 0 && pending > softBytes) {
        if (this.#isTooSlow(session, nowMs, { softBytes, softSeconds }))
          this.#end(session, pending);
      } else {
        this.#slowReaders.delete(session);
        const isIdle = idleMs > 0 && nowMs - session.lastActiveMs > idleMs;
        if (isIdle && !session.isMonitor && session.unblock === undefined) session.kill();
      }
    }
  }

  /** After MONITOR has given the session another line. */
  checkMonitor(session: Session): void {
    const { hardBytes } = this.#options.config.get("client-output-buffer-limit").normal;
    const pending = session.pendingBytes;
    if (hardBytes > 0 && pending > hardBytes) this.#end(session, pending);
  }

  forget(session: Session): void {
    this.#slowReaders.delete(session);
  }

  #isTooSlow(
    session: Session,
    nowMs: number,
    soft: { readonly softBytes: number; readonly softSeconds: number },
  ): boolean {
    const reader = this.#slowReaders.get(session);
    if (reader === undefined) {
      this.#slowReaders.set(session, { sinceMs: nowMs, sentBytes: session.outbox.sentBytes });
      return false;
    }
    if (nowMs - reader.sinceMs < soft.softSeconds * 1000) return false;
    if (session.outbox.sentBytes - reader.sentBytes < soft.softBytes) return true;
    reader.sinceMs = nowMs;
    reader.sentBytes = session.outbox.sentBytes;
    return false;
  }

  #end(session: Session, pendingBytes: number): void {
    const { logger, statistics } = this.#options;
    statistics.outputBufferDisconnections++;
    logger.warn(
      { client: session.id, address: session.address, pendingBytes },
      "client closed for overcoming of output buffer limits",
    );
    session.kill();
  }
}
