/** Who is what at a moment: each node's own ROLE, and the sets as the nodes' map of slots shows them. */
import type { ReplyValue } from "../support/raw-connection.ts";
import { ask } from "./clients/resp-socket.ts";
import type { LabNode, Target } from "./target.ts";

const ASK_MS_MAX = 3000;

export interface NodeRole {
  readonly node: LabNode;
  /** Undefined: no answer. */
  readonly role: "writer" | "replica" | undefined;
  /** Of a writer: replicas that follow it. Of a replica: 1 when it follows its writer. */
  readonly links: number;
}

export interface ReplicaSet {
  readonly firstSlot: number;
  readonly lastSlot: number;
  /** By the map that was read: its writer first. */
  readonly nodes: readonly LabNode[];
}

export async function command(node: LabNode, ...words: string[]): Promise<ReplyValue> {
  return await ask(node.address, words, ASK_MS_MAX);
}

export async function roleOf(node: LabNode): Promise<NodeRole> {
  const none: NodeRole = { node, role: undefined, links: 0 };
  if (!node.process.isRunning || node.process.isPaused) return none;
  let reply: ReplyValue;
  try {
    reply = await command(node, "ROLE");
  } catch {
    return none;
  }
  if (!Array.isArray(reply)) return none;
  if (reply[0] === "master") return { node, role: "writer", links: reply[2].length };
  return { node, role: "replica", links: reply[3] === "connected" ? 1 : 0 };
}

export function rolesOf(target: Target): Promise<NodeRole[]> {
  return Promise.all(target.nodes.map(roleOf));
}

/** The sets in order of their slots, as `node` sees them. Throws when it does not answer. */
export async function setsSeenBy(node: LabNode, target: Target): Promise<ReplicaSet[]> {
  const reply = await command(node, "CLUSTER", "SLOTS");
  if (!Array.isArray(reply)) throw new Error(`CLUSTER SLOTS answered ${JSON.stringify(reply)}`);
  const sets = reply.map(([first, last, ...nodes]: [number, number, ...[string, number][]]) => ({
    firstSlot: first,
    lastSlot: last,
    nodes: nodes.flatMap(([host, port]) =>
      target.nodes.filter(({ address }) => address.host === host && address.port === port),
    ),
  }));
  return sets.sort((a, b) => a.firstSlot - b.firstSlot);
}
