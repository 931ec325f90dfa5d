/**
 * A disk that fails under one node: strace injects an error into one of its syncs or writes. The node must end, since
 * nothing is known of what the disk has.
 */
import type { Lab } from "./lab.ts";
import type { LabNode } from "./target.ts";

const DIES_MS_MAX = 20_000;
const CALLS = ["fdatasync", "pwrite64"];
const ERRORS = ["EIO", "ENOSPC"];

export function whyNoDiskErrors(): string {
  if (Bun.which("strace") === null) return "no strace on the PATH";
  const probe = Bun.spawnSync(["strace", "-D", "-f", "-o", "/dev/null", "true"]);
  return probe.exitCode === 0 ? "" : "strace may not trace";
}

export async function diskError(lab: Lab): Promise<void> {
  const { writer, replicas } = await lab.membersOf(lab.anySet());
  const node = lab.random.chance(0.5) ? writer : lab.random.pick(replicas);
  await node.process.kill();
  const call = lab.random.pick(CALLS);
  const fault = `${call}:error=${lab.random.pick(ERRORS)}:when=${lab.random.between(20, 300)}`;
  // -D: the process that is started is the node, not strace.
  const strace = ["strace", "-D", "-f", "--seccomp-bpf", "-qq", "-o", "/dev/null"];
  lab.target.startNode(node, [...strace, "-e", `trace=${call}`, "-e", `inject=${fault}`]);
  node.process.allowEnd();
  await untilDead(node);
}

async function untilDead(node: LabNode): Promise<void> {
  const deadline = performance.now() + DIES_MS_MAX;
  while (node.process.isRunning && performance.now() < deadline) await Bun.sleep(50);
  const words = node.process.lastWords;
  if (!node.process.isRunning && !/\bEIO\b|\bENOSPC\b/.test(words))
    throw new Error(`${node.host} ended without a word on its disk:\n${words}`);
  // It may have had too little to write for the error to come; it must not stay with it.
  await node.process.kill();
}
