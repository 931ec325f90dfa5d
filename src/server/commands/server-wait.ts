/**
 * WAIT and WAITAOF: how durable are the writes so far
 * (https://redis.io/docs/latest/commands/waitaof/).
 *
 * A server on its own has no replicas, so WAIT counts none of them; with appendfsync always every answered write is
 * on disk before its reply leaves, and WAITAOF finds it there.
 */
import { integerArgument, NOT_AN_INTEGER } from "../arguments.ts";
import type { CommandContext, Handlers, ServerContext } from "../handler.ts";
import type { UnblockOutcome } from "../session-host.ts";

const UNBLOCKED = "UNBLOCKED client unblocked via CLIENT UNBLOCK";
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

interface Blocked {
  readonly outcome: UnblockOutcome;
  /** The frame that the first run found to be the newest. */
  readonly index: number;
}

/** Blocks the client for `timeoutMs` (0: for ever), or until frame `index` is durable if that is `enough`. */
function block(context: CommandContext, timeoutMs: number, index: number, enough: boolean) {
  const { server, store, session } = context;
  return store.prepare<Blocked>(
    () =>
      new Promise((resolve) => {
        const isTimed = timeoutMs > 0 && timeoutMs <= TIMER_MS_MAX;
        const timer = isTimed
          ? server.clock.after(timeoutMs, () => session.unblock?.("timeout"))
          : undefined;
        const giveUp = enough
          ? whenDurable(server, index, () => session.unblock?.("ready"))
          : () => undefined;
        session.unblock = (outcome) => {
          session.unblock = undefined;
          timer?.cancel();
          giveUp();
          resolve({ outcome, index });
        };
      }),
  );
}

function timeoutProblem(timeoutMs: number): string | undefined {
  if (Number.isNaN(timeoutMs)) return TIMEOUT_NOT_AN_INTEGER;
  return timeoutMs < 0 ? TIMEOUT_NEGATIVE : undefined;
}

function wait(context: CommandContext): void {
  const { session, request, reply } = context;
  const timeoutMs = integerArgument(request, 2);
  const replicas = integerArgument(request, 1);
  const problem =
    timeoutProblem(timeoutMs) ?? (Number.isNaN(replicas) ? NOT_AN_INTEGER : undefined);
  if (problem !== undefined) {
    reply.error(problem);
    return;
  }
  if (replicas > 0 && session.transaction === undefined) {
    if (block(context, timeoutMs, 0, false).outcome === "error") {
      reply.error(UNBLOCKED);
      return;
    }
  }
  reply.integer(0);
}

function waitAofProblem(local: number, replicas: number, timeoutMs: number): string | undefined {
  if (Number.isNaN(local)) return NOT_AN_INTEGER;
  if (local < 0 || local > 1) return "ERR value is out of range, value must between 0 and 1";
  if (!(replicas >= 0)) return "ERR value is out of range, must be positive";
  return timeoutProblem(timeoutMs);
}

function waitAof(context: CommandContext): void {
  const { server, session, request, reply } = context;
  const local = integerArgument(request, 1);
  const replicas = integerArgument(request, 2);
  const timeoutMs = integerArgument(request, 3);
  const problem = waitAofProblem(local, replicas, timeoutMs);
  if (problem !== undefined) {
    reply.error(problem);
    return;
  }
  let index = newestFrame(server);
  const isMet = replicas === 0 && (local === 0 || isDurable(server, index));
  if (!isMet && session.transaction === undefined) {
    const blocked = block(context, timeoutMs, index, replicas === 0);
    if (blocked.outcome === "error") {
      reply.error(UNBLOCKED);
      return;
    }
    index = blocked.index;
  }
  reply.array(2);
  reply.integer(isDurable(server, index) ? 1 : 0);
  reply.integer(0);
}

export const WAIT_HANDLERS: Handlers = { wait, waitaof: waitAof };
