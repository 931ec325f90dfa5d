/** A campaign as a process of its own, for tests: its exit code, its report, and what it printed. */
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Report } from "./report.ts";

const MAIN = join(import.meta.dirname, "main.ts");

export interface ChaosRun {
  /** Undefined: it was ended, because it took too long. */
  readonly exitCode: number | undefined;
  readonly report: Report | undefined;
  readonly output: string;
}

export async function runChaos(args: readonly string[], msMax: number): Promise<ChaosRun> {
  const directory = mkdtempSync(join(tmpdir(), "dkv-chaos-test-"));
  const json = join(directory, "report.json");
  const own = ["--json", json, "--directory", join(directory, "nodes")];
  const child = Bun.spawn([process.execPath, MAIN, ...args, ...own], {
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  let isLate = false;
  const late = setTimeout(() => {
    isLate = true;
    child.kill("SIGTERM");
  }, msMax);
  const [stdout, stderr, code] = await Promise.all([
    child.stdout.text(),
    child.stderr.text(),
    child.exited,
  ]);
  clearTimeout(late);
  const report = existsSync(json) ? (JSON.parse(readFileSync(json, "utf8")) as Report) : undefined;
  rmSync(directory, { recursive: true, force: true });
  return { exitCode: isLate ? undefined : code, report, output: `${stdout}\n${stderr}` };
}
