/**
 * Units on their way to the nodes that own their slots: gathered into one frame per node and turn, sent again when they
 * were refused, answered in the end.
 *
 *     unit ──► lane (session, slot) ──► frame (node, turn) ──► Forwarder ──► settle ─┬─ reply ──► the client
 *                  ▲                                                                 └─ refused
 *                  └── all of the lane settled: the refused ones again, in their order, to the owner by then ◄┘
 *
 * A lane keeps the order of one client's commands for one slot. Once it has been sent nothing joins it: who comes
 * later waits for its end.
 *
 * Invariant: a write is sent again, or answered with an error that clients retry on, only if it is known that no node
 * has appended it. Reads may be repeated.
 */
import { assert } from "../base/assert.ts";
import type { Clock } from "../base/clock.ts";
import type { CurrentTopology } from "../cluster/current-topology.ts";
import type { TopologyNode, TopologySet } from "../cluster/topology.ts";
import type { Forwarder, ForwardOutcome, ForwardUnit } from "./forwarder.ts";
import type { Session } from "./session.ts";

/** After each refusal another owner is waited for, twice as long each time: 3 s in all. */
const ATTEMPTS_MAX = 6;
const FIRST_WAIT_MS = 50;

const UNKNOWN_REPLY = Buffer.from(
  "-UNKNOWN the command was sent to the slot's owner and its outcome is not known\r\n",
);
export const SLOT_NOT_SERVED = "CLUSTERDOWN Hash slot not served";

export function noWriter(slot: number): string {
  return `TRYAGAIN Slot ${slot} has no writer at the moment`;
}

/** A unit before it has an owner. */
export interface ForwardPlan {
  readonly slot: number;
  readonly kind: ForwardUnit["kind"];
  readonly isWatched: boolean;
  readonly isWrite: boolean;
  readonly bytes: readonly Buffer[];
  readonly requests: number;
  /** The reply to give when it was refused, instead of sending it again. */
  readonly whenRefused: (() => Buffer) | undefined;
  finish(reply: Buffer): void;
}

/** One client's units for one slot that are on their way. */
export class Lane {
  readonly slot: number;
  readonly protocol: 2 | 3;
  isSent = false;
  /** Units that have not been settled. */
  open = 0;
  attempts = 0;
  /** To whom it was sent, as the topology had it. */
  owner: TopologySet | undefined = undefined;
  readonly refused: Unit[] = [];
  readonly #waiters: (() => void)[] = [];

  constructor(slot: number, protocol: 2 | 3) {
    this.slot = slot;
    this.protocol = protocol;
  }

  /** Resolves when all its units have been answered. */
  ended(): Promise<void> {
    return new Promise((resolve) => this.#waiters.push(resolve));
  }

  end(): void {
    for (const resolve of this.#waiters.splice(0)) resolve();
  }
}

class Unit implements ForwardUnit {
  readonly client: number;
  readonly plan: ForwardPlan;
  readonly protocol: 2 | 3;
  epoch = 0;
  isSettled = true;
  readonly #onSettled: (outcome: ForwardOutcome) => void;

  constructor(
    session: Session,
    plan: ForwardPlan,
    onSettled: (unit: Unit, o: ForwardOutcome) => void,
  ) {
    this.client = session.id;
    this.protocol = session.reply.protocol;
    this.plan = plan;
    this.#onSettled = (outcome) => onSettled(this, outcome);
  }

  get slot(): number {
    return this.plan.slot;
  }

  get kind(): ForwardUnit["kind"] {
    return this.plan.kind;
  }

  get isWatched(): boolean {
    return this.plan.isWatched;
  }

  get bytes(): readonly Buffer[] {
    return this.plan.bytes;
  }

  get requests(): number {
    return this.plan.requests;
  }

  settle(outcome: ForwardOutcome): void {
    assert(!this.isSettled, "a unit is settled once each time it is sent");
    this.isSettled = true;
    this.#onSettled(outcome);
  }
}

interface Frame {
  readonly node: TopologyNode;
  readonly units: Unit[];
}

export interface ForwardingParts {
  readonly clock: Clock;
  readonly topology: CurrentTopology;
  readonly forwarder: Forwarder;
}

export class Forwarding {
  readonly #parts: ForwardingParts;
  /** Of this turn, by node. */
  readonly #frames = new Map<string, Frame>();
  /** Lanes of this turn. */
  #lanes: Lane[] = [];
  #isSendPlanned = false;
  readonly #stopped = new AbortController();
  /** Units sent, and those of them that were refused. */
  sent = 0;
  refused = 0;

  constructor(parts: ForwardingParts) {
    this.#parts = parts;
  }

  /** What to wait for before a unit of `slot` may be sent for `session`, or run here; undefined: nothing. */
  blocker(session: Session, slot: number, isForwarded: boolean): Promise<void> | undefined {
    const lane = session.routing?.lanes.get(slot);
    if (lane === undefined) return undefined;
    if (isForwarded && !lane.isSent && lane.protocol === session.reply.protocol) return undefined;
    return lane.ended();
  }

  /**
   * Sends a unit to `set` at the end of the turn; while nobody has the slot it is held. REQUIRES: blocker() is undefined;
   * the session has a routing.
   */
  send(session: Session, plan: ForwardPlan, set: TopologySet | undefined): void {
    const { lanes } = session.routing!;
    if (plan.isWrite) session.routing!.hasForwardedWrites = true;
    let lane = lanes.get(plan.slot);
    if (lane === undefined) {
      lane = new Lane(plan.slot, session.reply.protocol);
      lanes.set(plan.slot, lane);
      this.#enlist(lane);
    }
    const of = lane;
    const unit = new Unit(session, plan, (settled, outcome) => {
      this.#onSettled(session, of, settled, outcome);
    });
    this.#put(lane, unit, set);
  }

  /** Nobody waits for replies any more. */
  stop(): void {
    this.#stopped.abort();
  }

  #enlist(lane: Lane): void {
    lane.owner = this.#parts.topology.value.ownerOf(lane.slot);
    this.#lanes.push(lane);
  }

  #hasNewOwner({ slot, owner }: Lane): boolean {
    const set = this.#parts.topology.value.ownerOf(slot);
    return (
      set?.id !== owner?.id || set?.epoch !== owner?.epoch || set?.writer?.id !== owner?.writer?.id
    );
  }

  #put(lane: Lane, unit: Unit, set: TopologySet | undefined): void {
    lane.open++;
    unit.isSettled = false;
    unit.epoch = set?.epoch ?? 0;
    this.#planSend();
    const node = set?.writer;
    if (node === undefined) {
      // At the end of the turn: others of the lane are still to come.
      this.#parts.clock.immediate(() => unit.settle({ kind: "refused" }));
      return;
    }
    const frame = this.#frames.get(node.id);
    if (frame === undefined) this.#frames.set(node.id, { node, units: [unit] });
    else frame.units.push(unit);
  }

  #planSend(): void {
    if (this.#isSendPlanned) return;
    this.#isSendPlanned = true;
    this.#parts.clock.immediate(() => this.#sendFrames());
  }

  #sendFrames(): void {
    this.#isSendPlanned = false;
    for (const lane of this.#lanes) lane.isSent = true;
    this.#lanes = [];
    const frames = [...this.#frames.values()];
    this.#frames.clear();
    for (const { node, units } of frames) {
      this.sent += units.length;
      this.#parts.forwarder.forward(node, units, this.#stopped.signal);
    }
  }

  #onSettled(session: Session, lane: Lane, unit: Unit, outcome: ForwardOutcome): void {
    const { plan } = unit;
    lane.open--;
    if (outcome.kind === "reply") {
      plan.finish(outcome.bytes);
    } else if (outcome.kind === "unknown" && plan.isWrite) {
      plan.finish(UNKNOWN_REPLY);
    } else if (plan.whenRefused !== undefined) {
      plan.finish(plan.whenRefused());
    } else {
      this.refused++;
      lane.refused.push(unit);
    }
    if (lane.open > 0) return;
    if (lane.refused.length > 0) this.#sendAgain(session, lane);
    else this.#endLane(session, lane);
  }

  #endLane(session: Session, lane: Lane): void {
    session.routing!.lanes.delete(lane.slot);
    lane.end();
  }

  /** Sends what was refused once the slot has another owner than the one it was sent to, or some time has passed. */
  #sendAgain(session: Session, lane: Lane): void {
    const { clock, topology } = this.#parts;
    const waitMs = FIRST_WAIT_MS * 2 ** lane.attempts;
    lane.attempts++;
    if (lane.attempts > ATTEMPTS_MAX || session.isClosed || this.#stopped.signal.aborted) {
      this.#giveUp(session, lane);
      return;
    }
    const again = (): void => {
      const set = topology.value.ownerOf(lane.slot);
      this.#enlist(lane);
      for (const unit of lane.refused.splice(0)) this.#put(lane, unit, set);
    };
    if (this.#hasNewOwner(lane)) {
      again();
      return;
    }
    const goOn = (): void => {
      timer.cancel();
      unsubscribe();
      again();
    };
    const timer = clock.after(waitMs, goOn);
    // While many slots move, most changes say nothing new of this one.
    const unsubscribe = topology.onChange(() => {
      if (this.#hasNewOwner(lane)) goOn();
    });
  }

  #giveUp(session: Session, lane: Lane): void {
    const isOwned = this.#parts.topology.value.ownerOf(lane.slot) !== undefined;
    const error = isOwned ? noWriter(lane.slot) : SLOT_NOT_SERVED;
    for (const unit of lane.refused.splice(0)) unit.plan.finish(Buffer.from(`-${error}\r\n`));
    this.#endLane(session, lane);
  }
}
