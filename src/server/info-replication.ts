/**
 * INFO replication, cluster, and the cluster's part of INFO dkv; what ROLE and CLUSTER SHARDS show of the same.
 *
 * In a cluster an offset is the index of a frame: it means the same on every node of a replica set, and does not go
 * back at a failover. So master_replid is the set's id for good. A writer's offset is its newest frame, a replica's the
 * newest one that its readers see; slaveN's is what that node durably has, as WAIT counts it.
 */
import type {
  CheckpointStatus,
  ReplicaStatus,
  ReplicationStatus,
  TransferStatus,
  WriterLink,
} from "../cluster/replication-status.ts";
import type { ClusterContext } from "./cluster-context.ts";
import type { ServerContext } from "./handler.ts";
import { type InfoField, zeros } from "./info-text.ts";

const NO_REPLICATION_ID = "0".repeat(40);

/** Replicas as Redis counts them: connected, and clients can be told where. */
export function connectedReplicas(status: ReplicationStatus): ReplicaStatus[] {
  return status.replicas.filter((each) => each.state !== "offline" && each.host !== "");
}

/** The offset of this node. */
export function replicationOffset(status: ReplicationStatus): number {
  return status.isServing ? status.lastIndex : status.commitIndex;
}

/** As ROLE words it. */
export function linkState({ isSyncing, writer }: ReplicationStatus): string {
  if (isSyncing) return "sync";
  if (writer === undefined) return "connect";
  return writer.isUp ? "connected" : "connecting";
}

function wholeSeconds(ms: number): number {
  return ms < 0 ? -1 : Math.floor(ms / 1000);
}

function writerFields(status: ReplicationStatus): InfoField[] {
  const replicas = connectedReplicas(status);
  const { sending } = status.checkpoints;
  return [
    ["role", "master"],
    ["connected_slaves", replicas.length],
    ...replicas.map(({ nodeId, host, port, state, durable, heardMsAgo }, at): InfoField => {
      const waits = nodeId === sending?.nodeId ? "send_bulk" : "wait_bgsave";
      const shown = state === "online" ? "online" : waits;
      const lag = wholeSeconds(heardMsAgo);
      return [`slave${at}`, `ip=${host},port=${port},state=${shown},offset=${durable},lag=${lag}`];
    }),
    ["master_failover_state", status.admission === "paused" ? "waiting-for-sync" : "no-failover"],
  ];
}

function linkFields(writer: WriterLink | undefined): InfoField[] {
  const isUp = writer?.isUp === true;
  return [
    ["master_host", writer?.host ?? ""],
    ["master_port", writer?.port ?? 0],
    ["master_link_status", isUp ? "up" : "down"],
    ["master_last_io_seconds_ago", isUp ? wholeSeconds(writer.heardMsAgo) : -1],
  ];
}

function syncFields(receiving: TransferStatus | undefined): InfoField[] {
  if (receiving === undefined) return [];
  const { doneBytes, totalBytes, heardMsAgo } = receiving;
  return [
    ["master_sync_total_bytes", totalBytes],
    ["master_sync_read_bytes", doneBytes],
    ["master_sync_left_bytes", totalBytes - doneBytes],
    ["master_sync_perc", ((doneBytes / totalBytes) * 100).toFixed(2)],
    ["master_sync_last_io_seconds_ago", wholeSeconds(heardMsAgo)],
  ];
}

function replicaFields(status: ReplicationStatus): InfoField[] {
  const { writer } = status;
  const isDown = writer?.isUp !== true;
  return [
    ["role", "slave"],
    ...linkFields(writer),
    ["master_sync_in_progress", status.isSyncing ? 1 : 0],
    ["slave_read_repl_offset", status.lastIndex],
    ["slave_repl_offset", status.commitIndex],
    ...syncFields(status.checkpoints.receiving),
    ...(isDown
      ? [["master_link_down_since_seconds", wholeSeconds(writer?.heardMsAgo ?? -1)] as const]
      : []),
    ["slave_priority", 100],
    ["slave_read_only", 1],
    ["replica_announced", 1],
    ["connected_slaves", 0],
    ["master_failover_state", "no-failover"],
  ];
}

const ALONE: readonly InfoField[] = [
  ["role", "master"],
  ["connected_slaves", 0],
  ["master_failover_state", "no-failover"],
];

export function replicationFields({ cluster, runId, store }: ServerContext): InfoField[] {
  const status = cluster?.replication.status();
  const ofRole = status?.isServing === true ? writerFields : replicaFields;
  const id = status === undefined || status.setId === "" ? runId : status.setId;
  const { writtenBytes } = store.internals.log;
  return [
    ...(status === undefined ? ALONE : ofRole(status)),
    ["master_replid", id],
    ["master_replid2", NO_REPLICATION_ID],
    ["master_repl_offset", status === undefined ? writtenBytes : replicationOffset(status)],
    ["second_repl_offset", -1],
    ...zeros(
      "repl_backlog_active repl_backlog_size repl_backlog_first_byte_offset repl_backlog_histlen",
    ),
  ];
}

export function clusterFields({ cluster }: ServerContext): InfoField[] {
  return [["cluster_enabled", cluster === undefined ? 0 : 1]];
}

/** Lag in frames, and since when the node is silent; those that are offline or without an address too. */
function replicaLines({ replicas, lastIndex }: ReplicationStatus): InfoField[] {
  return replicas.map((each, at) => {
    const { nodeId, host, port, isMember, state, matched, durable, heardMsAgo } = each;
    const fields = [
      `id=${nodeId},ip=${host},port=${port},kind=${isMember ? "member" : "learner"}`,
      `state=${state},matched=${matched},durable=${durable},lag_frames=${lastIndex - durable}`,
      `heard_ms_ago=${Math.floor(heardMsAgo)}`,
    ];
    return [`cluster_replica${at}`, fields.join(",")];
  });
}

function checkpointLines({ sending, receiving }: CheckpointStatus): InfoField[] {
  const line = (name: string, transfer: TransferStatus | undefined): InfoField[] => {
    if (transfer === undefined) return [];
    const { nodeId, phase, doneBytes, totalBytes } = transfer;
    return [[name, `id=${nodeId},phase=${phase},done_bytes=${doneBytes},bytes=${totalBytes}`]];
  };
  return [...line("cluster_checkpoint_to", sending), ...line("cluster_checkpoint_from", receiving)];
}

function standingFields(cluster: ClusterContext): InfoField[] {
  const status = cluster.replication.status();
  const isDraining = cluster.topology.value.setOf(cluster.id)?.isDraining === true;
  return [
    ["cluster_set_id", status.setId],
    ["cluster_set_draining", isDraining ? 1 : 0],
    ["cluster_role", status.role],
    ["cluster_phase", status.phase],
    ["cluster_epoch", status.epoch],
    ["cluster_writes", status.admission],
    ["cluster_members", status.members],
    ["cluster_learners", status.learners],
    ["cluster_write_quorum", status.writeQuorum],
    ["cluster_replication_factor", status.replicationFactor],
    ["cluster_commit_frame", status.commitIndex],
    ["cluster_durable_frame", status.durableIndex],
    ["cluster_last_frame", status.lastIndex],
    ...replicaLines(status),
    ...checkpointLines(status.checkpoints),
    ["cluster_coordination", status.coordination],
    ["cluster_handovers", status.takeovers.handovers],
    ["cluster_failovers", status.takeovers.failovers],
  ];
}

/** Slots on the move, from this node's set and to it. */
function moveFields({ moves }: ClusterContext): InfoField[] {
  const progress = moves.progress();
  if (progress === undefined) return [];
  const { away, waiting, importing, done, sentBytes, frozenMsMax, etaMs } = progress;
  return [
    ["cluster_moves_away", away.length],
    ["cluster_moves_waiting", waiting],
    ["cluster_moves_here", importing],
    ["cluster_moves_done", done],
    ["cluster_moves_sent_bytes", sentBytes],
    ["cluster_moves_frozen_ms_max", frozenMsMax],
    ["cluster_moves_eta_seconds", etaMs === undefined ? -1 : Math.ceil(etaMs / 1000)],
    ...away.map(({ slots, destination, phase, sentBytes: bytes }, at): InfoField => {
      const ranges = slots.map(({ start, end }) => `${start}-${end}`).join("+");
      return [
        `cluster_move${at}`,
        `slots=${ranges},to=${destination},phase=${phase},bytes=${bytes}`,
      ];
    }),
  ];
}

/** For INFO dkv. */
export function clusterNodeFields({ cluster }: ServerContext): InfoField[] {
  if (cluster === undefined) return [];
  const { redirects, forwards, refusals, scatters } = cluster.router.counts;
  return [
    ...standingFields(cluster),
    ...moveFields(cluster),
    ["cluster_redirects", redirects],
    ["cluster_forwards", forwards],
    ["cluster_forwards_refused", refusals],
    ["cluster_scattered_commands", scatters],
  ];
}
