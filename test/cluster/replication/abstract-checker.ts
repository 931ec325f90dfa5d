/**
 * What must hold in every run, from the point of view of somebody who sees all nodes at once. A violation throws with
 * the invariant's name.
 *
 * Frames carry a chain: a hash of their content and of everything before them. So "the same prefix" is one comparison.
 */
import type { ReplicaSetDocument } from "../../../src/cluster/replication/document-register.ts";

export interface Frame {
  readonly epoch: number;
  readonly chain: number;
}

export class InvariantViolation extends Error {
  override readonly name = "InvariantViolation";
}

export function check(condition: boolean, message: () => string): asserts condition {
  if (!condition) throw new InvariantViolation(message());
}

export function chainAfter(previous: number, epoch: number, content: number): number {
  let hash = Math.imul(previous ^ content, 0x9e3779b1) ^ Math.imul(epoch, 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 15), 0xc2b2ae35);
  return (hash ^ (hash >>> 13)) >>> 0;
}

/** What the checker looks at in a node. */
export interface CheckedNode {
  readonly nodeId: string;
  readonly frames: readonly Frame[];
  /** Frames on stable storage. */
  readonly durable: number;
  readonly commit: number;
  readonly incarnation: number;
  /** What was acknowledged on the disk of that incarnation, were it lost by now. */
  readonly diskOf: (incarnation: number) => Pick<CheckedNode, "frames" | "durable">;
  /** The epoch that the node is in, and whether it could answer a read under a lease of it. */
  readonly epoch: number;
  readonly isLeaseValid: boolean;
}

export class Checker {
  /** By `epoch:index`: the chain that this frame has wherever it is (I3). */
  readonly #chains = new Map<string, number>();
  /** By index: the chain of the committed frame, on whichever node. */
  readonly #committed: number[] = [];
  /** Who appended EPOCH_START, by epoch (I1). */
  readonly #writers = new Map<number, string>();
  /** Frames up to here were acknowledged to clients; by epoch, too. */
  acknowledged = 0;
  readonly #acknowledgedIn = new Map<number, number>();
  servedEpochs = 0;
  #sealedEpoch = 0;

  onFrame(frame: Frame, index: number): void {
    const key = `${frame.epoch}:${index}`;
    const known = this.#chains.get(key);
    if (known === undefined) this.#chains.set(key, frame.chain);
    else check(known === frame.chain, () => `I3: two frames (${frame.epoch}, ${index})`);
  }

  /** A node says that everything up to `index` is committed. */
  onCommit(node: CheckedNode, before: number, index: number): void {
    for (let at = before + 1; at <= index; at++) {
      const frame = node.frames[at - 1];
      check(frame !== undefined, () => `${node.nodeId} commits ${at}, which it does not have`);
      const known = this.#committed[at];
      if (known === undefined) this.#committed[at] = frame.chain;
      else check(known === frame.chain, () => `${node.nodeId} commits another frame ${at}`);
    }
  }

  /** The writer acknowledges to clients what is up to `index`. */
  onAcknowledge(
    writer: CheckedNode,
    index: number,
    nodes: readonly CheckedNode[],
    set: ReplicaSetDocument,
  ) {
    const { epoch, chain } = writer.frames[index - 1]!;
    if (set.epoch === epoch) {
      const holders = set.members.filter((member) => {
        const node = nodes.find((each) => each.nodeId === member.nodeId)!;
        const disk = node.diskOf(member.incarnation);
        return disk.durable >= index && disk.frames[index - 1]!.chain === chain;
      });
      check(
        holders.length >= set.writeQuorum,
        () =>
          `I4: ${writer.nodeId} acknowledges ${index} in ${epoch}, durable on ${holders.length}`,
      );
    }
    this.acknowledged = Math.max(this.acknowledged, index);
    this.#acknowledgedIn.set(epoch, index);
  }

  /** Whether the node's log has all that was acknowledged, in epochs before `epoch` if that is given. */
  holdsAcknowledged(node: CheckedNode, epoch = Number.POSITIVE_INFINITY): boolean {
    let index = 0;
    for (const [each, acknowledged] of this.#acknowledgedIn)
      if (each < epoch) index = Math.max(index, acknowledged);
    return index === 0 || node.frames[index - 1]?.chain === this.#committed[index];
  }

  onEpochStart(node: CheckedNode, epoch: number): void {
    check(!this.#writers.has(epoch), () => `I1: ${node.nodeId} starts epoch ${epoch} again`);
    this.#writers.set(epoch, node.nodeId);
    check(
      this.holdsAcknowledged(node, epoch),
      () => `I5: ${node.nodeId} starts epoch ${epoch} without acknowledged frames`,
    );
  }

  onServe(node: CheckedNode): void {
    this.servedEpochs++;
    const committed = node.frames[node.commit - 1];
    check(committed?.epoch === node.epoch, () => `I5: ${node.nodeId} serves before EPOCH_START`);
    check(
      this.holdsAcknowledged(node, node.epoch),
      () => `${node.nodeId} serves without acknowledged frames`,
    );
  }

  /** After each step of a node: a lease of an epoch below one that has been sealed is void for good. */
  onStep(node: CheckedNode): void {
    check(
      node.epoch >= this.#sealedEpoch || !node.isLeaseValid,
      () => `I9: ${node.nodeId} has a lease in ${node.epoch}, sealed is ${this.#sealedEpoch}`,
    );
  }

  /** A claimant has enough seals. */
  onSealed(claimant: string, epoch: number, nodes: readonly CheckedNode[]): void {
    this.#sealedEpoch = Math.max(this.#sealedEpoch, epoch);
    for (const node of nodes)
      check(
        node.epoch >= epoch || !node.isLeaseValid,
        () => `I9: ${claimant} has sealed for ${epoch} while ${node.nodeId} has a lease`,
      );
  }

  onTruncate(node: CheckedNode, last: number, commit: number): void {
    check(last >= commit, () => `I7: ${node.nodeId} truncates to ${last}, below ${commit}`);
  }
}
