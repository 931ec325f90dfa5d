/**
 * `npm run chaos -- --minutes 10`, or `--moves 50`: real processes in network namespaces, real faults, real clients, and a
 * judgement on what the clients saw. When something was wrong the seed, the histories of the keys and the nodes' logs are
 * named.
 */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Command, Option } from "commander";
import { whyNoZookeeper } from "../support/zookeeper.ts";
import { Campaign, type CampaignOptions, faultsFor } from "./campaign.ts";
import { runIsolated, whyNotIsolated } from "./isolation.ts";
import { summarize, textOf } from "./report.ts";
import { TARGETS, type TargetName } from "./target.ts";
import type { Verdict } from "./verdict.ts";

const COMPLAINTS_SHOWN = 3;
const COLUMNS = 200;

const values = new Command("npm run chaos --")
  .description(
    "Real processes, real faults, real clients, and a judgement on what the clients saw.",
  )
  .option("--minutes <n>", "how long faults come", "2")
  .option("--moves <n>", "instead: slots move all the time, until n moves have been interrupted")
  .option("--target <name>", TARGETS.join(" or "), "dkv")
  .option("--seed <n>", "of the choice of faults and commands", `${Date.now() % 1_000_000}`)
  .option("--sets <n>", "replica sets", "3")
  .option("--nodes <n>", "of each set, its writer included (default: 3; redis: 2)")
  .option("--quorum <n>", "write quorum", "2")
  .option("--zookeepers <n>", "1 or 3", "3")
  .option("--rate <n>", "commands a second", "300")
  .option("--faults <names>", "only these, with commas")
  .option("--overlap <share>", "of the faults that begin while another one lasts", "0.25")
  .option("--once", "each fault once", false)
  .option("--json <file>", "the report, for programs")
  .option("--directory <path>", "where logs and histories go")
  .option("--keep", "keep them, whatever comes of it", false)
  .addOption(new Option("--isolated").default(false).hideHelp())
  .addHelpText("after", "\nExits with 0: nothing was wrong; 1: something was; 2: it cannot run.")
  .parse()
  .opts<{
    readonly minutes: string;
    readonly moves?: string;
    readonly target: string;
    readonly seed: string;
    readonly sets: string;
    readonly nodes?: string;
    readonly quorum: string;
    readonly zookeepers: string;
    readonly rate: string;
    readonly faults?: string;
    readonly overlap: string;
    readonly once: boolean;
    readonly json?: string;
    readonly directory?: string;
    readonly keep: boolean;
    readonly isolated: boolean;
  }>();

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

function refuse(why: string): never {
  process.stderr.write(`chaos cannot run: ${why}\n`);
  process.exit(2);
}

function targetOf(name: string): TargetName {
  const target = TARGETS.find((known) => known === name);
  return target ?? refuse(`no target ${name}; there are ${TARGETS.join(", ")}`);
}

function whyNot(target: TargetName): string {
  if (target === "redis" && Bun.which("redis-server") === null) return "no redis-server";
  return (target === "dkv" ? whyNoZookeeper() : "") || whyNotIsolated();
}

function optionsOf(target: TargetName, directory: string): CampaignOptions {
  const moves = values.moves === undefined ? undefined : Number(values.moves);
  if (moves !== undefined && target !== "dkv") refuse(`slots of ${target} are not moved`);
  const known = faultsFor(target, moves !== undefined, say);
  const faults = values.faults?.split(",") ?? known;
  const strange = faults.filter((name) => !known.includes(name));
  if (strange.length > 0) refuse(`no fault ${strange.join()}; there are ${known.join(", ")}`);
  return {
    ...{ target, directory, faults, say },
    seed: Number(values.seed),
    minutes: Number(values.minutes),
    moves,
    sets: Number(values.sets),
    nodesPerSet: Number(values.nodes ?? (target === "dkv" ? 3 : 2)),
    writeQuorum: Number(values.quorum),
    coordinators: values.zookeepers === "1" ? 1 : 3,
    rate: Number(values.rate),
    once: values.once,
    overlap: moves === undefined ? Number(values.overlap) : 0,
    // A control is there to be counted; of what must not happen the first time is the one to look at.
    goesOn: target === "redis",
  };
}

function complain(verdict: Verdict, failures: readonly string[], directory: string): void {
  for (const failure of failures) say(`\nfailure: ${failure}`);
  verdict.complaints.forEach(({ key, text, history }, index) => {
    const whole = `${text}\n${history}\n`;
    writeFileSync(join(directory, `${key.replaceAll(/\W+/g, "-")}.history`), `${key}: ${whole}`);
    if (index >= COMPLAINTS_SHOWN) return;
    const lines = (index === 0 ? whole : text).split("\n").map((line) => line.slice(0, COLUMNS));
    say(`\n${key}: ${lines.join("\n")}`);
  });
}

async function runInside(target: TargetName, directory: string): Promise<number> {
  const options = optionsOf(target, directory);
  say(`seed ${options.seed}, logs in ${directory}`);
  const result = await new Campaign(options).run();
  const report = summarize(options, result);
  const failed = result.history.failed.map((record) => `${JSON.stringify(record)}\n`);
  writeFileSync(join(directory, "failed-operations.jsonl"), failed.join(""));
  complain(result.verdict, report.failures, directory);
  say(textOf(report));
  if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(report, null, 2)}\n`);
  return result.verdict.complaints.length + report.failures.length === 0 ? 0 : 1;
}

async function runOutside(target: TargetName): Promise<number> {
  const why = whyNot(target);
  if (why !== "") refuse(why);
  const directory = values.directory ?? mkdtempSync(join(tmpdir(), "dkv-chaos-"));
  mkdirSync(directory, { recursive: true });
  if (readdirSync(directory).length > 0) refuse(`${directory} is not empty`);
  const inner = ["--isolated", "--directory", directory, "--seed", values.seed];
  const code = await runIsolated([
    ...[process.execPath, import.meta.filename],
    ...process.argv.slice(2),
    ...inner,
  ]);
  if (code === 0 && !values.keep) rmSync(directory, { recursive: true, force: true });
  else if (existsSync(directory))
    say(`seed ${values.seed}: logs and histories are in ${directory}`);
  return code;
}

const target = targetOf(values.target);
const code = values.isolated
  ? await runInside(target, values.directory!)
  : await runOutside(target);
// Exiting would cut off what a pipe has not taken yet.
await new Promise((resolve) => process.stdout.write("", resolve));
process.exit(code);
