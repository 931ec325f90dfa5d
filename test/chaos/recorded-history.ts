/** All operations of a campaign, by key. Refused ones are kept apart: they have no place in any order. */
import type { StringOperation } from "../sim/string-model.ts";
import type { OperationRecord } from "./operation-record.ts";

export interface KeyHistory {
  readonly operations: StringOperation[];
  readonly refused: OperationRecord[];
}

export class RecordedHistory {
  readonly keys = new Map<string, KeyHistory>();
  readonly counts = { ok: 0, refused: 0, unknown: 0 };
  /** Operations that got an error, refused or not. */
  readonly failed: OperationRecord[] = [];
  /** The first words of errors, with how often they came. */
  readonly errors = new Map<string, number>();

  add(record: OperationRecord): void {
    const { client, key, call, outcome, result, error, callMicros, returnMicros } = record;
    this.counts[outcome]++;
    if (error !== undefined) {
      this.failed.push(record);
      const word = /^[A-Z]+(?= )/.exec(error)?.[0] ?? error.slice(0, 60);
      this.errors.set(word, (this.errors.get(word) ?? 0) + 1);
    }
    const history = this.keys.get(key) ?? { operations: [], refused: [] };
    this.keys.set(key, history);
    if (outcome === "refused") {
      history.refused.push(record);
      return;
    }
    const isOk = outcome === "ok";
    history.operations.push({
      ...{ client, call, callMicros },
      result: isOk ? result : undefined,
      returnMicros: isOk ? returnMicros : Number.POSITIVE_INFINITY,
    });
  }
}
