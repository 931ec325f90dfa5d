/**
 * The campaign's own reads: keys at their writers, as operations of the history, and every key at every replica, which
 * must in the end have what its writer has.
 */
import type { ReplyValue } from "../support/raw-connection.ts";
import { RespSocket } from "./clients/resp-socket.ts";
import { AUDITOR } from "./findings.ts";
import type { Lab } from "./lab.ts";
import type { OperationRecord } from "./operation-record.ts";
import { sharedMicros } from "./shared-clock.ts";
import type { LabNode } from "./target.ts";
import { resultOf } from "./workload.ts";

const READ = { kind: "get" } as const;
const BATCH = 100;
const REPLY_MS_MAX = 5000;
const READ_MS_MAX = 30_000;
const EQUAL_MS_MAX = 15_000;

export class Auditor {
  readonly #lab: Lab;

  constructor(lab: Lab) {
    this.#lab = lab;
  }

  /** Which of the lab's sets has the key. */
  setOf(key: string): number {
    const slot = this.#lab.target.slotOf(key);
    return this.#lab.sets.findIndex(
      ({ firstSlot, lastSlot }) => firstSlot <= slot && slot <= lastSlot,
    );
  }

  /** Reads `keys` at their writers. REQUIRES: the cluster is whole. */
  async read(keys: readonly string[]): Promise<OperationRecord[]> {
    const records: OperationRecord[] = [];
    for (const [index, own] of this.#bySet(keys).entries()) {
      for (let from = 0; from < own.length; from += BATCH)
        records.push(...(await this.#readBatch(index, own.slice(from, from + BATCH))));
    }
    return records;
  }

  /** Complaints about replicas that do not have what their writer has. REQUIRES: nobody writes. */
  async compareReplicas(keys: readonly string[]): Promise<string[]> {
    const complaints: string[] = [];
    for (const [index, own] of this.#bySet(keys).entries()) {
      const { writer, replicas } = await this.#lab.membersOf(this.#lab.sets[index]!);
      const expected = await readAt(writer, own, "READWRITE");
      for (const replica of replicas) {
        const complaint = await untilEqual(replica, own, expected);
        if (complaint !== undefined) complaints.push(`${complaint} at writer ${writer.host}`);
      }
    }
    return complaints;
  }

  #bySet(keys: readonly string[]): string[][] {
    const bySet: string[][] = this.#lab.sets.map(() => []);
    for (const key of keys) bySet[this.setOf(key)]!.push(key);
    return bySet;
  }

  async #readBatch(set: number, keys: readonly string[]): Promise<OperationRecord[]> {
    const deadline = performance.now() + READ_MS_MAX;
    for (;;) {
      const callMicros = sharedMicros();
      try {
        const { writer } = await this.#lab.membersOf(this.#lab.sets[set]!);
        const values = await readAt(writer, keys, "READWRITE");
        const returnMicros = sharedMicros();
        return keys.map((key, index) => ({
          ...{ client: AUDITOR, key, call: READ, outcome: "ok", callMicros, returnMicros },
          result: resultOf({ key, call: READ }, values[index]!),
        }));
      } catch (error) {
        if (performance.now() > deadline) throw error;
        await Bun.sleep(100);
      }
    }
  }
}

/** Throws unless every reply is a value. */
async function readAt(
  node: LabNode,
  keys: readonly string[],
  mode: "READWRITE" | "READONLY",
): Promise<ReplyValue[]> {
  const socket = await RespSocket.open(node.address, REPLY_MS_MAX);
  try {
    await socket.call([mode]);
    const values: ReplyValue[] = [];
    for (let from = 0; from < keys.length; from += BATCH) {
      const batch = keys.slice(from, from + BATCH);
      values.push(...(await Promise.all(batch.map((key) => socket.call(["GET", key])))));
    }
    const failed = values.find((value) => typeof value === "string" && value.startsWith("-"));
    if (failed !== undefined) throw new Error(`${node.host} answered ${failed}`);
    return values;
  } finally {
    socket.close();
  }
}

async function untilEqual(
  replica: LabNode,
  keys: readonly string[],
  expected: readonly ReplyValue[],
): Promise<string | undefined> {
  const deadline = performance.now() + EQUAL_MS_MAX;
  for (;;) {
    let complaint: string | undefined;
    try {
      const values = await readAt(replica, keys, "READONLY");
      const at = values.findIndex((value, index) => value !== expected[index]);
      if (at < 0) return undefined;
      const [has, wants] = [values[at], expected[at]].map((value) => JSON.stringify(value));
      complaint = `${keys[at]} is ${has} at replica ${replica.host} and ${wants}`;
    } catch (error) {
      complaint = `replica ${replica.host} does not answer: ${error}; so its keys are unlike those`;
    }
    if (performance.now() > deadline) return complaint;
    await Bun.sleep(200);
  }
}
