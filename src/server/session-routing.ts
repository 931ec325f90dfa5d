/** What routing keeps of one connection. Made when there is something to keep: most connections never miss. */
import type { TopologySet } from "../cluster/topology.ts";
import type { Lane } from "./forwarding.ts";

/** Keys under WATCH lie in one slot, and at one node. */
export interface Watch {
  readonly slot: number;
  readonly nodeId: string;
  readonly epoch: number;
  /** As it was then. */
  readonly set: TopologySet;
  /** The owner, its epoch or the link has changed: EXEC answers nil. */
  isBroken: boolean;
}

/** The client was told where the slot is. */
export interface Told {
  readonly ms: number;
  /** Outbox.emptied then: as long as it is the same, the client cannot know. */
  readonly emptied: number;
}

/**
 * Whose connection it is. A peer's carries what other nodes forward: answered here or refused, never passed on. What a
 * local one asks for is always passed on, never told to go elsewhere.
 */
export type ConnectionKind = "client" | "peer" | "local";

export class SessionRouting {
  /** READONLY. */
  isReadonly = false;
  readonly kind: ConnectionKind;
  /** By slot. */
  readonly told = new Map<number, Told>();
  /** By slot: units that are on their way. */
  readonly lanes = new Map<number, Lane>();
  /** Of a peer: slots that were refused since they were last sent here, and stay refused so that order is kept. */
  readonly refusedSlots = new Set<number>();
  watch: Watch | undefined = undefined;
  /** Slots whose WATCH was answered with a MOVED: the client watches at another node, on a connection of its own. */
  readonly watchedElsewhere = new Set<number>();
  /** Writes of the client have been sent to other nodes: this one does not know how many have them. */
  hasForwardedWrites = false;
  /** When the current request began to wait for a slot that moves; 0: it does not. */
  heldSinceMs = 0;
  /** Reply to the current request, which has waited for it. */
  answer: Buffer | undefined = undefined;

  constructor(kind: ConnectionKind = "client") {
    this.kind = kind;
  }

  get isPeer(): boolean {
    return this.kind === "peer";
  }
}
