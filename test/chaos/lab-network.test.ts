/** Cuts of the lab's network lose what they say and nothing else. */
import { expect, test } from "bun:test";
import { join } from "node:path";
import { UNSHARE, whyNotIsolated } from "./isolation.ts";

const TIMEOUT_MS = 90_000;
const why = whyNotIsolated();
if (why !== "") console.warn(`skipped: cuts of the lab's network: ${why}`);

test.skipIf(why !== "")(
  "LabNetwork loses packets by pair, direction and port, and heals",
  async () => {
    const script = join(import.meta.dirname, "lab-network-probe.ts");
    const child = Bun.spawn([...UNSHARE, process.execPath, script], { stdout: "pipe" });
    const lines = (await child.stdout.text()).trim().split("\n");
    expect(lines).toEqual([
      "whole: a:7000 a:7001 c:7000 c:7001",
      "a and b apart: c:7000 c:7001",
      "b apart from all: ",
      "b does not hear a: c:7000 c:7001",
      "a does not hear b: c:7000 c:7001",
      "port 7001 between a and b: a:7000 c:7000 c:7001",
      "healed: a:7000 a:7001 c:7000 c:7001",
    ]);
  },
  TIMEOUT_MS,
);
