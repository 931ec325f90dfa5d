/** `bench`: a quick measure of what a server or cluster answers. For comparisons with figures to quote: bench/README.md. */
import { Command, InvalidArgumentError } from "commander";
import { SLOT_COUNT } from "../base/slot.ts";
import { type LoadOptions, type LoadResult, type Route, runLoad, WORKLOADS } from "./bench-load.ts";
import {
  addConnectionOptions,
  addressOf,
  type ConnectionFlags,
  clientOptions,
  integerArgument,
} from "./connection-options.ts";
import type { ToolEnvironment } from "./environment.ts";
import { countText } from "./figures.ts";
import { decodeReply, type ReplyValue } from "./reply-value.ts";
import { type Address, RespClient } from "./resp-client.ts";
import { CLIENT_SLOTS_PER_SLOT } from "./slot-report.ts";
import { styleFor, textTable } from "./text-table.ts";
import { EXIT_FAILED, EXIT_OK, ToolError } from "./tool-error.ts";

interface BenchFlags extends ConnectionFlags {
  readonly clients: number;
  readonly requests: number;
  readonly pipeline: number;
  readonly dataSize: number;
  readonly keyspace: number;
  readonly tests: readonly string[];
  readonly json?: boolean;
}

const NAMES = WORKLOADS.map(({ name }) => name);

function testNames(text: string): string[] {
  const names = text.toLowerCase().split(",");
  const unknown = names.find((name) => !NAMES.includes(name));
  if (unknown === undefined) return names;
  throw new InvalidArgumentError(`There is no ${unknown}; there are ${NAMES.join(", ")}.`);
}

export function benchCommand(
  environment: ToolEnvironment,
  keep: (status: number) => void,
): Command {
  const { command } = environment;
  const bench = addConnectionOptions(new Command("bench"))
    .description("Sends a load to a server or cluster, and shows throughput and latency.")
    .option("-c, --clients <count>", "clients at once", integerArgument(1, 10_000), 50)
    .option("-n, --requests <count>", "commands of each test", integerArgument(1, 1e9), 100_000)
    .option(
      "-P, --pipeline <count>",
      "commands that a client sends together",
      integerArgument(1, 1000),
      1,
    )
    .option("-d, --data-size <bytes>", "length of values", integerArgument(0, 1 << 26), 64)
    .option("-r, --keyspace <count>", "different keys", integerArgument(1, 1e9), 100_000)
    .option("-t, --tests <names>", `of ${NAMES.join(", ")}`, testNames, ["set", "get"])
    .option("--json", "the figures as JSON")
    .addHelpText(
      "after",
      `
It writes keys that begin with key: and counter:key:, and leaves them. Client and server share the machine's cores
when both run on it. In a cluster every command goes to the node that owns its slot.
Exit status: 0 done, 1 some commands were answered with errors, 2 no connection or wrong arguments.

Examples:
  ${command} bench -p 7000
  ${command} bench -p 7000 -t set,get -c 50 -P 16 -n 1000000
  ${command} bench -p 7000 -d 1024 --json`,
    );
  bench.action(async () => keep(await runBench(bench.opts(), environment)));
  return bench;
}

async function runBench(flags: BenchFlags, environment: ToolEnvironment): Promise<number> {
  const { stdout, variables } = environment;
  const options: LoadOptions = {
    ...{ requests: flags.requests, clients: flags.clients, pipeline: flags.pipeline },
    ...{ keys: flags.keyspace, valueBytes: flags.dataSize },
  };
  const { route, writers } = await findWriters(flags, environment);
  const connection = clientOptions(flags, environment);
  const clients = await Promise.all(
    Array.from({ length: flags.clients }, () =>
      Promise.all(writers.map((address) => RespClient.open(address, connection))),
    ),
  );
  const results: LoadResult[] = [];
  try {
    for (const name of flags.tests) {
      const workload = WORKLOADS.find((each) => each.name === name)!;
      results.push(await runLoad(workload, clients, route, options, environment));
    }
  } finally {
    for (const client of clients.flat()) client.close();
  }
  if (flags.json) stdout.write(`${JSON.stringify(results.map(resultJson), null, 2)}\n`);
  else stdout.write(resultTable(results, writers.length, flags, styleFor(stdout, variables)));
  const failed = results.find(({ errors }) => errors > 0);
  if (failed !== undefined) environment.stderr.write(`dkv: first error: ${failed.firstError}\n`);
  return failed === undefined ? EXIT_OK : EXIT_FAILED;
}

/** The nodes to send to, and which of them has a slot; a server that is not in a cluster has all. */
async function findWriters(
  flags: BenchFlags,
  environment: ToolEnvironment,
): Promise<{ route: Route; writers: readonly Address[] }> {
  const client = await RespClient.open(addressOf(flags), clientOptions(flags, environment));
  const slots = decodeReply(await client.request(["CLUSTER", "SLOTS"]));
  client.close();
  if (slots instanceof Error || !Array.isArray(slots))
    return { route: { nodeOf: () => 0 }, writers: [addressOf(flags)] };
  const writers: Address[] = [];
  const owners = new Int32Array(SLOT_COUNT).fill(-1);
  for (const entry of slots as readonly ReplyValue[]) {
    const [start, end, writer] = entry as readonly [number, number, readonly [string, number]];
    const [host, port] = writer;
    let at = writers.findIndex((each) => each.host === host && each.port === port);
    if (at < 0) at = writers.push({ host, port }) - 1;
    owners.fill(at, start / CLIENT_SLOTS_PER_SLOT, (end + 1) / CLIENT_SLOTS_PER_SLOT);
  }
  if (owners.includes(-1))
    throw new ToolError("not all slots are served", { hint: "See `cluster status`." });
  return { route: { nodeOf: (slot) => owners[slot]! }, writers };
}

function resultTable(
  results: readonly LoadResult[],
  writers: number,
  flags: BenchFlags,
  style: ReturnType<typeof styleFor>,
): string {
  const { clients, pipeline, dataSize, keyspace } = flags;
  const head = `${clients} clients, pipeline ${pipeline}, values of ${dataSize} B, ${countText(keyspace)} keys, ${writers} writer${writers === 1 ? "" : "s"}`;
  const heads = ["TEST", ">COMMANDS/S", ">P50 MS", ">P99 MS", ">P99.9 MS", ">MAX MS", ">ERRORS"];
  const rows = results.map(({ name, requests, seconds, latency, errors }) => [
    name,
    countText(requests / seconds),
    ...[50, 99, 99.9].map((percent) => (latency.percentile(percent) / 1000).toFixed(2)),
    (latency.max / 1000).toFixed(2),
    errors === 0 ? "0" : style.bad(countText(errors)),
  ]);
  return `${head}\n\n${textTable(heads, rows, style)}`;
}

function resultJson({ name, requests, errors, seconds, latency }: LoadResult) {
  return {
    ...{ test: name, requests, errors, seconds },
    commandsPerSecond: requests / seconds,
    latencyMs: {
      p50: latency.percentile(50) / 1000,
      p99: latency.percentile(99) / 1000,
      p999: latency.percentile(99.9) / 1000,
      max: latency.max / 1000,
    },
  };
}
