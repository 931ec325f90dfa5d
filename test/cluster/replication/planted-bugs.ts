/**
 * Bugs that the simulation must find. Each one is a copy of the core in which a piece of source text is replaced by a
 * wrong one; production code has no switch for it. A text that is no longer there, or there twice, is an error, so the
 * list follows the code.
 */
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import type { MemberClass } from "./abstract-cluster.ts";

const SOURCE = path.join(import.meta.dirname, "../../../src/cluster/replication");
const BASE = path.join(import.meta.dirname, "../../../src/base");

export interface PlantedBug {
  readonly name: string;
  readonly file: string;
  readonly correct: string;
  readonly wrong: string;
  /** Takes a rare history: more than a hundred seeds, fewer than 2,000. */
  readonly isRare?: true;
}

export const PLANTED_BUGS: readonly PlantedBug[] = [
  {
    name: "frames are acknowledged as durable before they are synced",
    file: "replica.ts",
    correct: "durable: Math.min(log.durable, this.#matched)",
    wrong: "durable: this.#matched",
  },
  {
    name: "a member acknowledges before its promise is durable",
    file: "promise.ts",
    correct: "return this.#persisted.epoch === this.#raised.epoch;",
    wrong: "return true;",
  },
  {
    name: "acknowledgements of another incarnation are counted",
    file: "writer.ts",
    correct: "return peer?.incarnation === member.incarnation ? peer : undefined;",
    wrong: "return peer;",
  },
  {
    isRare: true,
    name: "the log with the greatest index is promoted, whatever its epochs",
    file: "claim.ts",
    correct: "const order = comparePositions(answer.table.last, than.table.last);",
    wrong: "const order = answer.table.last.index - than.table.last.index;",
  },
  {
    isRare: true,
    name: "a claimant that knows only its own log is promoted",
    file: "claim.ts",
    correct: "answers.length >= sealQuorum(this.#document());",
    wrong: "answers.length >= 1;",
  },
  {
    name: "the seal quorum is one member too small",
    file: "quorum.ts",
    correct: "return membership.members.length - membership.writeQuorum + 1;",
    wrong: "return Math.max(1, membership.members.length - membership.writeQuorum);",
  },
  {
    name: "a writer serves before its EPOCH_START is committed",
    file: "writer.ts",
    correct: `this.#phase === "starting" && this.#context.log.commit >= this.#startIndex`,
    wrong: `this.#phase === "starting"`,
  },
  {
    name: "a stale writer's conflicting frames truncate a log",
    file: "replica.ts",
    correct: "if (epoch < this.#promise.epoch) {",
    wrong: "if (epoch < this.#promise.epoch && leaseMs === 0) {",
  },
  {
    isRare: true,
    name: "a claimant keeps what its log has beyond the best one",
    file: "claim.ts",
    correct: "if (common < log.lastIndex) log.truncate(common);",
    wrong: "",
  },
  {
    name: "an append is taken without asking for the frame before it",
    file: "replica.ts",
    correct: "if (!log.table.has(message.previous)) {",
    wrong: "if (message.previous.index > log.lastIndex) {",
  },
  {
    name: "a replica knows frames as committed that it has not matched",
    file: "replica.ts",
    correct: "Math.min(message.commit, this.#matched)",
    wrong: "Math.min(message.commit, log.lastIndex)",
  },
  {
    isRare: true,
    name: "a sync from before a truncation counts for frames after it",
    file: "log-state.ts",
    correct: "if (generation !== this.#generation || !this.#isComplete) return;",
    wrong: "if (index > this.lastIndex) return;",
  },
  {
    name: "seals are answered while a grant runs",
    file: "replica.ts",
    correct: "nowMs < this.#grantedUntilMs || !log.isDurable",
    wrong: "!log.isDurable",
  },
  {
    name: "a seal is answered before the log is synced",
    file: "replica.ts",
    correct: "nowMs < this.#grantedUntilMs || !log.isDurable",
    wrong: "nowMs < this.#grantedUntilMs",
  },
  {
    name: "a restarted replica does not wait for grants that it forgot",
    file: "replica.ts",
    correct: "this.#grantedUntilMs = nowMs + grantMs(boot.promise.leaseMs);",
    wrong: "this.#grantedUntilMs = nowMs;",
  },
  {
    name: "a replica grants L instead of 1.1 L",
    file: "options.ts",
    correct: "const GRANT_FACTOR = 1.1;",
    wrong: "const GRANT_FACTOR = 1;",
  },
  {
    name: "a lease counts from the receipt of the acknowledgement",
    file: "progress.ts",
    correct: "this.sendTime = Math.max(this.sendTime, message.sendTime);",
    wrong: "this.sendTime = nowMs;",
  },
  {
    isRare: true,
    name: "commits, leases and rounds ignore an open membership change",
    file: "writer.ts",
    correct: "return proposed === undefined ? [this.#document()] : [this.#document(), proposed];",
    wrong: "return [this.#document()];",
  },
  {
    name: "a proposed membership is in force before its outcome is known",
    file: "writer.ts",
    correct: "return proposed === undefined ? [this.#document()] : [this.#document(), proposed];",
    wrong: "return [proposed ?? this.#document()];",
  },
  {
    isRare: true,
    name: "a membership write of unknown outcome is taken for refused",
    file: "document-register.ts",
    correct: `if (result === "unavailable" && !change.mayBeApplied) {`,
    wrong: `if (result === "unavailable" || result === "unknown") {`,
  },
  {
    isRare: true,
    name: "a member is dropped though the others lack what is committed",
    file: "membership.ts",
    correct: "const dropped = lost.find((each) => holdsWithout(view, each));",
    wrong: "const dropped = lost[0];",
  },
  {
    isRare: true,
    name: "a learner replaces a member before it has the whole log",
    file: "membership.ts",
    correct: "return state.durable >= needed;",
    wrong: "return true;",
  },
  {
    isRare: true,
    name: "a round is confirmed by an acknowledgement from before it",
    file: "writer.ts",
    correct: "const isConfirmed = (each: { round: number }) => each.round <= round;",
    wrong: "const isConfirmed = (each: { round: number }) => each.round <= round + 1;",
  },
  {
    name: "a claim of unknown outcome is taken for won",
    file: "document-register.ts",
    correct: `if (result === "ok") {`,
    wrong: `if (result === "unknown") return "applied";
    if (result === "ok") {`,
  },
  {
    name: "a writer goes on after a handover that it has announced",
    file: "member.ts",
    correct: `if (writer.finishHandover(nowMs)) this.#stepDown("handed over");`,
    wrong: "writer.finishHandover(nowMs);",
  },
];

/** The core with `bug` in it, loaded from a copy. */
export async function loadWithBug(bug: PlantedBug): Promise<MemberClass> {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "dkv-planted-"));
  try {
    for (const file of fs.readdirSync(SOURCE)) {
      let text = fs.readFileSync(path.join(SOURCE, file), "utf8");
      if (file === bug.file) {
        const places = text.split(bug.correct).length - 1;
        if (places !== 1) throw new Error(`${bug.name}: the text is there ${places} times`);
        text = text.replace(bug.correct, () => bug.wrong);
      }
      fs.writeFileSync(path.join(folder, file), text.replaceAll("../../base/", `${BASE}/`));
    }
    const module = (await import(path.join(folder, "member.ts"))) as { Member: MemberClass };
    return module.Member;
  } finally {
    fs.rmSync(folder, { recursive: true });
  }
}
