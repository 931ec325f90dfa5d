/** dkv: replica sets of nodes with small segments and tables, so that minutes go through flushes, merges and catch-up by tables. */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { CLIENT_SLOT_COUNT } from "../../src/base/client-slot.ts";
import { SLOT_COUNT, slotOf } from "../../src/base/slot.ts";
import { setsSeenBy } from "./cluster-view.ts";
import { LabProcess } from "./lab-process.ts";
import { LabZookeeper } from "./lab-zookeeper.ts";
import type { LabNode, Target, TargetOptions } from "./target.ts";

const MAIN = join(import.meta.dirname, "..", "..", "src", "main.ts");
const PORT = 7000;
const PEER_PORT = 17_000;
const SESSION_MS = 3000;
const FORM_MS_MAX = 90_000;
/** Slow, so that slots are on the move for some time. */
const MOVE_RATE = "512kb";
const SMALL = [
  ...["--maxmemory", "256mb", "--engine-segment-bytes", "1mb"],
  ...["--engine-segment-pool-percent", "2", "--engine-table-bytes", "1mb"],
  ...["--engine-level-base-bytes", "1mb", "--engine-level0-trigger", "2"],
];

export class DkvTarget implements Target {
  readonly name = "dkv";
  readonly nodes: readonly LabNode[];
  readonly coordination: LabZookeeper;
  readonly replicationPort = PEER_PORT;
  readonly #options: TargetOptions;

  constructor(options: TargetOptions) {
    this.#options = options;
    const { network, directory, coordinators } = options;
    this.coordination = new LabZookeeper(network, directory, coordinators);
    this.nodes = options.hosts.map((host) => {
      const own = join(directory, host);
      mkdirSync(own, { recursive: true });
      const address = { host: network.addressOf(host), port: PORT };
      return { host, address, directory: own, process: new LabProcess(`${own}.log`) };
    });
  }

  async start(): Promise<void> {
    await this.coordination.restart();
    for (const node of this.nodes) this.startNode(node);
    const deadline = performance.now() + FORM_MS_MAX;
    while (!(await this.#isFormed())) {
      if (performance.now() > deadline) throw new Error("the cluster does not form in time");
      await Bun.sleep(100);
    }
  }

  startNode(node: LabNode, under: readonly string[] = []): void {
    const { sets, nodesPerSet, writeQuorum, network } = this.#options;
    const settings = {
      port: `${PORT}`,
      bind: node.address.host,
      "protected-mode": "no",
      dir: node.directory,
      "cluster-enabled": "yes",
      zookeeper: this.coordination.address,
      "peer-port": `${PEER_PORT}`,
      "replication-factor": `${nodesPerSet}`,
      "write-quorum": `${writeQuorum}`,
      "cluster-initial-sets": `${sets}`,
      "cluster-announce-ip": node.address.host,
      "cluster-secret": "no secret in a laboratory",
      "cluster-zookeeper-session-timeout": `${SESSION_MS}`,
      "cluster-redirect": "auto",
      "cluster-move-rate": MOVE_RATE,
    };
    const words = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value]);
    const program = [process.execPath, MAIN, ...words, ...SMALL];
    node.process.start([...network.under(node.host), ...under, ...program]);
  }

  /** A node without a directory registers as a new one, and is taken in where a member is missing. */
  async readmit(): Promise<void> {}

  slotOf(key: string): number {
    const bytes = Buffer.from(key);
    return slotOf(bytes, 0, bytes.length) * (CLIENT_SLOT_COUNT / SLOT_COUNT);
  }

  async #isFormed(): Promise<boolean> {
    const seen = this.nodes.map((node) => setsSeenBy(node, this).catch(() => []));
    return (await Promise.all(seen)).every((sets) => sets.length === this.#options.sets);
  }
}
