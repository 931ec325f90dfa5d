/** One operation of one client as it ended: a line of JSON from a client process to the campaign. */
import type { StringCall, StringResult } from "../sim/string-model.ts";

export interface OperationRecord {
  readonly client: number;
  readonly key: string;
  readonly call: StringCall;
  /** ok: with a result; refused: certainly without effect; unknown: anything may have happened, or may yet. */
  readonly outcome: "ok" | "refused" | "unknown";
  readonly result?: StringResult;
  readonly error?: string;
  readonly callMicros: number;
  readonly returnMicros: number;
}
