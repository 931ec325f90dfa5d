/** GET /cluster: the topology and what this node knows of replication, as JSON. Slots are dkv's own, 0 … 1023. */
import { SLOT_COUNT } from "../base/slot.ts";
import type { ReplicationStatus } from "../cluster/replication-status.ts";
import type { TopologyNode, TopologySet } from "../cluster/topology.ts";
import type { ClusterContext } from "../server/cluster-context.ts";
import type { ServerContext } from "../server/handler.ts";
import { DKV_VERSION } from "../server/version.ts";

function nodeView(node: TopologyNode, set: TopologySet, self: string, status: ReplicationStatus) {
  const { id, host, port, peerPort, hostname, health } = node;
  const replica = status.replicas.find((each) => each.nodeId === id);
  return {
    ...{ id, host, port, peerPort, hostname, health },
    role: set.writer === node ? "writer" : "replica",
    isMyself: id === self,
    // Only a writer knows of its replicas' progress.
    ...(replica !== undefined && {
      isMember: replica.isMember,
      state: replica.state,
      durableFrame: replica.durable,
      lagFrames: Math.max(0, status.lastIndex - replica.durable),
      heardMsAgo: Math.round(replica.heardMsAgo),
    }),
  };
}

function setView(set: TopologySet, self: string, status: ReplicationStatus) {
  const nodes = set.writer === undefined ? set.replicas : [set.writer, ...set.replicas];
  return {
    id: set.id,
    epoch: set.epoch,
    writer: set.writer?.id ?? null,
    slots: set.slots.map(({ start, end }) => [start, end]),
    isDraining: set.isDraining,
    nodes: nodes.map((node) => nodeView(node, set, self, status)),
  };
}

function replicationView(status: ReplicationStatus) {
  const { setId, role, phase, epoch, admission, writeQuorum, replicationFactor } = status;
  return {
    ...{ setId, role, phase, epoch, writes: admission, writeQuorum, replicationFactor },
    ...{ members: status.members, learners: status.learners },
    commitFrame: status.commitIndex,
    durableFrame: status.durableIndex,
    lastFrame: status.lastIndex,
    coordination: status.coordination,
    takeovers: status.takeovers,
  };
}

function topologyView(cluster: ClusterContext) {
  const topology = cluster.topology.value;
  const status = cluster.replication.status();
  const served = topology.runs
    .filter((run) => run.set.writer !== undefined)
    .reduce((sum, run) => sum + run.end - run.start + 1, 0);
  return {
    state: served === SLOT_COUNT ? "ok" : "fail",
    epoch: topology.epoch,
    slots: { total: SLOT_COUNT, assigned: topology.ownedSlots, served },
    sets: topology.sets.map((set) => setView(set, cluster.id, status)),
    replication: replicationView(status),
  };
}

/** What GET /cluster answers. */
export function clusterView({ cluster, config, runId }: ServerContext) {
  const node = { id: cluster?.id ?? runId, port: config.get("port"), version: DKV_VERSION };
  if (cluster === undefined) return { clusterEnabled: false, node };
  return { clusterEnabled: true, node, ...topologyView(cluster) };
}
