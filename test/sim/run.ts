/**
 * `npm run sim -- [options]`: simulates seed after seed and checks each (`--help` names the options). A failure is printed
 * with its seed and its last events.
 */
import { Command, Option } from "commander";
import { clusterScenario } from "./cluster/cluster-scenario.ts";
import { kvScenario } from "./example/kv-scenario.ts";
import { type Scenario, type SeedReport, SimulationError } from "./scenario.ts";
import { figuresOf, Summary, type SummaryFigures } from "./summary.ts";

const SCENARIOS: readonly Scenario[] = [kvScenario(), clusterScenario()];
const TWICE_EVERY = 100;
const PROGRESS_MS = 500;

const values = new Command("npm run sim --")
  .description("Simulates seed after seed and checks each; one in a hundred twice.")
  .option("--scenario <name>", SCENARIOS.map(({ name }) => name).join(" or "), "store")
  .option("--seeds <n>", "how many, from --seed on", "1000")
  .option("--seed <n>", "the first", "1")
  .option("--jobs <n>", "processes, each with every n-th seed", "1")
  .option("--keep-going", "a failure does not end the run, only its exit code", false)
  .option("--replay", "one seed, twice, every event shown the first time", false)
  // Of a process that another one has started: seeds this far apart, each reported.
  .addOption(new Option("--step <n>").default("1").hideHelp())
  .parse()
  .opts<{
    readonly scenario: string;
    readonly seeds: string;
    readonly seed: string;
    readonly jobs: string;
    readonly keepGoing: boolean;
    readonly replay: boolean;
    readonly step: string;
  }>();
const isPart = process.send !== undefined;

interface PartMessage {
  readonly seed: number;
  readonly clean?: SummaryFigures;
  readonly failure?: string;
}

function describe(error: unknown, seed: number): string {
  const again = `again: npm run sim -- --scenario ${values.scenario} --seed ${seed} --replay`;
  if (!(error instanceof SimulationError))
    return `seed ${seed}: ${(error as Error).stack ?? error}\n${again}`;
  const { stack } = error.cause as Error;
  return [...error.lines, error.message, stack, again].join("\n");
}

/** Says what is wrong; ends the run unless it is to go on. */
function report(failure: string): void {
  console.log(failure);
  process.exitCode = 1;
  if (!values.keepGoing) process.exit();
}

function runOne(scenario: Scenario, seed: number): SeedReport {
  const found = scenario.run(seed);
  if (seed % TWICE_EVERY !== 0) return found;
  const again = scenario.run(seed);
  if (again.hash !== found.hash) {
    throw new Error(`seed ${seed} is not deterministic: ${found.hash}, then ${again.hash}`);
  }
  return found;
}

function replay(scenario: Scenario, seed: number): void {
  const hashes = [(line: string) => console.log(line), undefined].map((show) => {
    try {
      return scenario.run(seed, show === undefined ? {} : { show }).hash;
    } catch (error) {
      if (show === undefined || !(error instanceof SimulationError)) {
        console.log(describe(error, seed));
        process.exit(1);
      }
      return error.hash;
    }
  });
  console.log(`hashes ${hashes.join(" ")}`);
  if (hashes[0] !== hashes[1]) process.exit(1);
}

class Progress {
  readonly summary = new Summary();
  #shownMs = performance.now();

  show(): void {
    if (process.stdout.isTTY !== true || performance.now() - this.#shownMs < PROGRESS_MS) return;
    this.#shownMs = performance.now();
    process.stdout.write(`\r${this.summary.line}`);
  }

  end(): void {
    if (process.stdout.isTTY === true) process.stdout.write("\r");
    this.summary.print();
  }
}

/** When it is interrupted it says what it has done. */
function endEarly(progress: Progress, before?: () => void): void {
  for (const signal of ["SIGINT", "SIGTERM"] as const)
    process.on(signal, () => {
      before?.();
      progress.end();
      process.exit(1);
    });
}

/** This process's seeds, one after the other. */
async function runAll(scenario: Scenario, first: number, end: number): Promise<void> {
  const progress = new Progress();
  const tell = (message: PartMessage) => process.send?.(message);
  let current = first;
  const fail = (error: unknown) => {
    const failure = describe(error, current);
    if (isPart) tell({ seed: current, failure });
    else report(failure);
  };
  process.on("unhandledRejection", fail);
  process.on("disconnect", () => process.exit());
  if (!isPart) endEarly(progress);
  for (; current < end; current += Number(values.step)) {
    try {
      const figures = figuresOf(runOne(scenario, current));
      tell({ seed: current, clean: figures });
      progress.summary.merge(figures);
      progress.show();
    } catch (error) {
      fail(error);
    }
    // Messages leave, and the end of the process that waits for them is noticed.
    await new Promise<void>((resolve) => setImmediate(resolve));
  }
  if (isPart) process.disconnect?.();
  if (!isPart) progress.end();
}

/** Hands the seeds to `jobs` processes of this program. */
async function runParts(first: number, end: number, jobs: number): Promise<void> {
  const progress = new Progress();
  const parts = Array.from({ length: jobs }, (_, at) => {
    const seeds = ["--seed", `${first + at}`, "--seeds", `${end - first - at}`];
    const options = ["--scenario", values.scenario, "--step", `${jobs}`, ...seeds];
    return Bun.spawn([process.execPath, import.meta.path, ...options], {
      stdout: "inherit",
      stderr: "inherit",
      ipc: ({ clean, failure }: PartMessage) => {
        if (clean !== undefined) progress.summary.merge(clean);
        if (failure !== undefined) {
          if (!values.keepGoing) for (const part of parts) part.kill();
          report(failure);
        }
        progress.show();
      },
    });
  });
  endEarly(progress, () => {
    for (const part of parts) part.kill();
  });
  const codes = await Promise.all(parts.map((part) => part.exited));
  if (codes.some((code) => code !== 0)) process.exitCode = 1;
  progress.end();
}

const scenario = SCENARIOS.find(({ name }) => name === values.scenario);
const first = Number(values.seed);
const end = first + Number(values.seeds);
if (scenario === undefined) {
  console.log(`scenarios: ${SCENARIOS.map(({ name }) => name).join()}`);
  process.exit(1);
}
if (values.replay) replay(scenario, first);
else if (Number(values.jobs) > 1) await runParts(first, end, Number(values.jobs));
else await runAll(scenario, first, end);
