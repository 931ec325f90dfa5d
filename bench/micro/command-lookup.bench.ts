/**
 * Nanoseconds to find a command by its request bytes (src/server/command-table.ts): GET, SET, a long name, a mixed
 * stream in either case, a subcommand, and a name nobody knows. `--smoke` runs it small.
 */
import { lookup, lookupSubcommand } from "../../src/server/command-table.ts";

const smoke = process.argv.includes("--smoke");
const COUNT = smoke ? 10_000 : 10_000_000;
const ROUNDS = smoke ? 2 : 9;

/** Requests as they lie in a chunk: names at different offsets. */
function prepare(names: readonly string[]): { bytes: Uint8Array; starts: Int32Array } {
  const starts = new Int32Array(names.length + 1);
  let at = 0;
  names.forEach((name, i) => {
    starts[i] = at;
    at += name.length;
  });
  starts[names.length] = at;
  return { bytes: new Uint8Array(Buffer.from(names.join(""))), starts };
}

function measure(names: readonly string[]): { nanoseconds: number; checksum: number } {
  const { bytes, starts } = prepare(names);
  let best = Number.POSITIVE_INFINITY;
  let checksum = 0;
  for (let round = 0; round < ROUNDS; round++) {
    checksum = 0;
    const started = Bun.nanoseconds();
    for (let i = 0, at = 0; i < COUNT; i++) {
      const spec = lookup(bytes, starts[at]!, starts[at + 1]!);
      checksum += spec === undefined ? 1 : spec.id;
      if (++at === names.length) at = 0;
    }
    best = Math.min(best, (Bun.nanoseconds() - started) / COUNT);
  }
  return { nanoseconds: best, checksum };
}

function measureSubcommand(): { nanoseconds: number; checksum: number } {
  const bytes = new Uint8Array(Buffer.from("OBJECTENCODING"));
  let best = Number.POSITIVE_INFINITY;
  let checksum = 0;
  for (let round = 0; round < ROUNDS; round++) {
    checksum = 0;
    const started = Bun.nanoseconds();
    for (let i = 0; i < COUNT; i++) {
      const container = lookup(bytes, 0, 6)!;
      checksum += lookupSubcommand(container, bytes, 6, 14)!.id;
    }
    best = Math.min(best, (Bun.nanoseconds() - started) / COUNT);
  }
  return { nanoseconds: best, checksum };
}

const WORKLOADS: Record<string, readonly string[]> = {
  GET: ["GET"],
  set: ["set"],
  "GET and SET": ["GET", "SET"],
  mixed: ["get", "SET", "MGET", "incr", "DEL", "EXPIRE", "ttl", "Exists"],
  INCRBYFLOAT: ["INCRBYFLOAT"],
  unknown: ["HGETALL"],
};

for (const [name, names] of Object.entries(WORKLOADS)) {
  const { nanoseconds, checksum } = measure(names);
  console.log(`${name.padEnd(16)} ${nanoseconds.toFixed(1)} ns  checksum ${checksum}`);
}
const subcommand = measureSubcommand();
console.log(
  `OBJECT ENCODING  ${subcommand.nanoseconds.toFixed(1)} ns  checksum ${subcommand.checksum}`,
);
