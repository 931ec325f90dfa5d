/**
 * The cluster as somebody sees it who has redis-cli on this machine: through published ports, and where those send it.
 *
 *     CLUSTER NODES: <id> <ip>:<port>@<peer port> <flags> … <slots as stock clients know them, 16 for each of dkv's>
 */
import { run } from "./engine.ts";

/** As docker-compose.yml has it. */
export const FIRST_PORT = Number(`${process.env["CLUSTER_PORTS"] ?? "700"}0`);
const CLIENT_SLOTS_PER_SLOT = 16;
const COMMAND_MS_MAX = 30_000;
const WAIT_MS_MAX = 60_000;
const POLL_MS = 200;

interface Writer {
  readonly id: string;
  readonly port: number;
  /** dkv's, of 1024. */
  readonly slots: number;
}

export const serviceOf = (port: number) => `dkv${port - FIRST_PORT}`;

export const cli = (port: number, ...words: string[]) =>
  run(["redis-cli", "-c", "-p", `${port}`, ...words], { timeoutMs: COMMAND_MS_MAX });

/** As `port` knows them. */
export async function writers(port = FIRST_PORT): Promise<Writer[]> {
  return parseWriters(await cli(port, "CLUSTER", "NODES"));
}

export function parseWriters(nodes: string): Writer[] {
  return nodes.split("\n").flatMap((line) => {
    const [, id, port] = /^(\w+) \S+:(\d+)@\S+ (?:myself,)?master /.exec(line) ?? [];
    if (id === undefined) return [];
    const ranges = [...line.matchAll(/ (\d+)-(\d+)(?= |$)/g)];
    const clientSlots = ranges.reduce(
      (sum, [, start, end]) => sum + Number(end) - Number(start) + 1,
      0,
    );
    return [{ id, port: Number(port), slots: clientSlots / CLIENT_SLOTS_PER_SLOT }];
  });
}

/** What `find` finds, as soon as it does. */
export async function until<Found>(
  what: string,
  find: () => Promise<Found | undefined>,
  msMax = WAIT_MS_MAX,
): Promise<Found> {
  const deadline = performance.now() + msMax;
  for (;;) {
    const found = await find();
    if (found !== undefined) return found;
    if (performance.now() > deadline)
      throw new Error(`not in time: ${what}\n${await cli(FIRST_PORT, "CLUSTER", "NODES")}`);
    await Bun.sleep(POLL_MS);
  }
}

/** Port of the writer of a set, once it has both replicas; not `but`. */
export function writerWithReplicas(but?: number): Promise<number> {
  return until("a set has a writer with two replicas", async () => {
    for (const { port } of await writers()) {
      if (port === but) continue;
      const info = await cli(port, "INFO", "replication").catch(() => "");
      if ((info.match(/^slave\d+:.*state=online/gm) ?? []).length === 2) return port;
    }
    return undefined;
  });
}
