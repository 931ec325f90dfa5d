/**
 * What a command is given, and where the state that all commands share lives.
 *
 * A handler is synchronous. It selects keys in the store, reads and writes them, and appends exactly one reply.
 * What it cannot do now, the store throws as an Interrupt; the dispatcher takes everything back, waits, and
 * runs the handler again from its start, so a handler keeps no state of its own between reads and writes.
 * A client's mistake is an error reply, never an exception.
 */
import type { Clock } from "../base/clock.ts";
import type { Host } from "../base/host.ts";
import type { Logger } from "../base/logger.ts";
import type { Config } from "../config/config.ts";
import type { ReplyWriter } from "../resp/reply-writer.ts";
import type { Request } from "../resp/request.ts";
import type { Store } from "../store/store.ts";
import type { ClientLimits } from "./client-limits.ts";
import type { ClientRegistry } from "./client-registry.ts";
import type { ClusterContext } from "./cluster-context.ts";
import type { MemoryGauge } from "./info-memory.ts";
import type { LatencyMonitor } from "./latency-monitor.ts";
import type { Session } from "./session.ts";
import type { SlowLog } from "./slow-log.ts";
import type { Statistics } from "./statistics.ts";
import type { WatchedKeys } from "./watched-keys.ts";

export interface ServerContext {
  readonly config: Config;
  /** Another one after a node of a cluster has stepped down. */
  store: Store;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly statistics: Statistics;
  readonly clients: ClientRegistry;
  readonly limits: ClientLimits;
  readonly slowLog: SlowLog;
  readonly latency: LatencyMonitor;
  readonly host: Host;
  readonly memory: MemoryGauge;
  readonly watchedKeys: WatchedKeys;
  /** Undefined on a server that is not in a cluster. */
  readonly cluster: ClusterContext | undefined;
  /** 40 hex digits, new at each start. */
  readonly runId: string;
  /** Start of the server on the monotonic clock. */
  readonly startedMs: number;
  /** Runs the commands of a transaction as one unit, appending each reply. */
  runTransaction(session: Session): void;
  /** Stops the server in an orderly way, as SIGTERM does. */
  shutdown(): void;
}

export interface CommandContext {
  readonly server: ServerContext;
  /** The server's. */
  readonly store: Store;
  readonly session: Session;
  readonly request: Request;
  readonly reply: ReplyWriter;
}

export type Handler = (context: CommandContext) => void;
export type Handlers = Readonly<Record<string, Handler>>;
