/**
 * WAIT and WAITAOF: how durable are the client's writes so far
 * (https://redis.io/docs/latest/commands/waitaof/).
 *
 *     frame = the newest that the client's commands have written to, or depended on, at this node
 *     WAIT      counts the other nodes of the set that have it as durable as configured; woken by acknowledgements
 *     WAITAOF   whether it is on this node's disk, and as WAIT those that have it on theirs: with appendfsync always
 *
 * What the client has written through this node to others, they have committed before it is answered: so at least
 * Q − 1 of their replicas have it, and nobody knows of more here. A server on its own counts no replicas.
 */
import { integerArgument, NOT_AN_INTEGER } from "../arguments.ts";
import type { CommandContext, Handlers, ServerContext } from "../handler.ts";
import type { Session } from "../session.ts";
import type { UnblockOutcome } from "../session-host.ts";

const UNBLOCKED = "UNBLOCKED client unblocked via CLIENT UNBLOCK";
const ROLE_CHANGED =
  "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)";
const WAIT_AT_REPLICA =
  "ERR WAIT cannot be used with replica instances. Please also note that since Redis 4.0 if a replica is configured to be writable (which is not the default) writes to replicas are just local and are not propagated.";
const WAITAOF_AT_REPLICA =
  "ERR WAITAOF cannot be used with replica instances. Please also note that writes to replicas are just local and are not propagated.";
const TIMEOUT_NOT_AN_INTEGER = "ERR timeout is not an integer or out of range";
const TIMEOUT_NEGATIVE = "ERR timeout is negative";
const POLL_MS = 5;
/** Longer timeouts than a timer can hold are none. */
const TIMER_MS_MAX = 2 ** 31 - 1;

/** Index of the newest frame that has records. */
export function newestFrame(server: ServerContext): number {
  const { log } = server.store.internals;
  return log.hasOpenRecords ? log.openIndex : log.openIndex - 1;
}

/** Whether everything up to frame `index` is on disk. */
export function isDurable(server: ServerContext, index: number): boolean {
  return server.store.internals.log.durableIndex >= index;
}

/** Syncs the log until frame `index` is on disk, whatever appendfsync says; calls `done` then. Returns what gives up. */
export function whenDurable(server: ServerContext, index: number, done: () => void): () => void {
  const timer = server.clock.every(POLL_MS, () => {
    if (isDurable(server, index)) {
      timer.cancel();
      done();
    } else {
      server.store.pipeline.sync();
    }
  });
  return () => timer.cancel();
}

/** What a blocked client waits for. */
interface Goal {
  readonly index: number;
  readonly local: number;
  readonly replicas: number;
  /** Copies that a power failure takes away do not count. */
  readonly isOnDisk: boolean;
}

/** How a wait ended, and what had been reached then. "refused": it did not begin, since this node is no writer. */
interface Blocked {
  readonly outcome: UnblockOutcome | "refused";
  readonly local: number;
  readonly replicas: number;
}

function isReplica({ cluster }: ServerContext): boolean {
  return cluster?.replication.isServing === false;
}

/** The newest frame that the client's commands depend on. Frames that a step-down took away are no more. */
function clientFrame({ server, store, session }: CommandContext): number {
  return Math.min(Math.max(session.outbox.newestTag, store.tag), newestFrame(server));
}

function holdersOf({ cluster, config }: ServerContext, { index, isOnDisk }: Goal): number {
  if (cluster === undefined) return 0;
  return isOnDisk && config.get("appendfsync") !== "always"
    ? 0
    : cluster.replication.countHolders(index);
}

function isMet(server: ServerContext, goal: Goal): boolean {
  if (goal.local > 0 && !isDurable(server, goal.index)) return false;
  return holdersOf(server, goal) >= goal.replicas;
}

/** What the client is told that has been reached. */
function reached(server: ServerContext, session: Session, goal: Goal): Omit<Blocked, "outcome"> {
  const holders = holdersOf(server, goal);
  const isPartial = session.routing?.hasForwardedWrites === true;
  const known = isPartial ? server.cluster!.replication.status().writeQuorum - 1 : holders;
  return { local: isDurable(server, goal.index) ? 1 : 0, replicas: Math.min(holders, known) };
}

/** Blocks the client for `timeoutMs` (0: for ever), or until the goal is met. */
function block({ server, store, session }: CommandContext, timeoutMs: number, goal: Goal): Blocked {
  const begin = (resolve: (blocked: Blocked) => void): void => {
    const stops: (() => void)[] = [];
    session.unblock = (outcome) => {
      session.unblock = undefined;
      for (const stop of stops) stop();
      resolve({ outcome, ...reached(server, session, goal) });
    };
    if (timeoutMs > 0 && timeoutMs <= TIMER_MS_MAX) {
      const timer = server.clock.after(timeoutMs, () => session.unblock?.("timeout"));
      stops.push(() => timer.cancel());
    }
    const check = (): void => {
      if (isMet(server, goal)) session.unblock?.("ready");
    };
    if (goal.local > 0) stops.push(whenDurable(server, goal.index, check));
    const replication = server.cluster?.replication;
    if (replication === undefined) return;
    stops.push(replication.onProgress(check));
    // Since the command ran, time has passed.
    check();
  };
  return store.prepare<Blocked>(() => {
    const refused: Blocked = { outcome: "refused", local: 0, replicas: 0 };
    return isReplica(server) ? Promise.resolve(refused) : new Promise(begin);
  });
}

/** Waits for the goal; undefined: an error has been replied. */
function waitFor(context: CommandContext, timeoutMs: number, goal: Goal, atReplica: string) {
  const { server, session, reply } = context;
  const isAtOnce = session.transaction !== undefined || (!isReplica(server) && isMet(server, goal));
  if (isAtOnce && !isReplica(server)) return reached(server, session, goal);
  const blocked = isAtOnce ? undefined : block(context, timeoutMs, goal);
  const outcome = blocked?.outcome ?? "refused";
  if (outcome === "ready" || outcome === "timeout") return blocked;
  // As Redis: who waits for a writer that is none any more is not its client for longer.
  if (outcome === "role") session.isClosing = true;
  const errors = { error: UNBLOCKED, role: ROLE_CHANGED, refused: atReplica };
  reply.error(errors[outcome]);
  return undefined;
}

function timeoutProblem(timeoutMs: number): string | undefined {
  if (Number.isNaN(timeoutMs)) return TIMEOUT_NOT_AN_INTEGER;
  return timeoutMs < 0 ? TIMEOUT_NEGATIVE : undefined;
}

function wait(context: CommandContext): void {
  const { request, reply } = context;
  const timeoutMs = integerArgument(request, 2);
  const replicas = integerArgument(request, 1);
  const problem =
    timeoutProblem(timeoutMs) ?? (Number.isNaN(replicas) ? NOT_AN_INTEGER : undefined);
  if (problem !== undefined) {
    reply.error(problem);
    return;
  }
  const goal = { index: clientFrame(context), local: 0, replicas, isOnDisk: false };
  const result = waitFor(context, timeoutMs, goal, WAIT_AT_REPLICA);
  if (result !== undefined) reply.integer(result.replicas);
}

function waitAofProblem(local: number, replicas: number, timeoutMs: number): string | undefined {
  if (Number.isNaN(local)) return NOT_AN_INTEGER;
  if (local < 0 || local > 1) return "ERR value is out of range, value must between 0 and 1";
  if (!(replicas >= 0)) return "ERR value is out of range, must be positive";
  return timeoutProblem(timeoutMs);
}

function waitAof(context: CommandContext): void {
  const { request, reply } = context;
  const local = integerArgument(request, 1);
  const replicas = integerArgument(request, 2);
  const timeoutMs = integerArgument(request, 3);
  const problem = waitAofProblem(local, replicas, timeoutMs);
  if (problem !== undefined) {
    reply.error(problem);
    return;
  }
  const goal = { index: clientFrame(context), local, replicas, isOnDisk: true };
  const result = waitFor(context, timeoutMs, goal, WAITAOF_AT_REPLICA);
  if (result === undefined) return;
  reply.array(2);
  reply.integer(result.local);
  reply.integer(result.replicas);
}

export const WAIT_HANDLERS: Handlers = { wait, waitaof: waitAof };
