/**
 * The campaign's own reads: keys at their writers, as operations of the history, and every key at every replica, which
 * must in the end have what its writer has.
 */
import type { ReplyValue } from "../support/raw-connection.ts";
import { RespSocket } from "./clients/resp-socket.ts";
import { hasSlot } from "./cluster-view.ts";
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

interface Reading {
  readonly records: readonly OperationRecord[];
  readonly left: readonly string[];
  /** The last one. */
  readonly problem: unknown;
}

export class Auditor {
  readonly #lab: Lab;

  constructor(lab: Lab) {
    this.#lab = lab;
  }

  /** Which of the lab's sets has the key. */
  setOf(key: string): number {
    const slot = this.#lab.target.slotOf(key);
    return this.#lab.sets.findIndex((set) => hasSlot(set, slot));
  }

  /** Reads `keys` at their writers. REQUIRES: the cluster is whole; slots may be moving. */
  async read(keys: readonly string[]): Promise<OperationRecord[]> {
    const records: OperationRecord[] = [];
    let left = keys;
    let deadline = performance.now() + READ_MS_MAX;
    for (;;) {
      const found = await this.#readOnce(left);
      records.push(...found.records);
      if (found.left.length === 0) return records;
      if (found.records.length > 0) deadline = performance.now() + READ_MS_MAX;
      if (performance.now() > deadline) throw new Error(`no answer: ${found.problem}`);
      left = found.left;
      await Bun.sleep(100);
      await this.#lab.look();
    }
  }

  /** Complaints about replicas that do not have what their writer has. REQUIRES: nobody writes. */
  async compareReplicas(keys: readonly string[]): Promise<string[]> {
    const complaints: string[] = [];
    for (const [index, own] of this.#bySet(keys).entries()) {
      const { writer, replicas, expected } = await this.#atWriter(index, own);
      for (const replica of replicas) {
        const complaint = await untilEqual(replica, own, expected);
        if (complaint !== undefined) complaints.push(`${complaint} at writer ${writer.host}`);
      }
    }
    return complaints;
  }

  /** A writer that has just been replaced is asked no more, the next one is. */
  async #atWriter(index: number, keys: readonly string[]) {
    const deadline = performance.now() + READ_MS_MAX;
    for (;;) {
      const { writer, replicas } = await this.#lab.membersOf(this.#lab.sets[index]!);
      try {
        return { writer, replicas, expected: await readAt(writer, keys, "READWRITE") };
      } catch (error) {
        if (performance.now() > deadline) throw error;
        await Bun.sleep(100);
      }
    }
  }

  #bySet(keys: readonly string[]): string[][] {
    const bySet: string[][] = this.#lab.sets.map(() => []);
    for (const key of keys) bySet[this.setOf(key)]?.push(key);
    return bySet;
  }

  /** What can be read now; the keys that cannot are left. */
  async #readOnce(keys: readonly string[]): Promise<Reading> {
    const records: OperationRecord[] = [];
    const left = keys.filter((key) => this.setOf(key) < 0);
    let problem: unknown = "nobody has the slot";
    for (const [index, own] of this.#bySet(keys).entries()) {
      for (let from = 0; from < own.length; from += BATCH) {
        const batch = own.slice(from, from + BATCH);
        try {
          const found = await this.#readBatch(index, batch);
          records.push(...found);
          const read = new Set(found.map(({ key }) => key));
          left.push(...batch.filter((key) => !read.has(key)));
        } catch (error) {
          problem = error;
          left.push(...batch);
        }
      }
    }
    return { records, left, problem };
  }

  /** Without those that the writer sends elsewhere, or has no answer for. */
  async #readBatch(set: number, keys: readonly string[]): Promise<OperationRecord[]> {
    const { writer } = await this.#lab.membersOf(this.#lab.sets[set]!);
    const callMicros = sharedMicros();
    const values = await answersAt(writer, keys, "READWRITE");
    const returnMicros = sharedMicros();
    return keys.flatMap((key, index): OperationRecord[] => {
      const value = values[index]!;
      if (isError(value)) return [];
      const result = resultOf({ key, call: READ }, value);
      const what = { client: AUDITOR, key, call: READ, callMicros, returnMicros };
      return [{ ...what, outcome: "ok", result }];
    });
  }
}

function isError(value: ReplyValue): boolean {
  return typeof value === "string" && value.startsWith("-");
}

/** Throws unless every reply is a value. */
async function readAt(
  node: LabNode,
  keys: readonly string[],
  mode: "READWRITE" | "READONLY",
): Promise<ReplyValue[]> {
  const values = await answersAt(node, keys, mode);
  const failed = values.find(isError);
  if (failed !== undefined) throw new Error(`${node.host} answered ${failed}`);
  return values;
}

async function answersAt(
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
