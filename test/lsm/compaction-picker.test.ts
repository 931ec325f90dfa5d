/** Runs test/golden/compaction-picker.txt; the words are explained there. */
import { join } from "node:path";
import {
  baseLevel,
  type Pick,
  type PickerInput,
  pendingBytes,
  pick,
  pickWhole,
} from "../../src/lsm/compaction-picker.ts";
import { LEVEL_COUNT, type TableMeta } from "../../src/lsm/version-edit.ts";
import { type GoldenCase, goldenTests } from "../support/golden.ts";

const RECORD_BYTES = 100;
const UNITS: Readonly<Record<string, number>> = { K: 2 ** 10, M: 2 ** 20, G: 2 ** 30 };

function bytesOf(text: string): number {
  const unit = UNITS[text.at(-1)!];
  return unit === undefined ? Number(text) : Number(text.slice(0, -1)) * unit;
}

interface Layout {
  readonly levels: TableMeta[][];
  readonly hidden: Map<number, number>;
  readonly swept: Map<number, number>;
}

/** `7 [100,200] 32M name=value…` → a table over these slots. */
function parseTable(text: string, layout: Layout, age: number): TableMeta {
  const match = /^(\d+) \[(\d+),(\d+)\] (\w+)((?: \S+=\S+)*)$/.exec(text);
  if (match === null) throw new Error(`not a table: ${text}`);
  const [, id, start, end, size, options] = match;
  const values = new Map(
    options!
      .trim()
      .split(" ")
      .filter((word) => word !== "")
      .map((word) => word.split("=") as [string, string]),
  );
  const bytes = bytesOf(size!);
  const recordCount = Math.max(1, Math.floor(bytes / RECORD_BYTES));
  const share = (name: string): number =>
    Math.floor((recordCount * Number(values.get(name) ?? 0)) / 100);
  const quantiles = values.get("expire")?.split("-").map(Number);
  const [first = 0, last = 0] = quantiles ?? [];
  const table: TableMeta = {
    id: Number(id),
    bytes,
    recordCount,
    tombstoneCount: share("tombstones%"),
    minPosition: Number(start) * 2 ** 32,
    maxPosition: Number(end) * 2 ** 32,
    minSequence: age * 100,
    maxSequence: age * 100 + 99,
    cleanSequence: 0,
    expiringCount: share("expiring%"),
    expiryQuantiles:
      quantiles === undefined
        ? []
        : Array.from({ length: 16 }, (_, i) => Math.round(first + ((last - first) * (i + 1)) / 16)),
  };
  layout.hidden.set(table.id, share("hidden%"));
  layout.swept.set(table.id, Number(values.get("swept") ?? 0));
  return table;
}

function parseInput(golden: GoldenCase): PickerInput {
  const levels: TableMeta[][] = Array.from({ length: LEVEL_COUNT }, () => []);
  const layout: Layout = { levels, hidden: new Map(), swept: new Map() };
  let level = 0;
  golden.input.forEach((line, index) => {
    const match = /^L(\d):$/.exec(line);
    if (match !== null) level = Number(match[1]);
    else levels[level]!.push(parseTable(line.trim(), layout, golden.input.length - index));
  });
  const option = (name: string, fallback: number): number => {
    const text = golden.options.get(name);
    return text === undefined ? fallback : bytesOf(text);
  };
  return {
    levels,
    tuning: {
      level0Trigger: option("trigger", 4),
      level0DepthMax: option("depth-max", 12),
      levelBaseBytes: option("base", 1536 * 2 ** 20),
      levelMultiplier: option("multiplier", 10),
    },
    clockMs: option("clock", 0),
    hiddenRecords: (table) => layout.hidden.get(table.id)!,
    sweptMs: (table) => layout.swept.get(table.id)!,
  };
}

function ids(tables: readonly TableMeta[]): string {
  return tables.map((table) => table.id).join(" ") || "nothing";
}

function describePick(picked: Pick | undefined): string {
  if (picked === undefined) return "nothing to do";
  if (picked.kind === "sweep") return `sweep L${picked.level}: ${picked.table.id}`;
  const { kind, reason, level, outputLevel, upper, lower } = picked;
  return `${kind} (${reason}) L${level} → L${outputLevel}: ${ids(upper)} with ${ids(lower)}`;
}

goldenTests(join(import.meta.dir, "../golden/compaction-picker.txt"), (golden) => {
  const input = parseInput(golden);
  switch (golden.command) {
    case "pick":
      return describePick(pick(input));
    case "pick-whole":
      return describePick(pickWhole(input));
    case "base-level":
      return `L${baseLevel(input.levels, input.tuning)}`;
    case "pending":
      return `${Math.round(pendingBytes(input.levels, input.tuning) / 2 ** 20)} MiB`;
    default:
      throw new Error(`unknown command ${golden.command}`);
  }
});
