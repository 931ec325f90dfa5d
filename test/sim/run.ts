/**
 * `npm run sim -- [--seeds N] [--seed S] [--replay] [--scenario store]`: simulates seed after seed and checks each.
 *
 *   --seeds N    how many, from --seed on (default 1,000 from a fixed one)
 *   --replay     one seed, twice, every event shown the first time; the hashes must be equal
 *
 * The first failure is printed with its seed and its last events, and ends the run with a non-zero code. One seed in
 * a hundred is run twice, and its hashes compared.
 */
import { parseArgs } from "node:util";
import { clusterScenario } from "./cluster/cluster-scenario.ts";
import { kvScenario } from "./example/kv-scenario.ts";
import { type Scenario, type SeedReport, SimulationError } from "./scenario.ts";

const SCENARIOS: readonly Scenario[] = [kvScenario(), clusterScenario()];
const TWICE_EVERY = 100;
const PROGRESS_MS = 500;
const HOUR_MICROS = 3.6e9;

const { values } = parseArgs({
  options: {
    seeds: { type: "string", default: "1000" },
    seed: { type: "string", default: "1" },
    scenario: { type: "string", default: "store" },
    replay: { type: "boolean", default: false },
  },
});

class Summary {
  readonly #startMs = performance.now();
  readonly #faults = new Map<string, number>();
  #seeds = 0;
  #events = 0;
  #micros = 0;
  #acknowledged = 0;
  #unknown = 0;

  add(report: SeedReport): void {
    this.#seeds++;
    this.#events += report.events;
    this.#micros += report.simulatedMicros;
    this.#acknowledged += report.acknowledged;
    this.#unknown += report.unknown;
    for (const [kind, count] of report.faults) {
      this.#faults.set(kind, (this.#faults.get(kind) ?? 0) + count);
    }
  }

  get line(): string {
    const seconds = (performance.now() - this.#startMs) / 1000;
    const hours = (this.#micros / HOUR_MICROS).toFixed(2);
    const each = (seconds / Math.max(1, this.#seeds)).toFixed(3);
    return `${this.#seeds} seeds clean, ${hours} simulated hours, ${each} s a seed`;
  }

  print(): void {
    const faults = [...this.#faults].sort(([a], [b]) => (a < b ? -1 : 1));
    const total = faults.reduce((sum, [, count]) => sum + count, 0);
    console.log(this.line);
    console.log(`${this.#events} events, ${this.#acknowledged} operations answered, of`);
    console.log(`${this.#unknown} the outcome is unknown; ${total} faults:`);
    for (const [kind, count] of faults) console.log(`  ${kind.padEnd(20)} ${count}`);
  }
}

function fail(error: unknown, seed: number): never {
  if (error instanceof SimulationError) {
    console.log(error.lines.join("\n"));
    console.log(error.message);
    console.log((error.cause as Error).stack);
  } else {
    console.log(error);
  }
  console.log(`again: npm run sim -- --scenario ${values.scenario} --seed ${seed} --replay`);
  process.exit(1);
}

function runOne(scenario: Scenario, seed: number): SeedReport {
  const report = scenario.run(seed);
  if (seed % TWICE_EVERY !== 0) return report;
  const again = scenario.run(seed);
  if (again.hash !== report.hash) {
    throw new Error(`seed ${seed} is not deterministic: ${report.hash}, then ${again.hash}`);
  }
  return report;
}

function replay(scenario: Scenario, seed: number): void {
  const hashes = [(line: string) => console.log(line), undefined].map((show) => {
    try {
      return scenario.run(seed, show === undefined ? {} : { show }).hash;
    } catch (error) {
      if (show === undefined || !(error instanceof SimulationError)) fail(error, seed);
      return error.hash;
    }
  });
  console.log(`hashes ${hashes.join(" ")}`);
  if (hashes[0] !== hashes[1]) process.exit(1);
}

const scenario = SCENARIOS.find(({ name }) => name === values.scenario);
const first = Number(values.seed);
if (scenario === undefined) {
  console.log(`scenarios: ${SCENARIOS.map(({ name }) => name).join()}`);
  process.exit(1);
}
let current = first;
process.on("unhandledRejection", (error) => fail(error, current));
if (values.replay) {
  replay(scenario, first);
} else {
  const summary = new Summary();
  let shownMs = performance.now();
  for (; current < first + Number(values.seeds); current++) {
    try {
      summary.add(runOne(scenario, current));
    } catch (error) {
      fail(error, current);
    }
    if (process.stdout.isTTY === true && performance.now() - shownMs > PROGRESS_MS) {
      shownMs = performance.now();
      process.stdout.write(`\r${summary.line}`);
    }
  }
  if (process.stdout.isTTY === true) process.stdout.write("\r");
  summary.print();
}
