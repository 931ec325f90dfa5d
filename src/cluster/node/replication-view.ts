/** Replication as clients and operators are shown it, from a node's member, its set's document, and the topology. */
import type { Clock } from "../../base/clock.ts";
import type { Coordinator } from "../coordination/coordinator.ts";
import type { ReplicaSetDocument } from "../coordination/documents.ts";
import type { CurrentTopology } from "../current-topology.ts";
import type { MemberStatus, PeerStatus } from "../replication/member-status.ts";
import type { ReplicationOptions } from "../replication/options.ts";
import type {
  CheckpointStatus,
  ReplicaStatus,
  Replication,
  ReplicationStatus,
  WriterLink,
} from "../replication-status.ts";
import type { SetMember } from "./set-member.ts";

export interface ReplicationViewOptions {
  readonly nodeId: string;
  readonly clock: Clock;
  readonly coordinator: Pick<Coordinator, "session">;
  readonly topology: CurrentTopology;
  readonly replication: Pick<ReplicationOptions, "suspicionMs" | "lossMs">;
  /** Undefined: no place in a set yet. */
  member(): WatchedMember | undefined;
  document(): ReplicaSetDocument | undefined;
  checkpoints(): CheckpointStatus;
}

export type WatchedMember = Pick<
  SetMember,
  "status" | "isServing" | "hearsWriter" | "countHolders" | "onProgress"
>;

export class ReplicationView implements Replication {
  readonly #options: ReplicationViewOptions;
  readonly #listeners = new Set<() => void>();

  constructor(options: ReplicationViewOptions) {
    this.#options = options;
  }

  get isServing(): boolean {
    return this.#options.member()?.isServing === true;
  }

  get hearsWriter(): boolean {
    return this.#options.member()?.hearsWriter === true;
  }

  countHolders(index: number): number {
    return this.#options.member()?.countHolders(index) ?? 0;
  }

  onProgress(listener: () => void): () => void {
    this.#listeners.add(listener);
    this.#listen();
    return () => {
      this.#listeners.delete(listener);
      this.#listen();
    };
  }

  status(): ReplicationStatus {
    const { member, document, coordinator } = this.#options;
    const own = member();
    const set = document();
    const coordination = coordinator.session.state;
    const checkpoints = this.#options.checkpoints();
    if (own === undefined || set === undefined) return { ...SPARE, coordination };
    const status = own.status();
    const { role, phase, epoch, admission, takeovers } = status;
    const { writeQuorum, replicationFactor, members, learners } = set;
    return {
      ...{ setId: set.id, role, phase: phase ?? "", isServing: own.isServing, epoch },
      admission: own.isServing ? admission : "not-writer",
      writer: this.#writerLink(status),
      ...{ isSyncing: !status.isComplete || checkpoints.receiving !== undefined, checkpoints },
      commitIndex: status.commit,
      durableIndex: status.durable,
      lastIndex: status.last,
      ...{ members: members.length, learners: learners.length, writeQuorum, replicationFactor },
      replicas: status.peers.map((peer) => this.#replica(peer, set)),
      ...{ coordination, takeovers },
    };
  }

  #writerLink(status: MemberStatus): WriterLink | undefined {
    const { writer: nodeId, writerHeardMs, isWriterGone } = status;
    if (nodeId === undefined || nodeId === this.#options.nodeId) return undefined;
    const heardMsAgo = this.#since(writerHeardMs);
    const isHeard = heardMsAgo >= 0 && heardMsAgo <= this.#options.replication.suspicionMs;
    return { nodeId, ...this.#addressOf(nodeId), isUp: isHeard && !isWriterGone, heardMsAgo };
  }

  #replica(peer: PeerStatus, set: ReplicaSetDocument): ReplicaStatus {
    const { nodeId, matched, durable } = peer;
    const heardMsAgo = this.#since(peer.lastHeardMs);
    const isHeard = heardMsAgo >= 0 && heardMsAgo <= this.#options.replication.lossMs;
    const here = peer.state === "checkpoint" ? "checkpoint" : "online";
    return {
      ...{ nodeId, ...this.#addressOf(nodeId), matched, durable, heardMsAgo },
      isMember: set.members.some((each) => each.nodeId === nodeId),
      state: isHeard ? here : "offline",
    };
  }

  #since(thenMs: number): number {
    if (thenMs === Number.NEGATIVE_INFINITY) return -1;
    return Math.max(0, this.#options.clock.monotonicMs() - thenMs);
  }

  #addressOf(nodeId: string): { host: string; port: number } {
    const set = this.#options.topology.value.setOf(nodeId);
    const nodes = set === undefined ? [] : [set.writer, ...set.replicas];
    const node = nodes.find((each) => each?.id === nodeId);
    return { host: node?.host ?? "", port: node?.port ?? 0 };
  }

  /** The member is asked to report only while somebody listens: it acknowledges often. */
  #listen(): void {
    const member = this.#options.member();
    if (member === undefined) return;
    member.onProgress = this.#listeners.size === 0 ? undefined : this.#tell;
  }

  readonly #tell = (): void => {
    for (const listener of [...this.#listeners]) listener();
  };
}

const SPARE: Omit<ReplicationStatus, "coordination"> = {
  setId: "",
  role: "spare",
  phase: "",
  isServing: false,
  admission: "not-writer",
  epoch: 0,
  writer: undefined,
  isSyncing: false,
  checkpoints: { sending: undefined, receiving: undefined },
  commitIndex: 0,
  durableIndex: 0,
  lastIndex: 0,
  members: 0,
  learners: 0,
  writeQuorum: 0,
  replicationFactor: 0,
  replicas: [],
  takeovers: { handovers: 0, failovers: 0 },
};
