/**
 * What must hold of a cluster's nodes at any time, seen from outside all of them, and at the end:
 *
 *   one writer an epoch (I1)             by epoch: who was the writer of it
 *   one log (I3, I5, I7)                 by index: the epoch of the frame that the first node knew as committed there
 *   no lease beside a later writer (I9)  whenever a lease lets a read pass
 *   equal nodes                          equal keys, values and expiries, by hash; equal DBSIZE
 *
 * A frame's index and epoch name it: two frames of one epoch and index would come from two writers of that epoch.
 */
import type { ReplicaSetDocument } from "../../../src/cluster/coordination/documents.ts";
import type { ClusterServer, NodeContents } from "./cluster-server.ts";

export class ClusterChecks {
  readonly #areClocksWild: boolean;
  /** Set and epoch → node. */
  readonly #leaders = new Map<string, string>();
  /** Set → index → epoch. */
  readonly #committed = new Map<string, number[]>();
  /** Life of a node → how far its commits have been looked at. */
  readonly #checkedTo = new WeakMap<ClusterServer, number>();
  readonly #serving = new Map<string, { server: ClusterServer; epoch: number }>();
  /** Set → its members, by the newest document that anybody has read. */
  readonly #members = new Map<string, string>();
  /** Set → epochs and members that were counted. */
  readonly #memberships = new Set<string>();
  epochs = 0;

  constructor(areClocksWild: boolean) {
    this.#areClocksWild = areClocksWild;
  }

  onServe(server: ClusterServer, epoch: number): void {
    const setId = server.setId!;
    const newest = this.#serving.get(setId)?.epoch ?? 0;
    if (epoch < newest) return;
    if (epoch > newest) this.epochs++;
    this.#serving.set(setId, { server, epoch });
  }

  get membershipChanges(): number {
    return this.#memberships.size;
  }

  onDocument({ id, epoch, members }: ReplicaSetDocument): void {
    const ids = members.map(({ nodeId, incarnation }) => `${nodeId}.${incarnation}`).sort();
    const before = this.#members.get(id) ?? ids.join();
    if (before !== ids.join()) this.#memberships.add(`${id} ${epoch} ${ids.join()}`);
    this.#members.set(id, ids.join());
  }

  onLeaseRead(server: ClusterServer): void {
    const newest = this.#serving.get(server.setId!);
    if (this.#areClocksWild || newest === undefined || newest.server === server) return;
    if (newest.epoch > server.member!.epoch)
      throw new Error(`${server.name} reads under a lease while ${newest.server.name} serves`);
  }

  /** I10: no other set answers for the slot, either. A set's older writer must not, by its lease. */
  onAnswer(server: ClusterServer, slot: number): void {
    if (this.#areClocksWild) return;
    for (const { server: other } of this.#serving.values()) {
      const isOther = other !== server && other.setId !== server.setId && other.life.isAlive;
      if (isOther && other.member?.isServing === true && other.isOpen(slot))
        throw new Error(`${server.name} and ${other.name} both answer for slot ${slot}`);
    }
  }

  onCommitted(server: ClusterServer): void {
    const { setId, member, store } = server;
    if (setId === undefined || member === undefined) return;
    if (member.role === "writer") this.#noteLeader(`${setId} ${member.epoch}`, server);
    const { committed } = store;
    const known = this.#committed.get(setId) ?? [];
    this.#committed.set(setId, known);
    const runs = store.internals.log.epochRuns;
    let run = runs.length - 1;
    const first = Math.max(this.#checkedTo.get(server) ?? 0, committed - CHECKED_MAX) + 1;
    for (let index = committed; index >= first; index--) {
      while (run > 0 && runs[run]!.first > index) run--;
      const epoch = runs[run]?.epoch ?? 0;
      const other = known[index] ?? epoch;
      if (other !== epoch)
        throw new Error(
          `${server.name} has frame ${index} of epoch ${epoch}, committed is one of ${other}`,
        );
      known[index] = epoch;
    }
    this.#checkedTo.set(server, committed);
  }

  #noteLeader(place: string, server: ClusterServer): void {
    const life = `${server.name} life ${server.life.process.bootCount}`;
    const other = this.#leaders.get(place) ?? life;
    this.#leaders.set(place, life);
    if (other !== life) throw new Error(`two writers of an epoch: ${other} and ${life}, ${place}`);
  }
}

/** After a start a node's first commit covers all that it had. */
const CHECKED_MAX = 1000;

/** Hash of what is the same on all nodes that have the same log; throws with what is not. */
export function compareContents(nodes: ReadonlyMap<string, NodeContents>): string {
  const replicas = [...nodes.values()].filter(({ isReplica }) => isReplica);
  const times = new Set(replicas.map((contents) => contents.nowMs));
  if (times.size > 1)
    throw new Error(`replicas with the same log have different times: ${[...times].join()}`);
  const nowMs = Math.max(...[...nodes.values()].map((contents) => contents.nowMs));
  const hashes = new Set<string>();
  let first: { name: string; lines: string[]; size: number } | undefined;
  for (const [name, { entries, size }] of nodes) {
    // What a node whose clock is ahead takes for expired the others may still have.
    const lines = [...entries]
      .filter(([, { expiry }]) => expiry === 0 || expiry > nowMs)
      .map(([key, { value, expiry }]) => `${key} ${expiry} ${value}`)
      .sort();
    hashes.add(Bun.hash.xxHash64(lines.join("\n")).toString(16));
    first ??= { name, lines, size };
    if (hashes.size > 1)
      throw new Error(`not both on ${name} and ${first.name}: ${oddOne(lines, first.lines)}`);
    if (size !== first.size)
      throw new Error(`DBSIZE is ${size} on ${name}, ${first.size} on ${first.name}`);
  }
  return [...hashes].join();
}

function oddOne(some: readonly string[], others: readonly string[]): string | undefined {
  const odd = (a: readonly string[], b: readonly string[]) => a.find((line) => !b.includes(line));
  return odd(some, others) ?? odd(others, some);
}
