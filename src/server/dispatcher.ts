/**
 * Runs one request: finds the command, checks what Redis checks before any command, runs its handler as a unit of
 * the store, and does what an Interrupt asks for.
 *
 *   request → lookup → arity → authentication → MULTI queue → unit { handler } ─┬─ done: counted, shown to monitors
 *                ▲                                                             └─ Interrupt: take back, wait,
 *                └────────────────────────────── run again ◄──────────────────────┘
 *
 * Hot: `execute` runs once per command.
 */
import type { Clock } from "../base/clock.ts";
import type { Request } from "../resp/request.ts";
import { COLD_READ, OUT_OF_MEMORY, PREPARING, Refusal } from "../store/interrupt.ts";
import type { Store } from "../store/store.ts";
import {
  bindHandlers,
  COMMANDS,
  type CommandSpec,
  FLAG_ADMIN,
  FLAG_FAST,
  FLAG_NO_AUTH,
  FLAG_NO_MULTI,
  FLAG_READONLY,
  FLAG_SKIP_MONITOR,
  FLAG_SKIP_SLOWLOG,
  FLAG_WRITE,
  lookup,
  lookupSubcommand,
} from "./command-table.ts";
import { isCrossProtocol, unknownCommand, unknownSubcommand } from "./error-text.ts";
import type { Handler, Handlers, ServerContext } from "./handler.ts";
import { feedMonitors } from "./monitor.ts";
import type { NodeAuthority } from "./node-authority.ts";
import { DONE, type Router } from "./routing.ts";
import type { Session } from "./session.ts";
import { slowLogArguments } from "./slow-log.ts";
import type { Statistics } from "./statistics.ts";
import type { Transaction } from "./transaction.ts";
import { upcomingKeys } from "./upcoming-keys.ts";
import type { Effect } from "./withdraw-replies.ts";

const NO_AUTH = "NOAUTH Authentication required.";
const NOT_IN_MULTI = "ERR Command not allowed inside a transaction";
/** Commands that run at once inside MULTI instead of being queued. */
const UNQUEUED = new Set(["exec", "discard", "multi", "watch", "quit", "reset"]);

/** They show data, and neither keys nor flags say so. */
const UNFLAGGED_READS = new Set(["exec", "cluster|countkeysinslot", "cluster|getkeysinslot"]);

/** Not flagged fast, but too frequent to be timed one by one. */
const FREQUENT = new Set(["set", "setex", "psetex", "del", "ping", "echo"]);

export interface DispatcherOptions {
  readonly server: ServerContext;
  readonly handlers: Handlers;
  /** Undefined: not a node of a cluster. */
  readonly authority?: NodeAuthority | undefined;
}

export class Dispatcher {
  readonly #server: ServerContext;
  #store: Store;
  readonly #clock: Clock;
  readonly #statistics: Statistics;
  readonly #handlers: readonly (Handler | undefined)[];
  /** Commands that CLIENT PAUSE WRITE holds back, and those that are timed one by one. */
  readonly #isSlow: readonly boolean[];
  readonly #effects: readonly Effect[] = COMMANDS.map(effectOf);
  /** Undefined: not a node of a cluster, everything runs here. */
  readonly #router: Router | undefined;
  readonly #authority: NodeAuthority | undefined;
  slowLogMicros = 10_000;
  /** What the reply to the last command tells. */
  effect: Effect = "none";
  /** The transaction that the current EXEC has run to its end. */
  #ran: Transaction | undefined = undefined;

  constructor(options: DispatcherOptions) {
    this.#server = options.server;
    this.#store = options.server.store;
    this.#clock = options.server.clock;
    this.#statistics = options.server.statistics;
    this.#router = options.server.cluster?.router;
    this.#authority = options.authority;
    this.#handlers = bindHandlers(options.handlers);
    this.#isSlow = COMMANDS.map((spec) => !spec.has(FLAG_FAST) && !FREQUENT.has(spec.name));
  }

  /** As SessionHost.execute. */
  execute(session: Session): Promise<void> | undefined {
    const request = session.request;
    const reply = session.reply;
    const start = reply.length;
    this.effect = "none";
    const spec = this.#specOf(session);
    if (spec === undefined) return undefined;
    const elsewhere = this.#router !== undefined && this.#goElsewhere(this.#router, session, spec);
    if (elsewhere !== false) return elsewhere;
    const { refusal } = this.#store.housekeeping;
    if (refusal !== undefined && mayWrite(session, spec)) {
      return this.#reject(session, spec, refusal);
    }
    if (session.transaction !== undefined && !UNQUEUED.has(spec.name)) {
      this.#queue(session, spec);
      return undefined;
    }
    const held = this.#hold(session, spec);
    if (held !== undefined)
      return typeof held === "string" ? this.#reject(session, spec, held) : held;
    session.lastCommand = spec;
    const isSlow = this.#isSlow[spec.id]!;
    const isTimed = this.#statistics.beginCall(spec.id, isSlow);
    const startMicros = isTimed ? this.#clock.monotonicMicros() : 0;
    const wait = this.#runUnit(session, this.#handlers[spec.id]!, start);
    if (wait !== undefined) {
      this.#statistics.calls[spec.id]!--;
      this.#statistics.commands--;
      return wait;
    }
    if (this.#ran !== undefined) this.#accountTransaction(session);
    if (isTimed) {
      const micros = this.#clock.monotonicMicros() - startMicros;
      this.#endTimed(session, spec, request, micros);
    }
    if (reply.isErrorAt(start)) this.#countError(spec, reply.lineAt(start));
    if (this.#server.clients.monitors.size > 0) this.#feedMonitors(session, spec, request);
    if (session.replyMode.isSilent) session.dropReply(start);
    return undefined;
  }

  /** Commands run on `store` from now on. */
  adopt(store: Store): void {
    this.#store = store;
  }

  /** Runs the queued commands of EXEC one after the other within the unit that EXEC has begun. */
  runTransaction(session: Session): void {
    const transaction = session.transaction!;
    const { micros, errors } = transaction;
    const own = session.request;
    session.reply.array(transaction.specs.length);
    // It may be interrupted and run again: what is counted is kept until it has run to its end.
    micros.length = 0;
    errors.length = 0;
    try {
      for (let i = 0; i < transaction.specs.length; i++) {
        const spec = transaction.specs[i]!;
        session.request = transaction.requests[i]!;
        const start = session.reply.length;
        const startMicros = this.#clock.monotonicMicros();
        this.#handlers[spec.id]!(session.context);
        micros.push(this.#clock.monotonicMicros() - startMicros);
        errors.push(session.reply.isErrorAt(start) ? session.reply.lineAt(start) : undefined);
        if (session.reply.pendingBytes > this.#store.largeBytesMax * 2) throw OUT_OF_MEMORY;
      }
      this.#ran = transaction;
    } finally {
      session.request = own;
    }
  }

  /** EXEC has run to its end: counts its commands one by one, and shows them to monitors. */
  #accountTransaction(session: Session): void {
    const { specs, requests, micros, errors } = this.#ran!;
    this.#ran = undefined;
    for (let i = 0; i < specs.length; i++) {
      const spec = specs[i]!;
      const error = errors[i];
      if (this.#statistics.beginCall(spec.id, this.#isSlow[spec.id]!)) {
        this.#endTimed(session, spec, requests[i]!, micros[i]!);
      }
      if (error !== undefined) this.#countError(spec, error);
      if (this.#server.clients.monitors.size > 0) this.#feedMonitors(session, spec, requests[i]!);
    }
  }

  #feedMonitors(session: Session, spec: CommandSpec, request: Request): void {
    if (spec.has(FLAG_SKIP_MONITOR | FLAG_ADMIN)) return;
    feedMonitors(this.#server.clients.monitors, session, request, this.#store.nowMs);
  }

  /** The command to run, after the checks that refuse it; undefined when the refusal has been replied. */
  #specOf(session: Session): CommandSpec | undefined {
    const request = session.request;
    if (request.starts[0]! < 0) request.materialize();
    let spec = lookup(request.bytes, request.starts[0]!, request.ends[0]!);
    if (spec?.isContainer && request.count > 1) {
      if (request.starts[1]! < 0) request.materialize();
      const sub = lookupSubcommand(spec, request.bytes, request.starts[1]!, request.ends[1]!);
      if (sub === undefined) return this.#refuse(session, unknownSubcommand(session));
      spec = sub;
    }
    if (spec === undefined) {
      if (isCrossProtocol(request)) return this.#closeCrossProtocol(session);
      return this.#refuse(session, unknownCommand(session));
    }
    if (!spec.acceptsArity(request.count) || this.#handlers[spec.id] === undefined) {
      return this.#reject(
        session,
        spec,
        `ERR wrong number of arguments for '${spec.name}' command`,
      );
    }
    if (!session.isAuthenticated && !spec.has(FLAG_NO_AUTH)) {
      return this.#reject(session, spec, NO_AUTH);
    }
    if (session.transaction !== undefined && spec.has(FLAG_NO_MULTI)) {
      return this.#reject(session, spec, NOT_IN_MULTI);
    }
    return spec;
  }

  /** Refuses a command that exists. EXEC that cannot run ends its transaction. */
  #reject(session: Session, spec: CommandSpec, error: string): undefined {
    this.#statistics.rejected[spec.id]!++;
    if (spec.name !== "exec") return this.#refuse(session, error);
    this.#refuse(
      session,
      `EXECABORT Transaction discarded because of: ${error.replace(/^ERR /, "")}`,
    );
    this.#discard(session);
    return undefined;
  }

  /** false: the command runs here. Else it has been answered, or will be, or must wait. */
  #goElsewhere(router: Router, session: Session, spec: CommandSpec) {
    const route = router.route(session, spec);
    if (route === undefined) return false;
    if (route === DONE) return undefined;
    return typeof route === "string" ? this.#redirect(session, spec, route) : route;
  }

  /** The keys are elsewhere. Ends the transaction that EXEC was to run. */
  #redirect(session: Session, spec: CommandSpec, error: string): undefined {
    this.#statistics.rejected[spec.id]!++;
    this.#refuse(session, error);
    if (spec.name === "exec") this.#discard(session);
    return undefined;
  }

  #discard(session: Session): void {
    session.transaction = undefined;
    this.#server.watchedKeys.removeAll(session);
  }

  #closeCrossProtocol(session: Session): undefined {
    this.#server.logger.warn(
      { address: session.address },
      "Possible SECURITY ATTACK detected. It looks like somebody is sending POST or Host: commands to dkv. " +
        "This is likely due to an attacker attempting to use Cross Protocol Scripting to compromise your instance. Connection aborted.",
    );
    session.kill();
    return undefined;
  }

  #refuse(session: Session, error: string): undefined {
    const start = session.reply.length;
    if (session.transaction !== undefined) session.transaction.isDirty = true;
    session.reply.error(error);
    this.#statistics.countError(session.reply.lineAt(start).split(" ", 1)[0]!);
    if (session.replyMode.isSilent) session.dropReply(start);
    return undefined;
  }

  #queue(session: Session, spec: CommandSpec): void {
    const transaction = session.transaction!;
    transaction.specs.push(spec);
    transaction.requests.push(session.request.clone());
    const start = session.reply.length;
    session.reply.simple("QUEUED");
    if (session.replyMode.isSilent) session.dropReply(start);
  }

  /** What to wait for before this command may run here, or why it may not. */
  #hold(session: Session, spec: CommandSpec): Promise<void> | string | undefined {
    const paused = this.#pause(session, spec);
    if (paused !== undefined) return paused;
    const { throttled } = this.#store.housekeeping;
    if (throttled !== undefined && mayWrite(session, spec)) return throttled;
    if (this.#authority === undefined) return undefined;
    const effect =
      spec.name === "exec" && mayWrite(session, spec) ? "write" : this.#effects[spec.id]!;
    if (effect === "none") return undefined;
    const { suspension } = this.#authority;
    if (suspension !== undefined) return suspension;
    const held = effect === "write" ? this.#authority.admit(session) : undefined;
    if (held === undefined) this.effect = effect;
    return held;
  }

  /** CLIENT PAUSE: what to wait for before this command may run. */
  #pause(session: Session, spec: CommandSpec): Promise<void> | undefined {
    const clients = this.#server.clients;
    if (clients.pausedUntilMs === 0) return undefined;
    if (spec.name.startsWith("client|") || session.isClosing) return undefined;
    return clients.pausesReads || mayWrite(session, spec) ? clients.unpaused() : undefined;
  }

  /** Runs a handler as one unit, as often as it takes; a promise when it has to wait. */
  #runUnit(session: Session, handler: Handler, start: number): Promise<void> | undefined {
    const store = this.#store;
    for (;;) {
      store.beginUnit(session.work);
      try {
        handler(session.context);
        store.endUnit();
        session.work.clear();
        return undefined;
      } catch (error) {
        store.abortUnit();
        session.reply.truncate(start);
        this.#ran = undefined;
        if (error instanceof Refusal) {
          session.work.clear();
          // Only EXEC runs while there is a transaction.
          if (session.transaction !== undefined) this.#discard(session);
          session.reply.error(error.reply);
          return undefined;
        }
        if (!store.isInterrupt(error)) throw error;
        const wait = this.#waitFor(error, session);
        if (wait !== undefined) return wait;
      }
    }
  }

  async #finishPreparing(session: Session): Promise<void> {
    const { work } = session;
    const { pending } = work;
    const prepared = await pending!;
    // Given up: what the store has shown before the node's role changed means nothing now.
    if (work.pending !== pending) return;
    work.pending = undefined;
    work.results.push(prepared);
  }

  #waitFor(interrupt: unknown, session: Session): Promise<void> | undefined {
    if (interrupt === PREPARING) return this.#finishPreparing(session);
    if (interrupt === COLD_READ) return this.#store.prefetch(upcomingKeys(session));
    return this.#store.resolve(interrupt);
  }

  #endTimed(session: Session, spec: CommandSpec, request: Request, micros: number): void {
    this.#statistics.endCall(spec.id, this.#isSlow[spec.id]!, micros);
    const { config, latency, slowLog } = this.#server;
    if (latency.thresholdMs > 0 && micros >= latency.thresholdMs * 1000) {
      const event = spec.has(FLAG_FAST) ? "fast-command" : "command";
      latency.add(event, Math.floor(micros / 1000), Math.floor(this.#store.nowMs / 1000));
    }
    const threshold = this.slowLogMicros;
    if (threshold < 0 || micros < threshold || spec.has(FLAG_SKIP_SLOWLOG)) return;
    slowLog.add(
      {
        time: Math.floor(this.#clock.wallMs() / 1000),
        micros: Math.round(micros),
        args: slowLogArguments(request),
        address: session.address,
        clientName: session.name,
      },
      config.get("slowlog-max-len"),
    );
  }

  #countError(spec: CommandSpec, line: string): void {
    this.#statistics.failed[spec.id]!++;
    this.#statistics.countError(line.split(" ", 1)[0]!);
  }
}

/** What the reply to a command that runs here tells; that of EXEC at least. */
function effectOf(spec: CommandSpec): Effect {
  if (spec.has(FLAG_WRITE)) return "write";
  const isRead = spec.firstKey > 0 || spec.has(FLAG_READONLY) || UNFLAGGED_READS.has(spec.name);
  return isRead ? "read" : "none";
}

/** Whether a command, or one of those that EXEC runs, is a write. */
function mayWrite(session: Session, spec: CommandSpec): boolean {
  if (spec.name !== "exec") return spec.has(FLAG_WRITE);
  return session.transaction?.specs.some((each) => each.has(FLAG_WRITE)) ?? false;
}
