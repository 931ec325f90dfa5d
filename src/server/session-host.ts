/** What a session needs of the server around it. */
import type { ByteBudget } from "../base/byte-budget.ts";
import type { Request } from "../resp/request.ts";
import type { ParserLimits } from "../resp/request-parser.ts";
import type { ServerContext } from "./handler.ts";
import type { Passed } from "./outbox.ts";
import type { Session } from "./session.ts";

export interface SessionHost extends Passed {
  readonly server: ServerContext;
  readonly limits: ParserLimits;
  /** Memory for large arguments and values of all sessions. */
  readonly largeBytes: ByteBudget;
  /** BATCH_REQUESTS requests, for the session that is running. */
  readonly batch: Request[];
  /** The first `count` requests of the batch come next. */
  warm(count: number): void;
  /** Starts a batch of commands of a session; its clock and tag are the store's. */
  beginBatch(session: Session): void;
  /** The session's commands have run; the tag stays. */
  endBatch(): void;
  /** A session is between beginBatch() and endBatch(): no other one may run. */
  readonly isRunning: boolean;
  /** Goes on with the session once none is running. */
  continueLater(session: Session): void;
  /** Highest frame index that the commands since beginBatch() depend on. */
  readonly batchTag: number;
  /** Round of reads that must be confirmed before their replies leave; 0: nothing to confirm. */
  readonly batchRound: number;
  /**
   * Runs the session's current request. Returns a promise when it must wait: then the request is to be run again
   * once it resolves.
   */
  execute(session: Session): Promise<void> | undefined;
  /** The session holds replies that wait for `committed` to grow. */
  gate(session: Session): void;
  /** The session has replies that may leave: sends them with those of others, within this turn. */
  sendSoon(session: Session): void;
  opened(session: Session): void;
  closed(session: Session): void;
  /** A bug: assertion failures end the process. */
  onFatal(error: Error): void;
}

/** How a blocking command's wait ended: CLIENT UNBLOCK gives `timeout` and `error`; `role`: the node's has changed. */
export type UnblockOutcome = "ready" | "timeout" | "error" | "role";

/** As Redis prints addresses of clients. */
export function formatAddress(host: string, port: number): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}
