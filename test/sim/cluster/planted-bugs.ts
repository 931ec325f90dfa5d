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
    correct: "return owner !== undefined && owner.id === this.setId;",
    wrong: "return owner !== undefined;",
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
    name: "a node that lost power unsynced keeps its incarnation",
    file: "src/cluster/node/member-file.ts",
    correct: "const isNew = wasExposed && bootId !== this.#state.bootId;",
    wrong: "const isNew = false;",
    theme: "unsynced power",
    isRare: true,
  },
  {
    name: "a frozen slot is served again after a while",
    file: "src/cluster/resharding/source-move.ts",
    correct: `        return [{ type: "flip" }];
      default:`,
    wrong: `        return [{ type: "end", removes: false }];
      default:`,
  },
  {
    name: "slots change owner before the destination has everything",
    file: "src/cluster/resharding/source-move.ts",
    correct: `return this.#phase === "freezing" ? this.#goOn(true) : NONE;`,
    wrong: `return this.#phase === "freezing" ? this.#onComplete(0) : NONE;`,
  },
  {
    name: "the log of a moving slot is not sent in order",
    file: "src/store/slot-records.ts",
    correct: "return { records: Buffer.concat(taken), index, skip: 0 };",
    wrong: "return { records: Buffer.concat(taken.reverse()), index, skip: 0 };",
  },
  {
    name: "keys lose their expiry when they move",
    file: "src/store/slot-data.ts",
    correct: "records.append(type, flags, bytes, valueStart, valueEnd, expiry);",
    wrong: "records.append(type, flags, bytes, valueStart, valueEnd, 0);",
    isRare: true,
  },
  {
    name: "frames behind the keys that were read are left out of a move",
    file: "src/cluster/node/move-source.ts",
    correct: `isRead ? { phase: "log", index, skip: 0 }`,
    wrong: `isRead ? { phase: "log", index: this.#store.committed + 20, skip: 0 }`,
  },
  {
    name: "a frozen slot is still served",
    file: "src/store/slot-moves.ts",
    correct: "return this.#held[slot] !== NOT_HELD;",
    wrong: "return this.#held[slot] === IMPORTING;",
  },
  {
    name: "a dropped slot that comes back loses what is written then",
    file: "src/store/range-deletion.ts",
    correct: "lsm.addRangeDeletion(sequence, startSlot, endSlot);",
    wrong: "lsm.addRangeDeletion(sequence + 200, startSlot, endSlot);",
  },
  {
    name: "pieces are taken whatever the destination has",
    file: "src/cluster/node/move-destination.ts",
    correct: "const piece = { number, before, resume, records, sourceClockMs };",
    wrong:
      "const piece = { number, before, resume, records: recordBytesOf(bytes.slice(0, 0)), sourceClockMs };",
  },
  {
    name: "the id of a set that is gone is given again",
    file: "src/cluster/node/formation.ts",
    correct: "id: setIdOf(id, setsFormed), epoch: 0",
    wrong: "id: setIdOf(id, sets.length + 0 * setsFormed), epoch: 0",
  },
];
