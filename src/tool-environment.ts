/** The process as tools see it (tools/environment.ts). */
import { homedir } from "node:os";
import { join } from "node:path";
import { SystemClock } from "./base/clock.ts";
import { LineFile } from "./base/line-file.ts";
import type { ToolEnvironment } from "./tools/environment.ts";

const HISTORY_NAME = ".dkv_history";
const HISTORY_LINES_MAX = 1000;

export interface ProcessParts {
  readonly command: string;
  readonly variables: Readonly<Record<string, string | undefined>>;
  random(): number;
}

export function toolEnvironment({ command, variables, random }: ProcessParts): ToolEnvironment {
  const historyPath = variables["DKV_CLI_HISTORY"] ?? join(homedir(), HISTORY_NAME);
  return {
    ...{ command, variables, random },
    clock: new SystemClock(),
    stdin: process.stdin,
    stdout: process.stdout,
    stderr: process.stderr,
    history: new LineFile(historyPath, HISTORY_LINES_MAX),
    onInterrupt(action) {
      process.on("SIGINT", action);
      return () => process.off("SIGINT", action);
    },
  };
}
