/**
 * Runs one request: finds the command, checks what Redis checks before any command, runs its handler as a unit of
 * the store, and does what an Interrupt asks for.
 *
 *   request → lookup → arity → authentication → MULTI queue → unit { handler } ─┬─ done
 *                ▲                                                             └─ Interrupt: take back, wait,
 *                └────────────────────────────── run again ◄──────────────────────┘
 *
 * Hot: `execute` runs once per command.
 */
import type { Clock } from "../base/clock.ts";
import { Interrupt, PREPARING, Refusal } from "../store/interrupt.ts";
import type { Store } from "../store/store.ts";
import {
  bindHandlers,
  COMMANDS,
  type CommandSpec,
  FLAG_FAST,
  FLAG_NO_AUTH,
  FLAG_SKIP_MONITOR,
  FLAG_SKIP_SLOWLOG,
  FLAG_WRITE,
  lookup,
  lookupSubcommand,
} from "./command-table.ts";
import { unknownCommand, unknownSubcommand } from "./error-text.ts";
import type { Handler, Handlers, ServerContext } from "./handler.ts";
import { feedMonitors } from "./monitor.ts";
import type { Session } from "./session.ts";
import { slowLogArguments } from "./slow-log.ts";
import type { Statistics } from "./statistics.ts";

const NO_AUTH = "NOAUTH Authentication required.";
/** Commands that run at once inside MULTI instead of being queued. */
const UNQUEUED = new Set(["exec", "discard", "multi", "watch", "quit", "reset"]);

/** Not flagged fast, but too frequent to be timed one by one. */
const FREQUENT = new Set(["set", "setex", "psetex", "del", "ping", "echo"]);

export interface DispatcherOptions {
  readonly server: ServerContext;
  readonly handlers: Handlers;
}

export class Dispatcher {
  readonly #server: ServerContext;
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #statistics: Statistics;
  readonly #handlers: readonly (Handler | undefined)[];
  /** Commands that CLIENT PAUSE WRITE holds back, and those that are timed one by one. */
  readonly #isSlow: readonly boolean[];
  slowLogMicros = 10_000;

  constructor(options: DispatcherOptions) {
    this.#server = options.server;
    this.#store = options.server.store;
    this.#clock = options.server.clock;
    this.#statistics = options.server.statistics;
    this.#handlers = bindHandlers(options.handlers);
    this.#isSlow = COMMANDS.map((spec) => !spec.has(FLAG_FAST) && !FREQUENT.has(spec.name));
  }

  /** As SessionHost.execute. */
  execute(session: Session): Promise<void> | undefined {
    const request = session.request;
    const reply = session.reply;
    const start = reply.length;
    const spec = this.#specOf(session);
    if (spec === undefined) return undefined;
    if (session.transaction !== undefined && !UNQUEUED.has(spec.name)) {
      this.#queue(session, spec);
      return undefined;
    }
    const paused = this.#pause(session, spec);
    if (paused !== undefined) return paused;
    session.lastCommand = spec;
    const clients = this.#server.clients;
    if (clients.monitors.size > 0 && !spec.has(FLAG_SKIP_MONITOR)) {
      feedMonitors(clients.monitors, session, request, this.#store.nowMs);
    }
    const isSlow = this.#isSlow[spec.id]!;
    const isTimed = this.#statistics.beginCall(spec.id, isSlow);
    const startMicros = isTimed ? this.#clock.monotonicMicros() : 0;
    const wait = this.#runUnit(session, this.#handlers[spec.id]!, start);
    if (wait !== undefined) {
      this.#statistics.calls[spec.id]!--;
      this.#statistics.commands--;
      return wait;
    }
    if (isTimed) this.#endTimed(session, spec, startMicros);
    if (reply.isErrorAt(start)) this.#countError(spec, reply.lineAt(start));
    if (session.suppressesReplies) session.dropReply(start);
    return undefined;
  }

  /** Runs the queued commands of EXEC one after the other within the unit that EXEC has begun. */
  runTransaction(session: Session): void {
    const transaction = session.transaction!;
    const own = session.request;
    session.reply.array(transaction.specs.length);
    try {
      for (let i = 0; i < transaction.specs.length; i++) {
        const spec = transaction.specs[i]!;
        session.request = transaction.requests[i]!;
        const start = session.reply.length;
        this.#statistics.beginCall(spec.id, false);
        this.#handlers[spec.id]!(session.context);
        if (session.reply.isErrorAt(start)) this.#countError(spec, session.reply.lineAt(start));
      }
    } finally {
      session.request = own;
    }
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
    if (spec === undefined) return this.#refuse(session, unknownCommand(session));
    if (!spec.acceptsArity(request.count) || this.#handlers[spec.id] === undefined) {
      this.#statistics.rejected[spec.id]!++;
      return this.#refuse(session, `ERR wrong number of arguments for '${spec.name}' command`);
    }
    if (!session.isAuthenticated && !spec.has(FLAG_NO_AUTH)) {
      this.#statistics.rejected[spec.id]!++;
      return this.#refuse(session, NO_AUTH);
    }
    if (spec.has(FLAG_WRITE) && this.#store.refusal !== undefined) {
      this.#statistics.rejected[spec.id]!++;
      return this.#refuse(session, this.#store.refusal);
    }
    return spec;
  }

  #refuse(session: Session, error: string): undefined {
    const start = session.reply.length;
    if (session.transaction !== undefined) session.transaction.isDirty = true;
    session.reply.error(error);
    this.#statistics.countError(session.reply.lineAt(start).split(" ", 1)[0]!);
    if (session.suppressesReplies) session.dropReply(start);
    return undefined;
  }

  #queue(session: Session, spec: CommandSpec): void {
    const transaction = session.transaction!;
    transaction.specs.push(spec);
    transaction.requests.push(session.request.clone());
    session.reply.simple("QUEUED");
    if (session.suppressesReplies) session.dropReply(session.reply.length);
  }

  /** CLIENT PAUSE: what to wait for before this command may run. */
  #pause(session: Session, spec: CommandSpec): Promise<void> | undefined {
    const clients = this.#server.clients;
    if (clients.pausedUntilMs === 0) return undefined;
    if (spec.name.startsWith("client|") || session.isClosing) return undefined;
    const mayWrite = spec.has(FLAG_WRITE) || spec.name === "exec";
    return clients.pausesReads || mayWrite ? clients.unpaused() : undefined;
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
        if (error instanceof Refusal) {
          session.work.clear();
          session.reply.error(error.reply);
          return undefined;
        }
        if (!(error instanceof Interrupt)) throw error;
        const wait = error === PREPARING ? this.#finishPreparing(session) : store.resolve(error);
        if (wait !== undefined) return wait;
      }
    }
  }

  async #finishPreparing(session: Session): Promise<void> {
    const work = session.work;
    work.results.push(await work.pending);
    work.pending = undefined;
  }

  #endTimed(session: Session, spec: CommandSpec, startMicros: number): void {
    const micros = this.#clock.monotonicMicros() - startMicros;
    this.#statistics.endCall(spec.id, this.#isSlow[spec.id]!, micros);
    const threshold = this.slowLogMicros;
    if (threshold < 0 || micros < threshold || spec.has(FLAG_SKIP_SLOWLOG)) return;
    const { config, slowLog } = this.#server;
    slowLog.add(
      {
        time: Math.floor(this.#clock.wallMs() / 1000),
        micros: Math.round(micros),
        args: slowLogArguments(session.request),
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
