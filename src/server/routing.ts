/**
 * Where a command runs, on a node of a cluster: here, at the owner of its keys' slot while this node relays the reply,
 * or nowhere, and the client is told where to go. A server that is not in a cluster has no router.
 *
 *     command ─► slot of its keys ─┬─ several ─────────────► scattered (scatter.ts), or CROSSSLOT
 *                                  ├─ nobody's ────────────► held, as without a writer; CLUSTERDOWN in the end
 *                                  ├─ this node's ─────────► here
 *                                  └─ another's ─┬─ told ──► MOVED
 *                                                └─────────► forwarded (forwarding.ts)
 *
 * Who is told, by `cluster-redirect`: with auto, who has not said which library it is, once per slot; it is forwarded
 * when it misses the slot again within a second, since some clients cannot learn. But whom a WATCH was told of is told
 * of the transaction too: the watch is elsewhere. A library whose name has crc32 in it routes by itself and is always
 * told. On a node that is about to end, those that are forwarded by their name are told once, too: they go before their
 * connection is closed under what they have sent.
 *
 * Order: once told, a client is told again for the same slot until the reply has left, since it sends the first command
 * again elsewhere. And nothing overtakes a command of the same client and slot that is on its way.
 */
import type { Clock } from "../base/clock.ts";
import { slotOf } from "../base/slot.ts";
import type { TopologySet } from "../cluster/topology.ts";
import type { Config } from "../config/config.ts";
import type { Request } from "../resp/request.ts";
import { encodeRequest, encodeWords } from "../resp/request-encoder.ts";
import type { ClusterNode } from "./cluster-context.ts";
import { type CommandSpec, FLAG_READONLY, FLAG_WRITE, lastKeyOf } from "./command-table.ts";
import { commandPlan, unwatchPlan, watchPlan } from "./forward-plans.ts";
import type { Forwarder, ForwardUnit } from "./forwarder.ts";
import { Forwarding, type ForwardPlan, noWriter, SLOT_NOT_SERVED } from "./forwarding.ts";
import { scatter } from "./scatter.ts";
import type { Session } from "./session.ts";
import { formatAddress } from "./session-host.ts";
import { SessionRouting, type Watch } from "./session-routing.ts";

/** The command has been answered, or will be. */
export const DONE = Symbol("done");
/** undefined: run it here. A promise: ask again once it resolves. A text: the error to answer. */
export type Route = undefined | typeof DONE | string | Promise<void>;

export interface Router {
  /** Where the session's current request goes. */
  route(session: Session, spec: CommandSpec): Route;
  /** The connection has ended or begins anew (RESET). */
  forget(session: Session): void;
  setReadonly(session: Session, isReadonly: boolean): void;
  isReadonly(session: Session): boolean;
  readonly counts: RoutingCounts;
}

export interface RoutingCounts {
  readonly redirects: number;
  readonly forwards: number;
  /** Forwarded commands that the other node refused. */
  readonly refusals: number;
  /** Commands of several keys that several nodes have executed. */
  readonly scatters: number;
}

export const CROSS_SLOT = "CROSSSLOT Keys in request don't hash to the same slot";
const READ_ONLY = "READONLY You can't write against a read only replica.";
const TOLD_MS = 1000;
/** No key, or one that no command accepts. */
const NO_SLOT = -1;
const SEVERAL_SLOTS = -2;

const MULTI = encodeWords("MULTI");
const EXEC = encodeWords("EXEC");
const NIL_2 = Buffer.from("*-1\r\n");
const NIL_3 = Buffer.from("_\r\n");

export interface RouterParts {
  readonly node: ClusterNode;
  readonly config: Config;
  readonly clock: Clock;
  /** Executes units whose slot is this node's own: parts of scattered commands, and what has come back. */
  executeHere(units: readonly ForwardUnit[]): void;
}

/** The slot of all keys of a request. Hot. */
function slotOfKeys(spec: CommandSpec, request: Request): number {
  const last = Math.min(lastKeyOf(spec, request.count), request.count - 1);
  let slot = NO_SLOT;
  for (let at = spec.firstKey; at <= last; at += spec.keyStep) {
    const start = request.starts[at]!;
    if (start < 0) return NO_SLOT;
    const each = slotOf(request.bytes, start, request.ends[at]!);
    if (slot !== each && slot !== NO_SLOT) return SEVERAL_SLOTS;
    slot = each;
  }
  return slot;
}

function hasLarge(request: Request): boolean {
  return request.large.length > 0;
}

export class ClusterRouter implements Router {
  readonly #node: ClusterNode;
  readonly #config: Config;
  readonly #clock: Clock;
  readonly forwarding: Forwarding;
  /** This node has given its role away, and is about to end. */
  isLeaving = false;
  #redirects = 0;
  #scatters = 0;

  constructor(parts: RouterParts) {
    this.#node = parts.node;
    this.#config = parts.config;
    this.#clock = parts.clock;
    const { clock, node, executeHere } = parts;
    const forwarder: Forwarder = {
      forward(to, units, signal) {
        if (to.id === node.id) executeHere(units);
        else node.forwarder.forward(to, units, signal);
      },
    };
    this.forwarding = new Forwarding({ clock, topology: node.topology, forwarder });
  }

  get counts(): RoutingCounts {
    const { sent, refused } = this.forwarding;
    return {
      redirects: this.#redirects,
      forwards: sent,
      refusals: refused,
      scatters: this.#scatters,
    };
  }

  route(session: Session, spec: CommandSpec): Route {
    const { routing, request } = session;
    if (routing?.answer !== undefined) return this.#giveAnswer(session, routing);
    if (spec.firstKey === 0) return this.#routeKeyless(session, spec);
    const slot = slotOfKeys(spec, request);
    if (slot === NO_SLOT) return undefined;
    if (spec.name === "watch" && session.transaction === undefined)
      return this.#routeWatch(session, spec, slot);
    if (slot === SEVERAL_SLOTS) return this.#routeSeveral(session, spec);
    const set = this.#node.topology.value.ownerOf(slot);
    if (set?.writer?.id === this.#node.id) return this.#here(session, slot);
    if (this.#isReplicaRead(session, slot, set, spec.has(FLAG_READONLY))) return undefined;
    return this.#miss(session, slot, set, () => commandPlan(session, spec, slot));
  }

  forget(session: Session): void {
    if (session.routing === undefined) return;
    this.#unwatch(session);
    session.routing.isReadonly = false;
    session.routing.told.clear();
    session.routing.watchedElsewhere.clear();
  }

  setReadonly(session: Session, isReadonly: boolean): void {
    this.#routingOf(session).isReadonly = isReadonly;
  }

  isReadonly(session: Session): boolean {
    return session.routing?.isReadonly === true;
  }

  #routingOf(session: Session): SessionRouting {
    session.routing ??= new SessionRouting();
    return session.routing;
  }

  #routeKeyless(session: Session, spec: CommandSpec): Route {
    if (spec.name === "exec") return this.#routeExec(session);
    const isEnd = session.transaction !== undefined && spec.name === "discard";
    if (isEnd || (session.transaction === undefined && spec.name === "unwatch"))
      this.#unwatch(session);
    if (spec.has(FLAG_WRITE) && !this.#isWriter) return READ_ONLY;
    return undefined;
  }

  get #isWriter(): boolean {
    const { topology, id } = this.#node;
    return topology.value.setOf(id)?.writer?.id === id;
  }

  /** This node owns the slot. */
  #here(session: Session, slot: number): Route {
    if (this.#node.isHeld(slot)) return this.#waitForSlot(session, slot);
    const { routing } = session;
    if (routing === undefined) return undefined;
    routing.heldSinceMs = 0;
    if (routing.refusedSlots.has(slot) || this.#isStillTold(session, slot))
      return this.#moved(session, slot, this.#node.topology.value.ownerOf(slot)!);
    return this.forwarding.blocker(session, slot, false);
  }

  /** Nothing has been done, so a client that has waited for too long may try again. */
  #waitForSlot(session: Session, slot: number): Route {
    const nowMs = this.#clock.monotonicMs();
    const routing = this.#routingOf(session);
    if (routing.heldSinceMs === 0) routing.heldSinceMs = nowMs;
    if (nowMs - routing.heldSinceMs < this.#config.get("cluster-quorum-timeout"))
      return this.#node.heldSlotsChanged();
    routing.heldSinceMs = 0;
    return `TRYAGAIN slot ${slot} is moving to another replica set`;
  }

  /** Another node owns the slot, or nobody. */
  #miss(
    session: Session,
    slot: number,
    set: TopologySet | undefined,
    plan: () => ForwardPlan,
  ): Route {
    if (session.routing !== undefined) session.routing.heldSinceMs = 0;
    if (session.routing?.isPeer === true) return this.#refusePeer(session.routing, slot);
    if (set === undefined && !this.#holdsUnowned) return SLOT_NOT_SERVED;
    if (set !== undefined && this.#tells(session, slot, set))
      return this.#moved(session, slot, set);
    // Within MULTI it is queued here, and the whole goes to the owner.
    if (session.transaction !== undefined) return undefined;
    return this.forwarding.blocker(session, slot, true) ?? this.#forward(session, plan(), set);
  }

  /**
   * Whether what is sent to a slot of nobody is held. Slots are never without an owner once they have had one: only
   * documents that were read at different times show it so, for a moment. And a node that has just started has read none.
   */
  get #holdsUnowned(): boolean {
    const { version, ownedSlots } = this.#node.topology.value;
    const isTransient = version === 0 || ownedSlots > 0;
    return isTransient && this.#config.get("cluster-redirect") !== "moved";
  }

  #refusePeer(routing: SessionRouting, slot: number): string {
    routing.refusedSlots.add(slot);
    return `MOVED ${slot} :0`;
  }

  #moved(session: Session, slot: number, set: TopologySet): string {
    if (session.routing?.isPeer === true) return `MOVED ${slot} :0`;
    if (set.writer === undefined) return noWriter(slot);
    this.#redirects++;
    if (!session.replyMode.isSilent) this.#tell(session, slot);
    const { host, port } = set.writer;
    return `MOVED ${slot} ${formatAddress(host, port)}`;
  }

  #tell(session: Session, slot: number): void {
    const { emptied } = session.outbox;
    this.#routingOf(session).told.set(slot, { ms: this.#clock.monotonicMs(), emptied });
  }

  /** Whether the client has been told of the slot by a reply that has not left. */
  #isStillTold(session: Session, slot: number): boolean {
    return session.routing?.told.get(slot)?.emptied === session.outbox.emptied;
  }

  /** Whether the client is told that it has missed the slot, rather than forwarded. */
  #tells(session: Session, slot: number, set: TopologySet): boolean {
    if (session.routing?.kind === "local") return false;
    if (this.#alwaysTellsOf(session, set)) return true;
    // A client that gets no replies cannot be told.
    if (session.replyMode.isSilent) return false;
    if (this.#isStillTold(session, slot)) return true;
    if (this.#config.get("cluster-redirect") === "forward") return false;
    if (this.#isWatchedElsewhere(session, slot)) return true;
    // There is nobody to tell of: the command is held until there is.
    if (set.writer === undefined) return false;
    const isNamed = session.reply.protocol === 3 || session.libraryName !== "";
    // MOVED would make EXEC fail.
    if (isNamed && !(this.isLeaving && session.transaction === undefined)) return false;
    const told = session.routing?.told.get(slot);
    return told === undefined || this.#clock.monotonicMs() - told.ms > TOLD_MS;
  }

  /** A transaction would run here without the watch that it counts on. */
  #isWatchedElsewhere({ routing, transaction }: Session, slot: number): boolean {
    return transaction !== undefined && routing?.watchedElsewhere.has(slot) === true;
  }

  #alwaysTells(session: Session): boolean {
    const mode = this.#config.get("cluster-redirect");
    return mode === "moved" || (mode === "auto" && session.libraryName.includes("crc32"));
  }

  /** Of a set without a writer only with `moved`: else what is sent to it is held until it has one. */
  #alwaysTellsOf(session: Session, set: TopologySet): boolean {
    const isHeld = set.writer === undefined && this.#config.get("cluster-redirect") !== "moved";
    return !isHeld && this.#alwaysTells(session);
  }

  #isReplicaRead(
    session: Session,
    slot: number,
    set: TopologySet | undefined,
    isRead: boolean,
  ): boolean {
    if (!isRead || session.routing?.isReadonly !== true || set === undefined) return false;
    const isFresh = this.#node.replication.hearsWriter;
    if (!isFresh && !this.#config.get("replica-serve-stale-data")) return false;
    // What its log knows of the slot may be more than what it has heard of the owner, or less.
    if (this.#node.isHeld(slot)) return false;
    return set.replicas.some((each) => each.id === this.#node.id && each.health !== "loading");
  }

  #routeSeveral(session: Session, spec: CommandSpec): Route {
    const { forwarding } = this;
    const { id, topology } = this.#node;
    const plan = session.transaction === undefined ? scatter(session, spec) : undefined;
    if (plan === undefined) return CROSS_SLOT;
    const sets = plan.slots.map((slot) => topology.value.ownerOf(slot));
    const isHere = sets.every((set) => set?.writer?.id === id);
    for (const slot of plan.slots) {
      const blocker = isHere ? this.#here(session, slot) : forwarding.blocker(session, slot, true);
      if (blocker !== undefined) return blocker;
    }
    if (isHere) return undefined;
    const isReplicas = sets.every((set, index) =>
      this.#isReplicaRead(session, plan.slots[index]!, set, spec.has(FLAG_READONLY)),
    );
    if (isReplicas) return undefined;
    if (this.#alwaysTells(session)) return CROSS_SLOT;
    if (!sets.every((set) => set !== undefined) && !this.#holdsUnowned) return SLOT_NOT_SERVED;
    this.#routingOf(session);
    this.#scatters++;
    return this.#answerLater(session, hasLarge(session.request), (finish) => {
      const units = plan.units(finish);
      for (const [index, unit] of units.entries()) forwarding.send(session, unit, sets[index]);
    });
  }

  #forward(
    session: Session,
    plan: Omit<ForwardPlan, "finish">,
    set: TopologySet | undefined,
    isLarge = hasLarge(session.request),
  ): Route {
    this.#routingOf(session);
    return this.#answerLater(session, isLarge, (finish) => {
      this.forwarding.send(session, { ...plan, finish }, set);
    });
  }

  /**
   * Keeps a place for the reply that `send` will give. With large arguments the session is parked until then, since
   * they are sent from where they lie.
   */
  #answerLater(
    session: Session,
    isLarge: boolean,
    send: (finish: (reply: Buffer) => void) => void,
  ): Route {
    if (isLarge) {
      return new Promise((resolve) => {
        send((reply) => {
          session.routing!.answer = reply;
          resolve();
        });
      });
    }
    if (session.replyMode.isSilent) {
      session.dropReply(session.reply.length);
      send(() => undefined);
      return DONE;
    }
    const hole = session.reply.openHole();
    send((reply) => session.fill(hole, reply));
    return DONE;
  }

  #giveAnswer(session: Session, routing: SessionRouting): typeof DONE {
    const answer = routing.answer!;
    routing.answer = undefined;
    if (session.replyMode.isSilent) session.dropReply(session.reply.length);
    else session.fill(session.reply.openHole(), answer);
    return DONE;
  }

  #routeWatch(session: Session, spec: CommandSpec, slot: number): Route {
    const watch = this.#liveWatch(session);
    if (slot === SEVERAL_SLOTS || (watch !== undefined && watch.slot !== slot)) return CROSS_SLOT;
    const { id, topology } = this.#node;
    const set = topology.value.ownerOf(slot);
    const isHere = set?.writer?.id === id;
    const isNobodys = set === undefined && session.routing?.isPeer !== true;
    // Nobody could say what the watch is bound to.
    if (isNobodys) return SLOT_NOT_SERVED;
    const route = isHere
      ? this.#here(session, slot)
      : this.#miss(session, slot, set, () => watchPlan(session, spec, slot));
    if (typeof route === "string") session.routing?.watchedElsewhere.add(slot);
    const isMoved = typeof route === "string" || route instanceof Promise;
    if (isMoved || set?.writer === undefined || session.routing?.isPeer === true) return route;
    const { writer, epoch } = set;
    const routing = this.#routingOf(session);
    routing.watchedElsewhere.delete(slot);
    if (watch === undefined)
      routing.watch = { slot, nodeId: writer.id, epoch, set, isBroken: false };
    else if (watch.nodeId !== writer.id || watch.epoch !== epoch) watch.isBroken = true;
    return route;
  }

  /** The watch of a session, unless it has ended by itself with a transaction here. */
  #liveWatch(session: Session): Watch | undefined {
    const watch = session.routing?.watch;
    if (watch === undefined) return undefined;
    const isOver = watch.nodeId === this.#node.id && session.watchedKeys.size === 0;
    if (isOver) session.routing!.watch = undefined;
    return isOver ? undefined : watch;
  }

  /** The watch ends, wherever it is. */
  #unwatch(session: Session): void {
    const watch = this.#liveWatch(session);
    if (watch === undefined) return;
    session.routing!.watch = undefined;
    // It ends where it was taken, whoever owns the slot now.
    if (watch.nodeId === this.#node.id) return;
    this.forwarding.send(session, unwatchPlan(watch.slot), watch.set);
  }

  #routeExec(session: Session): Route {
    const { transaction } = session;
    if (transaction === undefined) return undefined;
    if (transaction.isDirty) {
      this.#unwatch(session);
      return undefined;
    }
    const watch = this.#liveWatch(session);
    let slot = NO_SLOT;
    for (const [index, spec] of transaction.specs.entries()) {
      if (spec.firstKey === 0) continue;
      const each = slotOfKeys(spec, transaction.requests[index]!);
      if (each === NO_SLOT) continue;
      slot = slot === NO_SLOT || slot === each ? each : SEVERAL_SLOTS;
    }
    if (slot === NO_SLOT) slot = watch?.slot ?? NO_SLOT;
    if (slot === NO_SLOT) return undefined;
    if (slot === SEVERAL_SLOTS || (watch !== undefined && watch.slot !== slot)) {
      this.#unwatch(session);
      return CROSS_SLOT;
    }
    return this.#placeTransaction(session, slot, watch);
  }

  #placeTransaction(session: Session, slot: number, watch: Watch | undefined): Route {
    const { id, topology } = this.#node;
    const set = topology.value.ownerOf(slot);
    const blocker = this.forwarding.blocker(session, slot, false);
    if (blocker !== undefined) return blocker;
    const holds = watch?.nodeId === set?.writer?.id && watch?.epoch === set?.epoch;
    if (watch !== undefined && (watch.isBroken || !holds)) {
      this.#unwatch(session);
      // The transaction ends here, and answers nil.
      session.isWatchBroken = true;
      return undefined;
    }
    if (set?.writer?.id === id) return this.#here(session, slot);
    const { specs, requests } = session.transaction!;
    const isRead = specs.every((spec) => spec.firstKey === 0 || spec.has(FLAG_READONLY));
    if (watch === undefined && this.#isReplicaRead(session, slot, set, isRead)) return undefined;
    if (session.routing?.isPeer === true) return this.#refusePeer(session.routing, slot);
    if (set === undefined ? !this.#holdsUnowned : this.#alwaysTellsOf(session, set)) {
      this.#unwatch(session);
      return set === undefined ? SLOT_NOT_SERVED : this.#moved(session, slot, set);
    }
    const nil = session.reply.protocol === 3 ? NIL_3 : NIL_2;
    const plan: Omit<ForwardPlan, "finish"> = {
      slot,
      kind: "transaction",
      isWatched: watch !== undefined,
      isWrite: specs.some((spec) => spec.has(FLAG_WRITE)),
      bytes: [MULTI, ...requests.flatMap((request) => encodeRequest(request)), EXEC],
      requests: specs.length + 2,
      whenRefused: watch === undefined ? undefined : () => nil,
    };
    if (session.routing !== undefined) session.routing.watch = undefined;
    session.transaction = undefined;
    return this.#forward(session, plan, set, requests.some(hasLarge));
  }
}
