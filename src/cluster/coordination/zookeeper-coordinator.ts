/**
 * The Coordinator of production: documents are znodes below a chroot.
 *
 * Every change is a transaction (multi), of one operation or more: one way to send, and to read the answer. A fresh
 * read sends a transaction that changes nothing ahead of the read: the server answers it once it has applied all that
 * the leader had ordered before, and that answer needs a quorum. ZooKeeper's own `sync` does not: a leader that has
 * been replaced without knowing would answer it from the past.
 *
 * A session that has expired here may still live at the ensemble. It is closed there before the next one begins, so
 * no operation of it can take effect after an operation of the next.
 */
import zookeeper from "node-zookeeper-client";
import type { Clock } from "../../base/clock.ts";
import type { Logger } from "../../base/logger.ts";
import {
  assertMulti,
  assertOperation,
  type ConflictCause,
  type Coordinator,
  type Lifetime,
  type ListOutcome,
  type MultiConflict,
  type MultiOutcome,
  type Operation,
  parentOf,
  type ReadOptions,
  type ReadOutcome,
  type RemoveOutcome,
  type SessionEvent,
  type SessionStatus,
  type Subscription,
  type Unavailable,
  type Unknown,
  type WriteOutcome,
} from "./coordinator.ts";
import { SessionTracker } from "./session-tracker.ts";
import { type WatchKind, WatchRegistry } from "./watch-registry.ts";
import type { ZookeeperAddress } from "./zookeeper-address.ts";
import { type Reply, ZookeeperSession } from "./zookeeper-session.ts";

export interface ZookeeperCoordinatorOptions {
  readonly address: ZookeeperAddress;
  readonly sessionTimeoutMs: number;
  /** `user:password`: znodes are then made so that only this user may read or change them. */
  readonly digest?: string;
  readonly clock: Clock;
  /** From [0, 1), for jitter. */
  readonly random: () => number;
  readonly logger: Logger;
}

/** The znode as the library hands it over. */
interface Znode {
  readonly data: Buffer | undefined;
  readonly stat: zookeeper.Stat;
}

const CLOSE_MS_MAX = 2000;
/** After a session that the ensemble would not even begin. */
const RETRY_MS = 1000;
const ANY_VERSION = -1;

const OP = { create: 1, remove: 2, write: 5, check: 13, error: -1 } as const;

const { NO_NODE, NO_AUTH, BAD_VERSION, NODE_EXISTS, NOT_EMPTY, NO_CHILDREN_FOR_EPHEMERALS } =
  zookeeper.Exception;
const CAUSES = new Map<number | undefined, ConflictCause>([
  [NO_NODE, "missing"],
  [BAD_VERSION, "version"],
  [NODE_EXISTS, "exists"],
  [NOT_EMPTY, "children"],
  [NO_CHILDREN_FOR_EPHEMERALS, "children"],
]);
const DENIALS = new Set([
  NO_AUTH,
  zookeeper.Exception["INVALID_ACL"],
  zookeeper.Exception["AUTH_FAILED"],
]);

const UNKNOWN: Unknown = { kind: "unknown" };
const NOT_CONNECTED: Unavailable = { kind: "unavailable", reason: "not connected" };
const CLOSED: Unavailable = { kind: "unavailable", reason: "closed" };
const DENIED: Unavailable = { kind: "unavailable", reason: "denied" };
const REFUSED: Unavailable = { kind: "unavailable", reason: "refused" };

export class ZookeeperCoordinator implements Coordinator {
  readonly #options: ZookeeperCoordinatorOptions;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #tracker: SessionTracker;
  readonly #watches = new WatchRegistry();
  /** One function for each watch that is set at the server: the library tells them apart by identity. */
  readonly #watchers = new Map<string, () => void>();
  #session: ZookeeperSession;
  /** The tracker knows the current session: it has been connected. */
  #isKnown = false;
  #hasChroot = false;
  #onClosed: (() => void) | undefined;

  /** Begins to connect at once; the first session is told to onSession's listeners. */
  constructor(options: ZookeeperCoordinatorOptions) {
    this.#options = options;
    this.#clock = options.clock;
    this.#logger = options.logger;
    const { clock, sessionTimeoutMs } = options;
    this.#tracker = new SessionTracker(clock, sessionTimeoutMs, () => this.#onDeadline());
    this.#hasChroot = options.address.chroot === "";
    this.#session = this.#begin(undefined);
  }

  get session(): SessionStatus {
    return this.#tracker.status;
  }

  onSession(listener: (event: SessionEvent) => void): Subscription {
    return this.#tracker.subscribe(listener);
  }

  read(path: string, options: ReadOptions = {}): Promise<ReadOutcome> {
    assertOperation({ kind: "check", path, version: 0 });
    return this.#read(path, options);
  }

  list(path: string, options: ReadOptions = {}): Promise<ListOutcome> {
    assertOperation({ kind: "check", path, version: 0 });
    return this.#list(path, options);
  }

  create(path: string, data: Uint8Array, lifetime: Lifetime): Promise<WriteOutcome> {
    return this.#change<WriteOutcome>(
      { kind: "create", path, data, lifetime },
      { kind: "ok", version: 0 },
    );
  }

  write(path: string, data: Uint8Array, version: number): Promise<WriteOutcome> {
    const operation = { kind: "write", path, data, version } as const;
    return this.#change<WriteOutcome>(operation, { kind: "ok", version: version + 1 });
  }

  remove(path: string, version: number): Promise<RemoveOutcome> {
    return this.#change<RemoveOutcome>({ kind: "remove", path, version }, { kind: "ok" });
  }

  multi(operations: readonly Operation[]): Promise<MultiOutcome> {
    assertMulti(operations);
    return this.#commit(operations.map((operation) => this.#encoded(operation)));
  }

  async close(): Promise<void> {
    if (this.session.state === "closed") return;
    const ended = new Promise<void>((resolve) => {
      this.#onClosed = resolve;
      if (this.#session.isConnected) this.#clock.after(CLOSE_MS_MAX, resolve);
      else resolve();
    });
    this.#tracker.closed();
    this.#watches.clear();
    this.#session.end();
    await ended;
    this.#session.abandon();
  }

  // Requests.

  async #read(path: string, { fresh, onChange }: ReadOptions): Promise<ReadOutcome> {
    const barrier = fresh === true ? this.#barrier() : undefined;
    const reply = await this.#ask<Znode>(
      (client, callback) =>
        client.getData(
          this.#full(path),
          this.#watcher("document", path, onChange),
          (error, data, stat) => callback(error, { data, stat }),
        ),
      () => this.#arm("document", path, onChange),
    );
    const barred = await barrier;
    if (barred !== undefined) return barred;
    if (reply.kind === "ok") return documentOf(reply.value);
    const isThere = await this.#findMissing(reply, path, onChange);
    return isThere === true ? this.#read(path, { onChange: onChange! }) : isThere;
  }

  async #list(path: string, { fresh, onChange }: ReadOptions): Promise<ListOutcome> {
    const barrier = fresh === true ? this.#barrier() : undefined;
    const reply = await this.#ask<string[]>(
      (client, callback) =>
        client.getChildren(this.#full(path), this.#watcher("children", path, onChange), callback),
      () => this.#arm("children", path, onChange),
    );
    const barred = await barrier;
    if (barred !== undefined) return barred;
    if (reply.kind === "ok") return { kind: "ok", names: [...reply.value].sort() };
    const isThere = await this.#findMissing(reply, path, onChange);
    return isThere === true ? this.#list(path, { onChange: onChange! }) : isThere;
  }

  #change<T>(operation: Operation, ok: T) {
    assertOperation(operation);
    return this.#commit([this.#encoded(operation)]).then((outcome) => {
      if (outcome.kind === "ok") return ok;
      return outcome.kind === "conflict" ? { kind: outcome.kind, cause: outcome.cause } : outcome;
    });
  }

  async #commit(operations: readonly zookeeper.TransactionOperation[]): Promise<MultiOutcome> {
    const reply = await this.#ask<readonly zookeeper.TransactionResult[]>((client, callback) => {
      const transaction = client.transaction();
      transaction.ops.push(...operations);
      transaction.commit((error, results) => {
        // A transaction that failed has results too, which say where; an error alone says only that.
        if (results === undefined) callback(error, []);
        else callback(null, results);
      });
    });
    if (reply.kind === "unavailable") return reply;
    if (reply.kind === "lost") return UNKNOWN;
    if (reply.kind === "failed") return this.#failed(reply.code, 0);
    const index = reply.value.findIndex(({ type, err }) => type === OP.error && err !== 0);
    return index < 0 ? { kind: "ok" } : this.#failed(reply.value[index]?.err, index);
  }

  #failed(code: number | undefined, index: number): MultiConflict | Unavailable | Unknown {
    const cause = CAUSES.get(code);
    if (cause !== undefined) return { kind: "conflict", cause, index };
    if (DENIALS.has(code)) return DENIED;
    this.#logger.warn({ code }, "ZooKeeper could not do a transaction");
    return UNKNOWN;
  }

  /** Undefined once this server has all that was committed before; else why that is not known. */
  async #barrier(): Promise<Unavailable | undefined> {
    const outcome = await this.#commit([
      { type: OP.check, path: this.#full("/"), version: ANY_VERSION },
    ]);
    if (outcome.kind === "ok") return undefined;
    if (outcome.kind === "unavailable") return outcome;
    return outcome.kind === "unknown" ? NOT_CONNECTED : REFUSED;
  }

  /** After a read that found nothing: sets the watch that its creation fires; true if it exists by now. */
  async #findMissing(
    reply: Exclude<Reply<unknown>, { kind: "ok" }> | Unavailable,
    path: string,
    onChange: (() => void) | undefined,
  ): Promise<{ kind: "missing" } | Unavailable | true> {
    if (reply.kind === "unavailable") return reply;
    if (reply.kind === "lost") return this.#unavailable() ?? NOT_CONNECTED;
    if (reply.code !== NO_NODE) return DENIALS.has(reply.code) ? DENIED : REFUSED;
    if (onChange === undefined) return { kind: "missing" };
    const exists = await this.#ask<zookeeper.Stat | null>(
      (client, callback) =>
        client.exists(this.#full(path), this.#watcher("document", path, onChange), callback),
      (stat) => {
        if (stat === null) this.#arm("document", path, onChange);
      },
    );
    if (exists.kind !== "ok") return exists.kind === "failed" ? REFUSED : NOT_CONNECTED;
    return exists.value === null ? { kind: "missing" } : true;
  }

  #ask<T>(
    request: Parameters<typeof ZookeeperSession.prototype.ask<T>>[0],
    onOk?: (value: T) => void,
  ): Promise<Reply<T> | Unavailable> {
    const unavailable = this.#unavailable();
    return unavailable === undefined
      ? this.#session.ask(request, onOk)
      : Promise.resolve(unavailable);
  }

  #unavailable(): Unavailable | undefined {
    const { state } = this.session;
    if (state === "connected" && this.#session.isConnected) return undefined;
    return state === "closed" ? CLOSED : NOT_CONNECTED;
  }

  // Watches.

  #watcher(kind: WatchKind, path: string, onChange: unknown): (() => void) | undefined {
    if (onChange === undefined) return undefined;
    const key = `${kind} ${path}`;
    const known = this.#watchers.get(key);
    if (known !== undefined) return known;
    const watcher = () => {
      this.#watchers.delete(key);
      this.#watches.fire(kind, path);
    };
    this.#watchers.set(key, watcher);
    return watcher;
  }

  #arm(kind: WatchKind, path: string, onChange: (() => void) | undefined): void {
    if (onChange !== undefined) this.#watches.arm(kind, path, onChange);
  }

  // Znodes.

  #full(path: string): string {
    const { chroot } = this.#options.address;
    if (chroot === "") return path;
    return path === "/" ? chroot : chroot + path;
  }

  #encoded(operation: Operation): zookeeper.TransactionOperation {
    const { kind } = operation;
    const path = this.#full(operation.path);
    if (kind === "create") return this.#creation(path, operation.data, operation.lifetime);
    const { version } = operation;
    // The caller may go on using its bytes.
    return kind === "write"
      ? { type: OP.write, path, data: Buffer.from(operation.data), version }
      : { type: OP[kind], path, version };
  }

  #creation(path: string, data: Uint8Array, lifetime: Lifetime): zookeeper.TransactionOperation {
    const { ACL, CreateMode } = zookeeper;
    const acls = this.#options.digest === undefined ? ACL.OPEN_ACL_UNSAFE : ACL.CREATOR_ALL_ACL;
    const mode = lifetime === "ephemeral" ? CreateMode.EPHEMERAL : CreateMode.PERSISTENT;
    return { type: OP.create, path, data: Buffer.from(data), acls, mode };
  }

  // Sessions.

  #begin(newestZxid: Buffer | undefined): ZookeeperSession {
    const { address, sessionTimeoutMs, digest, clock, random, logger } = this.#options;
    this.#isKnown = false;
    const session = new ZookeeperSession({
      servers: address.servers,
      timeoutMs: sessionTimeoutMs,
      digest,
      clock,
      random,
      logger,
      newestZxid,
      events: {
        onConnected: (sentMs, timeoutMs) => void this.#onConnected(session, sentMs, timeoutMs),
        onAnswered: (sentMs) => {
          if (this.#isKnown) this.#tracker.answered(sentMs);
        },
        onDisconnected: () => this.#onDisconnected(),
        onEnded: () => this.#onEnded(session),
      },
    });
    session.connect();
    return session;
  }

  async #onConnected(session: ZookeeperSession, sentMs: number, timeoutMs: number): Promise<void> {
    if (!this.#hasChroot) this.#hasChroot = await this.#makeChroot(session);
    if (this.session.state === "closed" || !session.isConnected) return;
    if (!this.#hasChroot) {
      this.#logger.error(
        { chroot: this.#options.address.chroot },
        "ZooKeeper: no access to the chroot",
      );
      this.#clock.after(RETRY_MS, () => session.disconnect());
      return;
    }
    const isNew = !this.#isKnown;
    this.#isKnown = true;
    this.#logger.info({ isNew, timeoutMs }, "connected to ZooKeeper");
    this.#tracker.connected(isNew, timeoutMs, sentMs);
    this.#watches.fireAll();
  }

  /** Looks before it creates: the upper part may belong to somebody who lets nobody create there. */
  async #makeChroot(session: ZookeeperSession): Promise<boolean> {
    const { chroot } = this.#options.address;
    const paths: string[] = [];
    for (let path = chroot; path !== "/"; path = parentOf(path)) paths.unshift(path);
    for (const path of paths) {
      const found = await session.ask<zookeeper.Stat | null>((client, callback) =>
        client.exists(path, undefined, callback),
      );
      if (found.kind !== "ok") return false;
      if (found.value !== null) continue;
      const made = await session.ask<unknown>((client, callback) => {
        const transaction = client.transaction();
        transaction.ops.push(this.#creation(path, new Uint8Array(0), "durable"));
        transaction.commit((error) => callback(error, undefined));
      });
      if (made.kind !== "ok" && !(made.kind === "failed" && made.code === NODE_EXISTS))
        return false;
    }
    return true;
  }

  #onDisconnected(): void {
    this.#watchers.clear();
    if (this.#isKnown) this.#tracker.suspended();
    if (this.session.state === "suspended") this.#logger.warn({}, "connection to ZooKeeper lost");
  }

  #onDeadline(): void {
    this.#logger.warn({}, "session with ZooKeeper expired by its own deadline");
    this.#watchers.clear();
    this.#session.end();
  }

  #onEnded(session: ZookeeperSession): void {
    this.#watchers.clear();
    if (this.session.state === "closed") {
      this.#onClosed?.();
      return;
    }
    const wasKnown = this.#isKnown;
    this.#tracker.expired();
    this.#clock.after(wasKnown ? 0 : RETRY_MS, () => {
      if (this.session.state !== "closed") this.#session = this.#begin(session.newestZxid);
    });
  }
}

function documentOf({ data, stat }: Znode): ReadOutcome {
  const isEphemeral = stat.ephemeralOwner.some((byte) => byte !== 0);
  return {
    kind: "ok",
    data: data === undefined ? new Uint8Array(0) : new Uint8Array(data),
    version: stat.version,
    creationId: stat.czxid.toString("hex"),
    lifetime: isEphemeral ? "ephemeral" : "durable",
  };
}
