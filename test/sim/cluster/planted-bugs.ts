/**
 * Bugs that the scenario "cluster" must find, beyond those of the core alone, which the abstract cluster looks for
 * (test/cluster/replication/planted-bugs.ts). `theme`: where it is looked for.
 */
import type { SourceBug } from "../planted-source.ts";
import type { AnyFaultKind } from "./cluster-swarm.ts";

export interface ClusterBug extends SourceBug {
  readonly theme?: AnyFaultKind;
  /** Takes more than the seeds of an ordinary test. */
  readonly isRare?: true;
}

const SERVER = "test/sim/cluster/cluster-server.ts";

export const CLUSTER_BUGS: readonly ClusterBug[] = [
  {
    name: "a read is answered without a lease",
    file: SERVER,
    correct: "if (!member.isLeaseValid) return await member.confirm();",
    wrong: "if (!member.isLeaseValid) return true;",
    theme: "cut off",
  },
  {
    name: "replies that wait for a commit leave at a step-down",
    file: SERVER,
    correct: `for (const reply of gated) reply.send("unknown");`,
    wrong: `for (const reply of gated) reply.send("done");`,
    isRare: true,
  },
  {
    name: "a write of unknown outcome is called refused, so that clients try it again",
    file: SERVER,
    correct: `for (const reply of gated) reply.send("unknown");`,
    wrong: `for (const reply of gated) reply.send("refused");`,
    theme: "isolation",
  },
  {
    name: "replies do not wait for the commit",
    file: SERVER,
    correct: `if (reply.tag <= this.store.committed) reply.send("done");`,
    wrong: `if (reply.tag >= 0) reply.send("done");`,
  },
  {
    name: "a node answers for slots of other sets",
    file: SERVER,
    correct: "return slots.some(({ start, end }) => slot >= start && slot <= end);",
    wrong: "return slots.some(({ start }) => slot >= start || start > 0);",
  },
  {
    name: "a replica's time is its own clock's",
    file: "src/store/store.ts",
    correct: "this.nowMs = this.#replica.clockMs;",
    wrong: "this.nowMs = this.#parts.options.clock.wallMs();",
    theme: "clock jump",
  },
  {
    name: "frames are applied before they are committed",
    file: "src/store/replica-log.ts",
    correct: "this.#waiting.push({ segment, start: start + FRAME_HEADER_BYTES, end, fields });",
    wrong: `this.#waiting.push({ segment, start: start + FRAME_HEADER_BYTES, end, fields });
    this.#apply(fields.index);`,
  },
  {
    name: "a failed sync is taken for done, as trying it again would be",
    file: "src/store/commit-pipeline.ts",
    correct: `      (error: Error) => {
        this.#syncing = undefined;
        this.#fail(error);`,
    wrong: `      () => {
        this.#syncing = undefined;
        this.#log.durableIndex = this.#log.writtenIndex;
        this.#replicator.onDurable(this.#log.writtenIndex);`,
    isRare: true,
  },
  {
    name: "what is written counts as synced",
    file: "src/store/commit-pipeline.ts",
    correct: `if (this.#policy === "always") this.#gather();`,
    wrong: `this.#replicator.onDurable(this.#log.writtenIndex);
    if (this.#policy === "always") this.#gather();`,
    isRare: true,
  },
  {
    name: "frames call durable what is only written elsewhere",
    file: "src/cluster/node/store-log.ts",
    correct: "if (this.#isSynced) this.store",
    wrong: "this.store",
    theme: "unsynced power",
  },
  {
    name: "a node that lost power unsynced keeps its incarnation",
    file: "src/cluster/node/member-file.ts",
    correct: "const isNew = this.#state.isExposed && bootId !== this.#state.bootId;",
    wrong: "const isNew = false;",
    theme: "unsynced power",
    isRare: true,
  },
];
