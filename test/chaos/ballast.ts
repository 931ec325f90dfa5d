/** Registers in every slot that clients use, so that a slot is on the move for some time; written once, read by audits. */
import { RespSocket } from "./clients/resp-socket.ts";
import { AUDITOR } from "./findings.ts";
import type { OperationRecord } from "./operation-record.ts";
import { sharedMicros } from "./shared-clock.ts";
import type { LabNode } from "./target.ts";
import { resultOf, type Step, TAGS, wordsOf } from "./workload.ts";

const KEYS_PER_TAG = 50;
const REPLY_MS_MAX = 20_000;

/** Writes them by `node`; what was done. Throws when something is refused. */
export async function ballast(node: LabNode): Promise<OperationRecord[]> {
  const records: OperationRecord[] = [];
  const socket = await RespSocket.open(node.address, REPLY_MS_MAX);
  try {
    // Who says so much of itself is not sent elsewhere.
    await socket.call(["HELLO", "3"]);
    for (let tag = 0; tag < TAGS; tag++) {
      const steps = Array.from({ length: KEYS_PER_TAG }, (_, at) => stepOf(tag, at));
      records.push(...(await Promise.all(steps.map((step) => perform(socket, step)))));
    }
  } finally {
    socket.close();
  }
  return records;
}

/** Of the first generation; the auditor writes nothing else, so its values are used once. */
function stepOf(tag: number, at: number): Step {
  const value = `<${AUDITOR}.${tag * KEYS_PER_TAG + at}>`;
  return { key: `register:{t${tag}}:0:ballast${at}`, call: { kind: "set", value } };
}

async function perform(socket: RespSocket, step: Step): Promise<OperationRecord> {
  const callMicros = sharedMicros();
  const result = resultOf(step, await socket.call(wordsOf(step)));
  const returnMicros = sharedMicros();
  return { ...step, client: AUDITOR, outcome: "ok", result, callMicros, returnMicros };
}
