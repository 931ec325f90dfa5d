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
  /** First and last, as CLUSTER SLOTS counts; ascending. */
  readonly ranges: readonly (readonly [first: number, last: number])[];
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

/** The sets that have slots, as `node` sees them, in an order that stays when slots move. Throws when it does not answer. */
export async function setsSeenBy(node: LabNode, target: Target): Promise<ReplicaSet[]> {
  const reply = await command(node, "CLUSTER", "SLOTS");
  if (!Array.isArray(reply)) throw new Error(`CLUSTER SLOTS answered ${JSON.stringify(reply)}`);
  const entries = reply as [number, number, ...[string, number][]][];
  const parts = entries
    .sort((a, b) => a[0] - b[0])
    .map(([first, last, ...nodes]) => ({
      range: [first, last] as const,
      nodes: nodes.flatMap(([host, port]) =>
        target.nodes.filter(({ address }) => address.host === host && address.port === port),
      ),
    }));
  return [...Map.groupBy(parts, ({ nodes }) => hostsOf(nodes))]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([, own]) => ({ ranges: own.map(({ range }) => range), nodes: own[0]!.nodes }));
}

function hostsOf(nodes: readonly LabNode[]): string {
  return nodes
    .map(({ host }) => host)
    .sort()
    .join(" ");
}

export function hasSlot({ ranges }: ReplicaSet, slot: number): boolean {
  return ranges.some(([first, last]) => first <= slot && slot <= last);
}
