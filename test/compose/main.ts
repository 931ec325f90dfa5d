/**
 * `npm run test:compose [-- --keep]`: docker-compose.yml for real. Provides an engine and base images, brings the cluster
 * up, uses it from the machine by redis-cli and ioredis, kills a writer's container, stops another one, adds a third set,
 * which takes its share, stops all of it and brings it up again on the same volumes, drains the third set, and does
 * without it: every key that was answered is there each time. Exits with 0 when that is so, with 1 when it is not, and
 * with 2 when it cannot run here. What it has made goes, but the images; `--keep` leaves the volumes, too.
 */
import { join } from "node:path";
import { parseArgs } from "node:util";
import { BaseImageMaker, baseImagesOf } from "./base-images.ts";
import { cli, FIRST_PORT, serviceOf, until, writers, writerWithReplicas } from "./cluster-view.ts";
import { Engine } from "./engine.ts";
import { Load, WRITERS } from "./load.ts";
import { Project } from "./project.ts";

const ROOT = join(import.meta.dirname, "..", "..");
const NODES = 6;
const MORE_NODES = 3;
const BIND = "127.0.0.1";
const PEER_PORT_OFFSET = 10_000;
const GROW = "grow";
const SETS = 3;
const SLOTS = 1024;
const CLI_KEYS = 200;
const LOAD_MS = 3000;
const MOVES_MS_MAX = 180_000;

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
  await checkRedisCli(NODES);
}

async function checkRedisCli(nodes: number): Promise<void> {
  const last = FIRST_PORT + nodes - 1;
  let found = 0;
  for (let index = 0; index < CLI_KEYS; index++) {
    const port = FIRST_PORT + ((index + 1) % nodes);
    if ((await cli(port, "GET", `cli:${index}`)).trim() === `${index}`) found++;
  }
  expectThat(
    found === CLI_KEYS,
    `redis-cli -c -p ${FIRST_PORT} … ${last} finds all ${CLI_KEYS} keys`,
  );
}

async function checkIoredis(load: Load, nodes: number): Promise<void> {
  load.reconnect();
  const missing = await load.missing();
  expectThat(missing.length === 0, `ioredis finds all ${load.answered} keys`);
  const addresses = await load.addresses();
  say(`ioredis is connected to ${addresses.join(" ")}`);
  expectThat(addresses.length === nodes, "ioredis reaches every node at its announced address");
}

/** Under load: what `action` does to the commands of a client. Returns what those said that failed. */
async function underLoad(load: Load, action: () => Promise<void>): Promise<readonly string[]> {
  const before = load.answered;
  const startMs = performance.now();
  load.begin();
  await Bun.sleep(LOAD_MS);
  await action();
  await Bun.sleep(LOAD_MS);
  const { failures, longestMs } = await load.end();
  const rate = Math.round(((load.answered - before) * 1000) / (performance.now() - startMs));
  say(`${load.answered} keys answered, ${rate} a second, longest wait ${longestMs} ms`);
  return failures;
}

function expectNone(failures: readonly string[], what: string): void {
  for (const failure of failures) say(`failed: ${failure}`);
  expectThat(failures.length === 0, `no command has failed while ${what}`);
}

/** A write that was on its way to a writer that dies may have been done or not, and is answered so. */
function expectUnknown(failures: readonly string[], what: string): void {
  for (const failure of failures) say(`failed: ${failure}`);
  const others = failures.filter((failure) => !failure.startsWith("UNKNOWN "));
  expectThat(
    others.length === 0 && failures.length <= WRITERS,
    `only what was on its way could fail while ${what}: ${failures.length} UNKNOWN`,
  );
}

async function check(project: Project, load: Load): Promise<void> {
  await checkContainer(project);
  await useRedisCli();
  expectNone(await underLoad(load, () => Promise.resolve()), "nothing happened");
  await checkIoredis(load, NODES);
  const killed = await writerWithReplicas();
  const kill = () => project.kill(serviceOf(killed));
  expectUnknown(await underLoad(load, kill), `the writer at ${killed} was killed`);
  await project.start(serviceOf(killed));
  await project.healthy();
  const stopped = await writerWithReplicas(killed);
  const stop = () => project.stop(serviceOf(stopped));
  expectNone(await underLoad(load, stop), `the writer at ${stopped} handed over and stopped`);
  await project.start(serviceOf(stopped));
  await project.healthy();
  await writerWithReplicas(killed);
}

/** The writer among the nodes that have been added. */
async function addedWriter(): Promise<{ id: string; slots: number } | undefined> {
  return (await writers()).find(({ port }) => port >= FIRST_PORT + NODES);
}

async function checkGrowth(project: Project, load: Load): Promise<void> {
  const failures = await underLoad(load, async () => {
    await project.up(GROW);
    say(`${MORE_NODES} more nodes are healthy`);
    const share = Math.floor(SLOTS / SETS);
    const isThere = async () => ((await addedWriter())?.slots ?? 0) >= share || undefined;
    await until("the third set has its share", isThere, MOVES_MS_MAX);
  });
  expectNone(failures, "a third set joined and got its share");
  const slots = (await writers()).map((writer) => `${writer.port}: ${writer.slots}`);
  say(`writers and their slots: ${slots.join(", ")}`);
  await checkRedisCli(NODES + MORE_NODES);
  await checkIoredis(load, NODES + MORE_NODES);
}

async function checkDrain(load: Load): Promise<void> {
  const added = await addedWriter();
  expectThat(added !== undefined && added.slots > 0, "the third set still has its share");
  const failures = await underLoad(load, async () => {
    await cli(FIRST_PORT, "CLUSTER", "DRAIN", added!.id);
    const isEmpty = async () => ((await addedWriter())?.slots ?? 0) === 0 || undefined;
    await until("the third set has no slots", isEmpty, MOVES_MS_MAX);
  });
  expectNone(failures, "the third set was drained");
  const left = (await writers()).filter(({ slots }) => slots > 0);
  const total = left.reduce((sum, { slots }) => sum + slots, 0);
  expectThat(total === SLOTS, `all ${SLOTS} slots are with the other sets`);
}

/** All of it stops, and starts again on the same volumes: the nodes of the first sets, and of `profile`. */
async function checkRestart(project: Project, profile?: string): Promise<void> {
  await project.stop();
  const codes = await project.exitCodes();
  expectThat(
    codes.length === NODES + MORE_NODES && codes.every((line) => line.endsWith(" 0")),
    "all nodes have ended by themselves, with code 0",
  );
  await project.remove(false);
  say("containers are removed, volumes are not");
  await project.up(profile);
  say(`${profile === undefined ? NODES : NODES + MORE_NODES} nodes are healthy again`);
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
    await checkGrowth(project, load);
    await checkRestart(project, GROW);
    await checkIoredis(load, NODES + MORE_NODES);
    await checkDrain(load);
    await checkRestart(project);
    await checkIoredis(load, NODES);
    await checkRedisCli(NODES);
    load.close();
  } finally {
    await project.remove(!flags.keep);
  }
}

/** The address of this machine that somebody else listens on already, of those that nodes are published at. */
function takenAddress(): string | undefined {
  const ports = Array.from({ length: NODES + MORE_NODES }, (_, at) => FIRST_PORT + at);
  for (const port of ports.flatMap((each) => [each, PEER_PORT_OFFSET + each])) {
    try {
      Bun.listen({ hostname: BIND, port, socket: { data: () => undefined } }).stop(true);
    } catch {
      return `${BIND}:${port}`;
    }
  }
  return undefined;
}

let engine: Engine;
try {
  const taken = takenAddress();
  if (taken !== undefined)
    throw new Error(`somebody else listens at ${taken}. Other ports: CLUSTER_PORTS=710`);
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
