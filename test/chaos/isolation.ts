/**
 * Runs a campaign in namespaces of its own: processes, mounts and network. Whatever happens to it, the kernel then ends
 * every process that it started and removes every interface, rule and mount: they exist in these namespaces only.
 */
import { existsSync } from "node:fs";

const NEEDED = ["unshare", "nsenter", "ip", "nft"];

export const UNSHARE = [
  "unshare",
  "--fork",
  "--kill-child",
  "--pid",
  "--mount-proc",
  "--mount",
  "--net",
];

/** Empty: namespaces can be made here. Else what is missing. */
export function whyNotIsolated(): string {
  if (process.platform !== "linux") return "network namespaces are Linux's";
  const missing = NEEDED.filter((program) => Bun.which(program) === null);
  if (missing.length > 0) return `no ${missing.join(", ")} on the PATH`;
  if (process.getuid?.() !== 0) return "only root may make network namespaces";
  if (!existsSync("/sys/class/net")) return "no /sys";
  const probe = Bun.spawnSync([...UNSHARE, "nft", "add", "table", "bridge", "probe"]);
  return probe.exitCode === 0 ? "" : `no namespaces: ${probe.stderr.toString().trim()}`;
}

/** Runs `command` inside; its exit code. When this process is told to end, so is all that is inside. */
export async function runIsolated(command: readonly string[]): Promise<number> {
  const child = Bun.spawn([...UNSHARE, ...command], {
    stdin: "ignore",
    stdout: "inherit",
    stderr: "inherit",
  });
  const end = (): void => child.kill("SIGKILL");
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, end);
  await child.exited;
  return child.exitCode ?? 1;
}
