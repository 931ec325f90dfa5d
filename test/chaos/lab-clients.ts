/** The client processes of a campaign, one a host, and what they report. */
import { join } from "node:path";
import type { ClientPlan } from "./client-process.ts";
import type { LabNetwork } from "./lab-network.ts";
import type { OperationRecord } from "./operation-record.ts";

const SCRIPT = join(import.meta.dirname, "client-process.ts");
const STOP_MS_MAX = 20_000;

type Child = Bun.Subprocess<"pipe", "pipe", "inherit">;

export const CLIENT_HOSTS = ["east", "west"] as const;

/**
 * Clients of one host. The raw ones hardly do anything but read: whoever writes to a writer that is cut off waits for
 * its answer, and then cannot see whether it shows others old values. Four of them, so that each set has one.
 */
const READER = { kind: "raw", lanes: 1, reads: 0.95 } as const;
const CLIENTS = [
  { kind: "ioredis", lanes: 4, reads: 0.3 },
  { kind: "node-redis", lanes: 4, reads: 0.3 },
  ...[READER, READER, READER, READER],
] as const;
const LANES = CLIENTS.reduce((sum, { lanes }) => sum + lanes, 0);

export type SharedPlan = Omit<ClientPlan, "clients" | "firstLane" | "rate"> & {
  /** Operations a second of all clients together, at most. */
  readonly rate: number;
};

export class LabClients {
  readonly #children: readonly Child[];
  readonly #reading: readonly Promise<void>[];

  constructor(network: LabNetwork, plan: SharedPlan, onRecord: (record: OperationRecord) => void) {
    const rate = plan.rate / (LANES * CLIENT_HOSTS.length);
    this.#children = CLIENT_HOSTS.map((host, index) => {
      const firstLane = 1 + index * LANES;
      const own: ClientPlan = {
        ...plan,
        rate,
        clients: CLIENTS,
        firstLane,
        seed: plan.seed + index,
      };
      const command = [process.execPath, SCRIPT, JSON.stringify(own)];
      return Bun.spawn([...network.under(host), ...command], {
        stdin: "pipe",
        stdout: "pipe",
        stderr: "inherit",
      });
    });
    this.#reading = this.#children.map((child) => readLines(child, onRecord));
  }

  /** Resolves when the last operation has ended and all records are in. */
  async stop(): Promise<void> {
    for (const child of this.#children) {
      child.stdin.write("stop\n");
      await child.stdin.flush();
    }
    const late = setTimeout(() => {
      for (const child of this.#children) child.kill("SIGKILL");
    }, STOP_MS_MAX);
    await Promise.all(this.#reading);
    clearTimeout(late);
    const codes = await Promise.all(this.#children.map(({ exited }) => exited));
    if (codes.some((code) => code !== 0)) throw new Error(`clients ended with ${codes.join()}`);
  }
}

async function readLines(child: Child, onRecord: (record: OperationRecord) => void): Promise<void> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of child.stdout) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = lines.pop()!;
    for (const line of lines) onRecord(JSON.parse(line) as OperationRecord);
  }
}
