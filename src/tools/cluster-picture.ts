/**
 * A cluster as an operator wants to see it: every replica set with its nodes, put together from what one node knows of
 * the topology and what each node says of itself. Nodes that do not answer are there too, without figures.
 *
 *     CLUSTER SHARDS, CLUSTER NODES of one node ─┬─► sets, slots, epochs, roles, health
 *     INFO of every node ────────────────────────┴─► keys, load, lag (its writer knows it)
 */
import { SLOT_COUNT } from "../base/slot.ts";
import { type SlotRange, slotCount } from "../base/slot-ranges.ts";
import { addressOf, type ConnectionFlags, clientOptions } from "./connection-options.ts";
import type { ToolEnvironment } from "./environment.ts";
import { infoFields, listOf, mapOf, type ReplyValue, textOf } from "./reply-value.ts";
import {
  type Address,
  type ClientOptions,
  errorOf,
  RespClient,
  type Words,
} from "./resp-client.ts";
import { CLIENT_SLOTS_PER_SLOT } from "./slot-report.ts";
import { ToolError } from "./tool-error.ts";

export interface NodePicture extends Address {
  readonly id: string;
  readonly role: "writer" | "replica";
  /** As CLUSTER SHARDS says: online, loading, fail. */
  readonly health: string;
  /** Whether it has answered just now. */
  readonly isReachable: boolean;
  /** Member or learner, as its writer says; empty: not known. */
  readonly kind: string;
  /** Frames that it does not durably have yet; undefined: not known, or the writer itself. */
  readonly lagFrames: number | undefined;
  /** Fields of INFO; empty when it has not answered. */
  readonly info: ReadonlyMap<string, string>;
}

export interface SetPicture {
  readonly id: string;
  readonly epoch: number;
  readonly slots: readonly SlotRange[];
  /** Its slots go to the other sets, and then it is retired. */
  readonly isDraining: boolean;
  /** The writer first. */
  readonly nodes: readonly NodePicture[];
}

export interface ClusterPicture {
  readonly isOk: boolean;
  readonly epoch: number;
  readonly slotsServed: number;
  readonly sets: readonly SetPicture[];
}

const NODE_MS = 2000;
const GUIDE_MS = 5000;
/** Some commands write many documents. */
const ASK_MS = 60_000;
const SECTIONS = "server clients memory stats replication keyspace dkv".split(" ");

/** Fields of `id=…,lag_frames=…` lines of INFO dkv. */
function replicaFields(info: ReadonlyMap<string, string>): ReadonlyMap<string, string>[] {
  const replicas = [...info].filter(([name]) => /^cluster_replica\d+$/.test(name));
  return replicas.map(
    ([, value]) => new Map(value.split(",").map((pair) => pair.split("=") as [string, string])),
  );
}

/** A cluster as tools see it. */
export interface ClusterView {
  /** Throws ToolError when no node answers, or the server is not in a cluster. */
  take(): Promise<ClusterPicture>;
  /** The reply of any node. Throws ToolError when none answers. */
  ask(words: Words): Promise<Buffer>;
}

/** Keeps a connection to every node that answers, for pictures that are taken again and again. */
export class ClusterCamera implements ClusterView {
  readonly #entry: Address;
  readonly #options: ClientOptions;
  readonly #clients = new Map<string, RespClient>();

  constructor(entry: Address, options: ClientOptions) {
    this.#entry = entry;
    this.#options = { connectMs: NODE_MS, ...options };
  }

  async ask(words: Words): Promise<Buffer> {
    const guide = await this.clientOf(this.#entry).catch((error) => this.#other(error));
    return await guide.request(words, ASK_MS);
  }

  /** By the node that was named, or when it says nothing by any other that is known. */
  async take(): Promise<ClusterPicture> {
    try {
      return await this.#takeBy(await this.clientOf(this.#entry));
    } catch (error) {
      return await this.#takeBy(this.#other(error));
    }
  }

  async #takeBy(guide: RespClient): Promise<ClusterPicture> {
    const reply = await guide.request(["CLUSTER", "SHARDS"], GUIDE_MS);
    if (errorOf(reply)?.includes("cluster support disabled") === true) {
      throw new ToolError("the server is not a node of a cluster", {
        hint: "A node is started with --cluster-enabled yes --zookeeper host:port.",
      });
    }
    const shards = listOf(reply);
    const nodesText = textOf(await guide.request(["CLUSTER", "NODES"], GUIDE_MS));
    const info = textOf(await guide.request(["CLUSTER", "INFO"], GUIDE_MS));
    const clusterInfo = infoFields(info);
    const epochs = epochsOf(nodesText);
    const sets = await Promise.all(shards.map((shard) => this.#set(shard, epochs)));
    const slotsServed = sets.filter(isServed).reduce((sum, set) => sum + slotCount(set.slots), 0);
    return {
      isOk: slotsServed === SLOT_COUNT && clusterInfo.get("cluster_state") === "ok",
      epoch: Number(clusterInfo.get("cluster_current_epoch")),
      slotsServed,
      sets: sets.toSorted((a, b) => firstSlot(a) - firstSlot(b)),
    };
  }

  /** A connection to the node, opened if there is none. Throws ToolError when it does not answer. */
  async clientOf(address: Address): Promise<RespClient> {
    const name = `${address.host} ${address.port}`;
    let client = this.#clients.get(name);
    if (client === undefined || client.isClosed) {
      client = await RespClient.open(address, this.#options);
      this.#clients.set(name, client);
    }
    return client;
  }

  close(): void {
    for (const client of this.#clients.values()) client.close();
  }

  /** A node that has answered before. Throws `error`, why the node that was named did not, when there is none. */
  #other(error: unknown): RespClient {
    const other = [...this.#clients.values()].find((client) => !client.isClosed);
    if (other === undefined || !(error instanceof ToolError)) throw error;
    return other;
  }

  async #set(shard: ReplyValue, epochs: ReadonlyMap<string, number>): Promise<SetPicture> {
    const fields = mapOf(shard);
    const described = (fields.get("nodes") as readonly ReplyValue[]).map(mapOf);
    const infos = await Promise.all(described.map((node) => this.#infoOf(node)));
    const writerAt = described.findIndex((node) => node.get("role") === "master");
    const known = new Map(
      replicaFields(infos[writerAt] ?? new Map()).map((each) => [each.get("id")!, each]),
    );
    const nodes = described.map((node, at): NodePicture => {
      const id = `${node.get("id")}`;
      const seen = known.get(id);
      return {
        ...{ id, host: `${node.get("ip")}`, port: Number(node.get("port")) },
        role: at === writerAt ? "writer" : "replica",
        health: `${node.get("health")}`,
        isReachable: infos[at]!.size > 0,
        kind: at === writerAt ? "member" : (seen?.get("kind") ?? ""),
        lagFrames: seen === undefined ? undefined : Number(seen.get("lag_frames")),
        info: infos[at]!,
      };
    });
    const id = infos.map((info) => info.get("cluster_set_id")).find((each) => each) ?? "";
    const epoch = epochs.get(nodes[0]?.id ?? "") ?? 0;
    const isDraining = infos.some((info) => info.get("cluster_set_draining") === "1");
    return { id, epoch, slots: clientSpans(fields.get("slots")), isDraining, nodes };
  }

  /** Empty when the node does not answer in time. */
  async #infoOf(node: ReadonlyMap<string, ReplyValue>): Promise<ReadonlyMap<string, string>> {
    try {
      const address = { host: `${node.get("ip")}`, port: Number(node.get("port")) };
      const client = await this.clientOf(address);
      return infoFields(textOf(await client.request(["INFO", ...SECTIONS], NODE_MS)));
    } catch (error) {
      if (error instanceof ToolError) return new Map();
      throw error;
    }
  }
}

/** Runs `action` with a camera that looks at the cluster that the flags name. */
export async function withCamera<T>(
  flags: ConnectionFlags,
  environment: ToolEnvironment,
  action: (camera: ClusterCamera) => Promise<T>,
): Promise<T> {
  const camera = new ClusterCamera(addressOf(flags), clientOptions(flags, environment));
  try {
    return await action(camera);
  } finally {
    camera.close();
  }
}

/** Documents may still name a writer that is gone, or that has just been started anew: it must say so itself. */
function isServed({ nodes }: SetPicture): boolean {
  return nodes.some(({ role, info }) => role === "writer" && info.get("role") === "master");
}

function firstSlot({ slots }: SetPicture): number {
  return slots[0]?.start ?? SLOT_COUNT;
}

function clientSpans(value: ReplyValue | undefined): SlotRange[] {
  const bounds = Array.isArray(value) ? value.map(Number) : [];
  return Array.from({ length: bounds.length / 2 }, (_, at) => ({
    start: bounds[2 * at]! / CLIENT_SLOTS_PER_SLOT,
    end: (bounds[2 * at + 1]! + 1) / CLIENT_SLOTS_PER_SLOT - 1,
  }));
}

/** Epochs of nodes' sets, from CLUSTER NODES. */
function epochsOf(text: string): ReadonlyMap<string, number> {
  const lines = text.split("\n").filter((line) => line !== "");
  return new Map(
    lines.map((line) => {
      const words = line.split(" ");
      return [words[0]!, Number(words[6])];
    }),
  );
}

export function allNodes(picture: ClusterPicture): NodePicture[] {
  return picture.sets.flatMap(({ nodes }) => nodes);
}
