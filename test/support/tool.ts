/** Tools as processes: what they print, and how they end. */
import { join } from "node:path";

const ROOT = join(import.meta.dirname, "..", "..");
export const MAIN = join(ROOT, "src", "main.ts");
const TOOL_MS_MAX = 60_000;

export interface ToolResult {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs `dkv <words>` to its end, with `input` on its standard input. Nothing is a terminal. */
export async function runTool(words: readonly string[], input: string | Uint8Array = "") {
  const child = Bun.spawn([process.execPath, MAIN, ...words], {
    stdin: Buffer.from(input),
    stdout: "pipe",
    stderr: "pipe",
    timeout: TOOL_MS_MAX,
    killSignal: "SIGKILL",
    env: { ...process.env, DKV_CLI_HISTORY: "/dev/null" },
  });
  const [stdout, stderr, status] = await Promise.all([
    child.stdout.text(),
    child.stderr.text(),
    child.exited,
  ]);
  return { status, stdout, stderr } satisfies ToolResult;
}
