/**
 * `npm run test:compose [-- --keep]`: docker-compose.yml for real. Provides an engine and base images, brings the cluster
 * up, uses it from the machine by redis-cli and ioredis, kills a writer's container, stops another one, adds the spares,
 * stops all of it and brings it up again on the same volumes: every key that was answered is there. Exits with 0 when
 * that is so, with 1 when it is not, and with 2 when it cannot run here. What it has made goes, but the images;
 * `--keep` leaves the volumes, too.
 */
import { join } from "node:path";
import { parseArgs } from "node:util";
import { BaseImageMaker, baseImagesOf } from "./base-images.ts";
import { Engine, run } from "./engine.ts";
import { Load } from "./load.ts";
import { Project } from "./project.ts";

const ROOT = join(import.meta.dirname, "..", "..");
const FIRST_PORT = 7000;
const NODES = 6;
const SPARES = 3;
const CLI_KEYS = 200;
const LOAD_MS = 3000;
const POLL_MS = 200;
const ONLINE_MS_MAX = 60_000;

const { values: flags } = parseArgs({ options: { keep: { type: "boolean", default: false } } });
const beginMs = performance.now();

function say(line: string): void {
  const seconds = ((performance.now() - beginMs) / 1000).toFixed(1).padStart(6);
  process.stdout.write(`${seconds} s  ${line}\n`);
}

function expectThat(isSo: boolean, what: string): void {
  if (!isSo) throw new Error(`not so: ${what}`);
  say(`so it is: ${what}`);
}

const cli = (port: number, ...words: string[]) =>
  run(["redis-cli", "-c", "-p", `${port}`, ...words], { timeoutMs: 30_000 });

/** Port of the writer of a set, once it has both replicas. */
async function writerWithReplicas(after = FIRST_PORT): Promise<number> {
  const deadline = performance.now() + ONLINE_MS_MAX;
  for (;;) {
    const nodes = (await cli(FIRST_PORT, "CLUSTER", "NODES")).split("\n");
    const writers = nodes.flatMap((line) => {
      const [, port] = /:(\d+)@\d+(?:,\S*)? (?:myself,)?master /.exec(line) ?? [];
      return port === undefined || Number(port) === after ? [] : [Number(port)];
    });
    for (const port of writers) {
      const info = await cli(port, "INFO", "replication").catch(() => "");
      if ((info.match(/^slave\d+:.*state=online/gm) ?? []).length === 2) return port;
    }
    if (performance.now() > deadline)
      throw new Error(`no set has a writer with two replicas:\n${nodes.join("\n")}`);
    await Bun.sleep(POLL_MS);
  }
}

const serviceOf = (port: number) => `dkv${port - FIRST_PORT}`;

async function checkContainer(project: Project): Promise<void> {
  const script =
    "id -u; stat -c '%a %u' /data /data/IDENTITY; touch /opt/dkv/x 2>&1; tr '\\0' ' ' </proc/1/cmdline";
  const text = await project.inside("dkv0", ["sh", "-c", script]);
  const lines = text.trim().split("\n");
  expectThat(lines[0] === "999", "nodes run as uid 999");
  expectThat(lines[1] === "700 999" && lines[2] === "600 999", "nobody else may read their data");
  expectThat(lines[3]!.includes("Read-only file system"), "their root is read-only");
  expectThat(lines[4]!.trim() === "bun src/main.ts", "process 1 is bun src/main.ts");
}

async function useRedisCli(): Promise<void> {
  for (let index = 0; index < CLI_KEYS; index++)
    await cli(FIRST_PORT + (index % NODES), "SET", `cli:${index}`, `${index}`);
  expectThat(
    await cliKeysAreThere(),
    `redis-cli -c -p ${FIRST_PORT} … ${FIRST_PORT + NODES - 1} follows the cluster`,
  );
}

async function cliKeysAreThere(): Promise<boolean> {
  for (let index = 0; index < CLI_KEYS; index++) {
    const port = FIRST_PORT + ((index + 1) % NODES);
    if ((await cli(port, "GET", `cli:${index}`)).trim() !== `${index}`) return false;
  }
  return true;
}

/** Under load: what `action` does to the commands of a client. */
async function underLoad(load: Load, what: string, action: () => Promise<void>): Promise<void> {
  load.begin();
  await Bun.sleep(LOAD_MS);
  await action();
  await Bun.sleep(LOAD_MS);
  const { failed, longestMs } = await load.end();
  say(`${load.answered} keys answered, longest wait of a command ${longestMs} ms`);
  expectThat(failed === 0, `no command has failed while ${what}`);
}

async function check(project: Project, load: Load): Promise<void> {
  await checkContainer(project);
  await useRedisCli();
  await underLoad(load, "nothing happens", () => Promise.resolve());
  const addresses = await load.addresses();
  say(`ioredis is connected to ${addresses.join(" ")}`);
  expectThat(addresses.length === NODES, "ioredis reaches every node at its announced address");
  const killed = await writerWithReplicas();
  await underLoad(load, `the writer at ${killed} is killed`, () => project.kill(serviceOf(killed)));
  await project.start(serviceOf(killed));
  await project.healthy();
  const stopped = await writerWithReplicas(killed);
  const stop = () => project.stop(serviceOf(stopped));
  await underLoad(load, `the writer at ${stopped} hands over and stops`, stop);
  await project.start(serviceOf(stopped));
  await project.up("more");
  const spare = await cli(FIRST_PORT + NODES + SPARES - 1, "GET", "cli:1");
  expectThat(spare.trim() === "1", `${SPARES} more nodes have joined and answer`);
  expectThat((await load.missing()).length === 0, `all ${load.answered} keys are there`);
}

async function checkRestart(project: Project, load: Load): Promise<void> {
  await project.stop();
  const codes = await project.exitCodes();
  expectThat(
    codes.length === NODES + SPARES && codes.every((line) => line.endsWith(" 0")),
    "all nodes have ended by themselves, with code 0",
  );
  await project.remove(false);
  say("containers are removed, volumes are not");
  await project.up();
  load.reconnect();
  const missing = await load.missing();
  expectThat(missing.length === 0, `all ${load.answered} keys of ioredis are there`);
  expectThat(await cliKeysAreThere(), `all ${CLI_KEYS} keys of redis-cli are there`);
}

async function runProject(engine: Engine): Promise<void> {
  await new BaseImageMaker(engine, baseImagesOf(ROOT), say).provide();
  await engine.docker(["build", "--quiet", "--network", "host", "-t", "dkv:local", ROOT]);
  say("image dkv:local: built");
  const project = new Project(engine, ROOT);
  await project.remove(true);
  try {
    await project.up();
    say(`the cluster is healthy (${engine.composeWords.join(" ")})`);
    const load = new Load(FIRST_PORT);
    await check(project, load);
    await checkRestart(project, load);
    load.close();
  } finally {
    await project.remove(!flags.keep);
  }
}

let engine: Engine;
try {
  engine = await Engine.find(join(ROOT, "data", "compose-engine"));
} catch (error) {
  process.stderr.write(`test:compose cannot run here: ${(error as Error).message}\n`);
  process.exit(2);
}
let status = 0;
try {
  await runProject(engine);
  say("all of it is so");
} catch (error) {
  say(`${(error as Error).message}`);
  status = 1;
} finally {
  await engine.stop();
}
process.exit(status);
