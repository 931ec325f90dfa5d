/**
 * What routing needs of the links between nodes: units of work go to another node and are settled one by one.
 *
 *     Forwarder.forward(node, units) ──frame──► PeerLink.execute(units)      (peer-link.ts, at the node that owns the slots)
 *             unit.settle(outcome) ◄─────────── unit.settle(outcome)
 *
 * A transport carries units in order, and settles each exactly once, within a time of its own: a link that is lost or
 * silent settles what it carried. REQUIRES of it: "refused" only if no node can have appended anything of the unit;
 * "unknown" whenever in doubt.
 */
import type { TopologyNode } from "../cluster/topology.ts";

export type ForwardOutcome =
  /** The unit's last reply, in the protocol that it asked for. */
  | { readonly kind: "reply"; readonly bytes: Buffer }
  /** It was not executed, and never will be: another node owns the slot, or it was not sent. */
  | { readonly kind: "refused" }
  /** It may have been executed. */
  | { readonly kind: "unknown" }
  /** A transaction whose watches are gone, so it was not executed. */
  | { readonly kind: "unwatched" };

export interface ForwardUnit {
  /** The client at the sending node: its units for one slot are executed in order. */
  readonly client: number;
  readonly slot: number;
  /** Of the replica set, as the sender knows it. */
  readonly epoch: number;
  readonly kind: "command" | "transaction" | "watch" | "unwatch";
  /** A transaction whose client has keys under WATCH at the owner. */
  readonly isWatched: boolean;
  readonly protocol: 2 | 3;
  /** Requests, as a client would send them, and how many there are. */
  readonly bytes: readonly Buffer[];
  readonly requests: number;
  settle(outcome: ForwardOutcome): void;
}

export interface Forwarder {
  /** `signal`: this node stops, so nobody waits for the replies any more. */
  forward(node: TopologyNode, units: readonly ForwardUnit[], signal: AbortSignal): void;
}

export const REFUSED: ForwardOutcome = { kind: "refused" };
export const UNKNOWN: ForwardOutcome = { kind: "unknown" };
export const UNWATCHED: ForwardOutcome = { kind: "unwatched" };
