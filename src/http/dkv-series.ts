/** Series with labels of what dkv has beyond Redis: replication, levels of tables, parts of memory. */
import type { TransferStatus } from "../cluster/replication-status.ts";
import { DKV_VERSION } from "../server/version.ts";
import type { Scrape } from "./scrape.ts";
import type { Sample, SeriesRegistrar } from "./series.ts";

const REPLICA_LABELS = ["node", "host", "port", "kind", "state"];
const MEMORY_PARTS = ["segments", "memtable", "block_cache", "tables", "clients", "heap"];
const LEVELS_MAX = 16;

export function registerDkvSeries(registrar: SeriesRegistrar): void {
  const { gauge } = registrar;
  gauge("dkv_build_info", "Version of dkv.", ["version"], () => [
    { labels: { version: DKV_VERSION }, value: 1 },
  ]);
  gauge("dkv_ready", "As /readyz: 1 while clients are to be sent here.", [], ({ isReady }) => [
    { value: isReady ? 1 : 0 },
  ]);
  gauge("dkv_memory_bytes", "Memory by what it is used for.", ["part"], (scrape) =>
    MEMORY_PARTS.map((part) => ({
      labels: { part },
      value: scrape.number(`memory_${part}`) ?? 0,
    })),
  );
  registerLevels(registrar);
  registerReplication(registrar);
}

function registerLevels({ gauge }: SeriesRegistrar): void {
  const ofLevels = (part: string) => (scrape: Scrape) => {
    const samples: Sample[] = [];
    for (let level = 0; level < LEVELS_MAX; level++) {
      const value = scrape.number(`level${level}_${part}`);
      if (value !== undefined) samples.push({ labels: { level: `${level}` }, value });
    }
    return samples;
  };
  gauge("dkv_lsm_tables", "Tables by level.", ["level"], ofLevels("tables"));
  gauge("dkv_lsm_table_bytes", "Bytes of tables by level.", ["level"], ofLevels("bytes"));
  gauge("dkv_lsm_table_records", "Records in tables by level.", ["level"], ofLevels("records"));
}

/** One sample for each node that the writer sends its log to. */
function ofReplicas(read: (lastIndex: number, durable: number, heardMsAgo: number) => number) {
  return ({ replication }: Scrape): Sample[] => {
    const { replicas, lastIndex } = replication ?? { replicas: [], lastIndex: 0 };
    return replicas.map(({ nodeId, host, port, isMember, state, durable, heardMsAgo }) => ({
      labels: {
        ...{ node: nodeId, host, port: `${port}`, state },
        kind: isMember ? "member" : "learner",
      },
      value: read(lastIndex, durable, heardMsAgo),
    }));
  };
}

function registerReplication({ gauge }: SeriesRegistrar): void {
  const labels = ["node", "set", "role", "phase", "writes"];
  gauge("dkv_replication_info", "The node's part in its replica set.", labels, (scrape) => {
    const { replication, context } = scrape;
    if (replication === undefined) return [];
    const { setId, role, phase, admission } = replication;
    const node = context.cluster!.id;
    return [{ labels: { node, set: setId, role, phase, writes: admission }, value: 1 }];
  });
  gauge("dkv_replication_is_writer", "1: clients' writes are taken here.", [], ({ replication }) =>
    replication === undefined ? [] : [{ value: replication.isServing ? 1 : 0 }],
  );
  gauge("dkv_coordination_connected", "1: a session with ZooKeeper.", [], ({ replication }) =>
    replication === undefined ? [] : [{ value: replication.coordination === "connected" ? 1 : 0 }],
  );
  const ofTransfers = (read: (transfer: TransferStatus) => number) => (scrape: Scrape) => {
    const { sending, receiving } = scrape.replication?.checkpoints ?? {};
    const samples: Sample[] = [];
    for (const [direction, transfer] of Object.entries({ to: sending, from: receiving })) {
      if (transfer === undefined) continue;
      const { nodeId: node, phase } = transfer;
      samples.push({ labels: { direction, node, phase }, value: read(transfer) });
    }
    return samples;
  };
  const ofTransfer = ["direction", "node", "phase"];
  gauge(
    "dkv_replication_checkpoint_bytes",
    "Size of a checkpoint that goes to another node, or comes from one.",
    ofTransfer,
    ofTransfers(({ totalBytes }) => totalBytes),
  );
  gauge(
    "dkv_replication_checkpoint_done_bytes",
    "How much of it is over.",
    ofTransfer,
    ofTransfers(({ doneBytes }) => doneBytes),
  );
  gauge(
    "dkv_replication_lag_frames",
    "Frames that a node does not durably have yet, as its writer sees it.",
    REPLICA_LABELS,
    ofReplicas((lastIndex, durable) => Math.max(0, lastIndex - durable)),
  );
  gauge(
    "dkv_replication_heard_seconds",
    "Since the writer heard a node; -1: never.",
    REPLICA_LABELS,
    ofReplicas((_lastIndex, _durable, heardMsAgo) => (heardMsAgo < 0 ? -1 : heardMsAgo / 1000)),
  );
}
