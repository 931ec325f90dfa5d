/**
 * What a server that is a node of a cluster knows beyond one that is not: given by who runs the node, except for the
 * router, which is the server's own.
 */
import type { CurrentTopology } from "../cluster/current-topology.ts";
import type { MoveRequests } from "../cluster/node/move-requests.ts";
import type { MoveProgress } from "../cluster/node/slot-mover.ts";
import type { Replication } from "../cluster/replication-status.ts";
import type { Forwarder } from "./forwarder.ts";
import type { Authority } from "./node-authority.ts";
import type { Router } from "./routing.ts";

/** A connection to or from another node, as CLUSTER LINKS shows it. */
export interface LinkDescription {
  readonly direction: "to" | "from";
  readonly nodeId: string;
  readonly createdMs: number;
  readonly events: string;
  readonly allocatedBytes: number;
  readonly usedBytes: number;
}

/** Moves of slots between replica sets. */
export interface MoveControl
  extends Pick<MoveRequests, "move" | "rebalance" | "drain" | "list" | "abort"> {
  /** Of this node's set; undefined before it has one. */
  progress(): MoveProgress | undefined;
}

export interface ClusterNode {
  /** 40 hexadecimal digits. */
  readonly id: string;
  readonly topology: CurrentTopology;
  readonly forwarder: Forwarder;
  readonly authority: Authority;
  readonly replication: Replication;
  readonly moves: MoveControl;
  /** CLUSTER FAILOVER: begins a planned handover to this node; the error's text if it cannot. */
  requestHandover(): string | undefined;
  /** CLUSTER FORGET: a node that is gone for good; the error's text if it cannot be forgotten. */
  forgetNode(nodeId: string): Promise<string | undefined>;
  links(): readonly LinkDescription[];
  /** Whether nobody may read or write a slot here now: it is being given away, is on its way here, or has left. Hot. */
  isHeld(slot: number): boolean;
  /** Resolves when that may have changed for some slot, or some time has passed. */
  heldSlotsChanged(): Promise<void>;
}

export interface ClusterContext extends ClusterNode {
  readonly router: Router;
}
