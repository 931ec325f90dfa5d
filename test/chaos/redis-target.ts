/**
 * Redis Cluster of redis-server, as the control: it acknowledges a write before any replica has it. Set up as durable
 * as it gets on one machine (appendfsync always), with the failover that its makers offer to those who would rather
 * be available (cluster-replica-validity-factor 0).
 */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { CLIENT_SLOT_COUNT, clientSlotOf } from "../../src/base/client-slot.ts";
import { command, setsSeenBy } from "./cluster-view.ts";
import { LabProcess } from "./lab-process.ts";
import type { LabNode, Target, TargetOptions } from "./target.ts";

const PORT = 7000;
const NODE_TIMEOUT_MS = 3000;
const FORM_MS_MAX = 60_000;

export class RedisTarget implements Target {
  readonly name = "redis";
  readonly nodes: readonly LabNode[];
  readonly coordination = undefined;
  /** A replica is a client of its writer. */
  readonly replicationPort = PORT;
  readonly #options: TargetOptions;

  constructor(options: TargetOptions) {
    this.#options = options;
    this.nodes = options.hosts.map((host) => {
      const directory = join(options.directory, host);
      mkdirSync(directory, { recursive: true });
      const address = { host: options.network.addressOf(host), port: PORT };
      return { host, address, directory, process: new LabProcess(`${directory}.log`) };
    });
  }

  async start(): Promise<void> {
    for (const node of this.nodes) this.startNode(node);
    for (const node of this.nodes) await answers(node);
    const { sets } = this.#options;
    const writers = this.nodes.slice(0, sets);
    for (const [index, writer] of writers.entries()) {
      const from = Math.floor((index * CLIENT_SLOT_COUNT) / sets);
      const to = Math.floor(((index + 1) * CLIENT_SLOT_COUNT) / sets) - 1;
      await expectOk(writer, "CLUSTER", "ADDSLOTSRANGE", `${from}`, `${to}`);
      await expectOk(writer, "CLUSTER", "SET-CONFIG-EPOCH", `${index + 1}`);
    }
    // Everybody meets everybody: to hear of each other by gossip takes seconds.
    for (const [index, node] of this.nodes.entries())
      for (const other of this.nodes.slice(0, index)) await meet(node, other);
    for (const [index, node] of this.nodes.slice(sets).entries())
      await this.#replicate(node, writers[index % sets]!);
    await until("the cluster is whole", async () => {
      const seen = await Promise.all(this.nodes.map((node) => setsSeenBy(node, this)));
      return seen.every(
        (found) =>
          found.length === sets &&
          found.every(({ nodes }) => nodes.length === this.#options.nodesPerSet),
      );
    });
  }

  startNode(node: LabNode, under: readonly string[] = []): void {
    const settings = {
      port: `${PORT}`,
      bind: node.address.host,
      "protected-mode": "no",
      dir: node.directory,
      save: "",
      appendonly: "yes",
      appendfsync: "always",
      "cluster-enabled": "yes",
      "cluster-node-timeout": `${NODE_TIMEOUT_MS}`,
      "cluster-replica-validity-factor": "0",
      "cluster-require-full-coverage": "no",
      "repl-diskless-sync-delay": "0",
      // A replica counts as one once its writer has sent it something.
      "repl-ping-replica-period": "1",
    };
    const words = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value]);
    const namespace = this.#options.network.under(node.host);
    node.process.start([...namespace, ...under, "redis-server", ...words]);
  }

  async readmit(node: LabNode, writer: LabNode): Promise<void> {
    await answers(node);
    await this.#forgetFailed();
    await meet(node, writer);
    await until(`${node.host} knows the cluster`, async () => {
      return (await setsSeenBy(node, this)).length === this.#options.sets;
    });
    await this.#replicate(node, writer);
  }

  slotOf(key: string): number {
    return clientSlotOf(Buffer.from(key));
  }

  async #replicate(node: LabNode, writer: LabNode): Promise<void> {
    const id = String(await command(writer, "CLUSTER", "MYID"));
    await until(`${node.host} replicates ${writer.host}`, async () => {
      return (await command(node, "CLUSTER", "REPLICATE", id)) === "OK";
    });
  }

  /** What a wiped node was before. */
  async #forgetFailed(): Promise<void> {
    for (const node of this.nodes) {
      const nodes = String(await command(node, "CLUSTER", "NODES")).split("\n");
      for (const line of nodes) {
        const [id, , flags] = line.split(" ");
        if (flags?.includes("fail")) await command(node, "CLUSTER", "FORGET", id!);
      }
    }
  }
}

async function answers(node: LabNode): Promise<void> {
  await until(`${node.host} answers`, async () => (await command(node, "PING")) === "PONG");
}

async function meet(node: LabNode, other: LabNode): Promise<void> {
  await expectOk(node, "CLUSTER", "MEET", other.address.host, `${other.address.port}`);
}

async function expectOk(node: LabNode, ...words: string[]): Promise<void> {
  const reply = await command(node, ...words);
  if (reply !== "OK") throw new Error(`${node.host}: ${words.join(" ")}: ${JSON.stringify(reply)}`);
}

async function until(what: string, isSo: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + FORM_MS_MAX;
  while (!(await isSo().catch(() => false))) {
    if (performance.now() > deadline) throw new Error(`not in time: ${what}`);
    await Bun.sleep(50);
  }
}
