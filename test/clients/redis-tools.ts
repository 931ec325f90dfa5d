/** redis-cli, which follows a MOVED with -c only, and redis-benchmark --cluster, which never tries again. */
import { runCommand } from "../support/managed-dkv.ts";
import {
  type Context,
  equal,
  type Outcomes,
  runFeatures,
  type Subject,
  whyNot,
} from "./subject.ts";

const cli = (name: string, flags: readonly string[]): Subject => ({
  name,
  whyMissing: () => whyNot(["redis-cli", "--version"], "redis-tools"),
  run: (context) => runCli(context, flags),
  write: undefined,
});

export const redisTools: readonly Subject[] = [
  cli("redis-cli", []),
  cli("redis-cli -c", ["-c"]),
  {
    name: "redis-benchmark --cluster",
    whyMissing: () => whyNot(["redis-benchmark", "--version"], "redis-tools"),
    run: runBenchmark,
    write: undefined,
  },
];

async function ask(
  port: number,
  flags: readonly string[],
  commands: readonly string[],
): Promise<string[]> {
  const words = ["timeout", "20", "redis-cli", "-p", `${port}`, ...flags];
  const input = Buffer.from(commands.map((command) => `${command}\n`).join(""));
  const { stdout } = await runCommand(words, { input });
  const lines = stdout.split("\n").filter((line) => line !== "" && !line.startsWith("-> "));
  const error = lines.find((line) => /^[A-Z]{3,} /.test(line));
  if (error !== undefined) throw new Error(error);
  return lines;
}

function runCli({ ports, keys, tags, present }: Context, flags: readonly string[]) {
  const port = ports.at(-1)!;
  const send = (...commands: readonly string[]) => ask(port, flags, commands);
  return runFeatures({
    singles: async () => {
      for (const key of keys.slice(0, 8)) equal(await send(`SET ${key} ${key}`), ["OK"]);
      equal(await send(...keys.slice(0, 8).map((key) => `GET ${key}`)), keys.slice(0, 8));
    },
    MULTI: async () => {
      for (const tag of tags) {
        const key = `m{${tag}}`;
        const lines = await send("MULTI", `SET ${key} 1`, `INCR ${key}`, "EXEC");
        equal(lines, ["OK", "QUEUED", "QUEUED", "OK", "2"]);
      }
    },
    WATCH: async () => {
      for (const tag of tags) {
        const key = `w{${tag}}`;
        const lines = await send(`WATCH ${key}`, `SET ${key} 1`, "MULTI", `SET ${key} 2`, "EXEC");
        equal(lines, ["OK", "OK", "OK", "QUEUED"]);
      }
    },
    "tagged keys": async () => {
      for (const tag of tags) {
        equal(await send(`MSET a{${tag}} 1 b{${tag}} 2`), ["OK"]);
        equal(await send(`MGET b{${tag}} a{${tag}}`), ["2", "1"]);
      }
    },
    "untagged keys": async () => {
      equal(await send(`MGET ${present.join(" ")}`), present);
    },
    SCAN: async () => {
      const words = ["timeout", "20", "redis-cli", "-p", `${port}`, ...flags, "--scan"];
      const { exitCode, stderr } = await runCommand(words);
      equal([exitCode, stderr], [0, ""]);
    },
  });
}

/** It counts a MOVED as done, so what it reports says nothing: the nodes say how often they redirected. */
function runBenchmark({ ports, keys }: Context): Promise<Outcomes> {
  return runFeatures({
    singles: async () => {
      const before = await redirects(ports);
      const words = ["timeout", "20", "redis-benchmark", "--cluster", "-p", `${ports[0]}`, "-q"];
      for (const key of keys.slice(0, 4)) {
        const load = ["-n", "200", "-c", "4", "SET", key, "value"];
        const { exitCode, stderr } = await runCommand([...words, ...load]);
        equal([exitCode, stderr], [0, ""]);
      }
      const lost = (await redirects(ports)) - before;
      if (lost > 0) throw new Error(`MOVED counted as done: ${lost > 100 ? "many" : "the first"}`);
    },
  });
}

async function redirects(ports: readonly number[]): Promise<number> {
  let sum = 0;
  for (const port of ports) {
    const { stdout } = await runCommand(["redis-cli", "-p", `${port}`, "INFO", "dkv"]);
    sum += Number(/cluster_redirects:(\d+)/.exec(stdout)![1]);
  }
  return sum;
}
