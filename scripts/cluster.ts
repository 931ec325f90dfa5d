/**
 * `npm run cluster`: a whole cluster on this machine by one command, to try things out: a ZooKeeper server and
 * two replica sets of three nodes, until Ctrl-C. Data stays, so the next run goes on with it.
 *
 * `npm run cluster -- add`, meanwhile: one more replica set. It only writes the configuration of its nodes; the run
 * starts what is configured (cluster-directory.ts), and ends it.
 */
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join, relative, resolve } from "node:path";
import { Command } from "commander";
import { SystemClock } from "../src/base/clock.ts";
import { SLOT_COUNT } from "../src/base/slot.ts";
import { allNodes, ClusterCamera, type ClusterPicture } from "../src/tools/cluster-picture.ts";
import { headline, statusTable } from "../src/tools/cluster-report.ts";
import { integerArgument } from "../src/tools/connection-options.ts";
import { styleFor } from "../src/tools/text-table.ts";
import { ToolError } from "../src/tools/tool-error.ts";
import { ClusterDirectory } from "./cluster-directory.ts";
import { LocalProcess } from "./local-process.ts";
import { missingForZookeeper, zookeeperCommand } from "./zookeeper-server.ts";

const ROOT = join(import.meta.dirname, "..");
const MAIN = join(ROOT, "src", "main.ts");
const READY_MS_MAX = 120_000;
const SHARE_MS_MAX = 600_000;
const POLL_MS = 200;
const PROGRESS_MS = 2000;
/** Nodes' own limit for what is in flight, and then some. */
const STOP_MS_MAX = 15_000;

interface Flags {
  readonly dir: string;
  readonly port: number;
  readonly sets: number;
  readonly nodes: number;
  readonly spares: number;
  readonly maxmemory: string;
  readonly zookeeper?: string;
}

const program = new Command("npm run cluster --")
  .description(
    "A cluster on this machine: ZooKeeper, and replica sets of dkv nodes. Ctrl-C ends it.",
  )
  .action(runCluster)
  .option("--dir <dir>", "data, logs and configuration", "data/cluster")
  .option(
    "--port <port>",
    "of the first node; the others follow it",
    integerArgument(1, 50_000),
    7000,
  )
  .option("--sets <count>", "replica sets", integerArgument(1, 16), 2)
  .option("--nodes <count>", "nodes of each set", integerArgument(1, 7), 3)
  .option(
    "--spares <count>",
    "nodes beyond those; as many as a set has form one more",
    integerArgument(0, 16),
    0,
  )
  .option("--maxmemory <size>", "of each node", "256mb")
  .option("--zookeeper <servers>", "host:port[,host:port…] that run already, instead of an own one")
  .addHelpText(
    "after",
    "\nExamples:\n  npm run cluster\n  npm run cluster -- --dir /tmp/cluster --port 7100 --sets 3\n" +
      "Then, in another terminal:\n  redis-cli -c -p 7000\n  bin/dkv cluster watch -p 7000\n" +
      "  npm run cluster -- add\n",
  );
program
  .command("add")
  .description("one more replica set for the cluster that runs; it takes its share of the slots")
  .action(addSet);

const style = styleFor(process.stdout, process.env);
const say = (text: string) => process.stdout.write(`${text}\n`);

/** Shown as one would type it. */
function near(path: string): string {
  const short = relative(process.cwd(), path);
  return short.startsWith("..") ? path : short;
}

function fail(text: string): never {
  process.stderr.write(`${text}\n`);
  process.exit(1);
}

function startZookeeper({ path, zookeeperPort: port }: ClusterDirectory): LocalProcess {
  const missing = missingForZookeeper();
  if (missing !== "") {
    fail(
      `There is no ZooKeeper here: ${missing}.\nOn Debian and Ubuntu:\n  apt-get install default-jre-headless libzookeeper-java\nOr name servers that run elsewhere:\n  npm run cluster -- --zookeeper host:2181`,
    );
  }
  const home = join(path, "zookeeper");
  mkdirSync(join(home, "data"), { recursive: true });
  const configFile = join(home, "zoo.cfg");
  writeFileSync(
    configFile,
    [
      ...["tickTime=500", `dataDir=${join(home, "data")}`, `clientPort=${port}`],
      ...["clientPortAddress=127.0.0.1", "admin.enableServer=false", "maxClientCnxns=0"],
      "",
    ].join("\n"),
  );
  const logFile = join(home, "log");
  return new LocalProcess({
    name: "ZooKeeper",
    command: zookeeperCommand({ configFile, logFile, isDurable: true }),
    outputFile: join(home, "output"),
  });
}

function startNode(directory: ClusterDirectory, port: number): LocalProcess {
  return new LocalProcess({
    name: `node ${port}`,
    command: [process.execPath, MAIN, directory.configFile(port)],
    outputFile: directory.logFile(port),
    onLine: (line) => tell(port, line),
  });
}

/** Says what its log says of roles; the rest stays in the file. */
function tell(port: number, line: string): void {
  if (!line.includes("the writer of its replica set")) return;
  const { epoch } = JSON.parse(line) as { epoch: number };
  say(`${style.strong(`${port}`)} is the writer of its replica set (epoch ${epoch})`);
}

let zookeeper: LocalProcess | undefined;
const nodes = new Map<number, LocalProcess>();
let isStopping = false;

async function stopAll(): Promise<void> {
  isStopping = true;
  say("\nstopping: writers hand over, everything is synced");
  // ZooKeeper last: nodes tell it that they go.
  for (const each of [...nodes.values()].reverse()) each.stop();
  await Promise.all([...nodes.values()].map((each) => each.ended(STOP_MS_MAX)));
  zookeeper?.stop();
  await zookeeper?.ended(STOP_MS_MAX);
}

/** Whatever is configured and has not been started by this run. */
function startNodes(directory: ClusterDirectory): LocalProcess[] {
  if (isStopping) return [];
  const ports = directory.ports().filter((port) => !nodes.has(port));
  for (const port of ports) nodes.set(port, startNode(directory, port));
  return ports.map((port) => nodes.get(port)!);
}

function overview(picture: ClusterPicture): string {
  return `${headline(picture, style)}\n\n${statusTable(picture, style)}`;
}

/** The first picture that is `wanted`; one that cannot be taken yet is not. */
async function picturedWhen(
  camera: ClusterCamera,
  msMax: number,
  wanted: (picture: ClusterPicture) => boolean,
): Promise<ClusterPicture> {
  const deadline = performance.now() + msMax;
  for (;;) {
    const dead = [zookeeper, ...nodes.values()].find((each) => each?.isRunning === false);
    if (dead !== undefined) throw new ToolError(`${dead.name} has ended:\n${dead.lastWords}`);
    try {
      const picture = await camera.take();
      if (wanted(picture)) return picture;
    } catch (error) {
      if (!(error instanceof ToolError)) throw error;
    }
    if (performance.now() > deadline) throw new ToolError("the cluster does not serve in time");
    await Bun.sleep(POLL_MS);
  }
}

function advise({ path, firstPort: port, httpPort }: ClusterDirectory): void {
  const lines = [
    [`redis-cli -c -p ${port}`, "a client"],
    [`bin/dkv cli -p ${port}`, "another one, with completion"],
    [`bin/dkv cluster watch -p ${port}`, "a live view"],
    [`curl localhost:${httpPort}/metrics`, "Prometheus; also /cluster, /readyz, /kv/<key>"],
    [`npm run cluster -s -- add${clusterFlags()}`, "one more replica set"],
  ];
  const width = Math.max(...lines.map(([command]) => command!.length));
  say("In another terminal:");
  for (const [command, what] of lines) say(`  ${command!.padEnd(width)}   ${what}`);
  say(`Data and logs are in ${near(path)}. Ctrl-C ends all of it; the next run finds every key.`);
}

/** Flags that name the cluster that this run is about, if any are needed. */
function clusterFlags(): string {
  const { dir, port } = program.opts<Flags>();
  const isDefault = (name: string) => program.getOptionValueSource(name) === "default";
  return (isDefault("dir") ? "" : ` --dir ${dir}`) + (isDefault("port") ? "" : ` --port ${port}`);
}

function startFlags(): string {
  const named = clusterFlags();
  return named === "" ? "" : ` --${named}`;
}

/** What is killed stays dead until Enter, so that one can watch what becomes of the cluster. */
function watchForEnd(each: LocalProcess, again: string): void {
  void each.ended().then(() => {
    if (!isStopping) say(`${style.bad(`${each.name} has ended`)} (${each.howItEnded}); ${again}`);
  });
}

function watchForEnds(started: readonly LocalProcess[]): void {
  for (const each of started) {
    const byHand = `to start it again: bin/dkv server ${near(each.command.at(-1)!)}`;
    watchForEnd(each, process.stdin.isTTY ? "Enter starts it again" : byHand);
  }
}

function startAgainOnEnter(directory: ClusterDirectory): void {
  if (!process.stdin.isTTY) return;
  process.stdin.on("data", () => {
    for (const [port, each] of nodes) if (!each.isRunning) nodes.delete(port);
    const started = startNodes(directory);
    for (const { name } of started) say(`${name} starts again`);
    watchForEnds(started);
  });
}

/** Nodes that `add` has configured. */
function watchForMore(directory: ClusterDirectory): void {
  setInterval(() => {
    const started = startNodes(directory);
    for (const { name } of started) say(`${name} is new`);
    watchForEnds(started);
  }, PROGRESS_MS);
}

function openDirectory(): ClusterDirectory {
  const { dir, port } = program.opts<Flags>();
  return new ClusterDirectory(resolve(dir), port);
}

function cameraOn({ firstPort: port }: ClusterDirectory): ClusterCamera {
  return new ClusterCamera({ host: "127.0.0.1", port }, { clock: new SystemClock(), password: "" });
}

async function runCluster(): Promise<void> {
  const flags = program.opts<Flags>();
  const directory = openDirectory();
  mkdirSync(directory.path, { recursive: true });
  const servers = flags.zookeeper ?? `127.0.0.1:${directory.zookeeperPort}`;
  const count = flags.sets * flags.nodes + flags.spares;
  const ports = new Set(Array.from({ length: count }, (_, at) => flags.port + at));
  for (const port of ports.union(new Set(directory.ports())))
    directory.write(port, { ...flags, zookeeper: servers });
  const stop = () => {
    if (!isStopping) void stopAll().then(() => process.exit(0));
  };
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, stop);
  if (flags.zookeeper === undefined) zookeeper = startZookeeper(directory);
  const started = startNodes(directory);
  const last = directory.ports().at(-1);
  say(`ZooKeeper at ${servers}; ${started.length} nodes at ports ${flags.port} to ${last}`);
  const camera = cameraOn(directory);
  try {
    say(overview(await picturedWhen(camera, READY_MS_MAX, ({ isOk }) => isOk)));
    advise(directory);
    if (zookeeper !== undefined) watchForEnd(zookeeper, "run this command again");
    watchForEnds(started);
    watchForMore(directory);
    startAgainOnEnter(directory);
  } catch (error) {
    if (isStopping || !(error instanceof ToolError)) throw error;
    process.stderr.write(`${error.message}\n`);
    await stopAll();
    process.exit(1);
  } finally {
    camera.close();
  }
}

/** Slots of the set that has one of these nodes. */
function slotsOfSet({ sets }: ClusterPicture, ports: ReadonlySet<number>): number {
  const own = sets.find(({ nodes: each }) => each.some(({ port }) => ports.has(port)));
  return (own?.slots ?? []).reduce((sum, { start, end }) => sum + end - start + 1, 0);
}

/** New nodes take the places of those that are gone before they form a set. */
async function refuseUnlessWhole(camera: ClusterCamera): Promise<void> {
  try {
    const gone = allNodes(await camera.take()).filter(({ isReachable }) => !isReachable);
    if (gone.length === 0) return;
    const ports = gone.map(({ port }) => port).join(", ");
    fail(
      `No answer from ${ports}: new nodes would take the place of those that are gone.\nStart them first: Enter, where the cluster runs.`,
    );
  } catch (error) {
    if (!(error instanceof ToolError)) throw error;
    fail(`${error.message}\nStart the cluster first: npm run cluster${startFlags()}`);
  }
}

async function addSet(): Promise<void> {
  const directory = openDirectory();
  const camera = cameraOn(directory);
  await refuseUnlessWhole(camera);
  if (!existsSync(directory.configFile(directory.firstPort)))
    fail(
      `The cluster at port ${directory.firstPort} has its data elsewhere: no configuration in ${near(directory.path)}`,
    );
  const ports = directory.add(directory.setSize());
  say(
    ports.length === 1
      ? `1 more node: port ${ports[0]}`
      : `${ports.length} more nodes: ports ${ports[0]} to ${ports.at(-1)}`,
  );
  try {
    say(overview(await picturedWithShare(camera, new Set(ports))));
  } catch (error) {
    if (!(error instanceof ToolError)) throw error;
    fail(`${error.message}\nWhat the nodes say is in ${near(directory.path)}/*.log`);
  } finally {
    camera.close();
  }
}

/** Says now and then how many slots the set has that these nodes form. */
function picturedWithShare(
  camera: ClusterCamera,
  ports: ReadonlySet<number>,
): Promise<ClusterPicture> {
  let saidMs = performance.now();
  return picturedWhen(camera, SHARE_MS_MAX, (picture) => {
    const slots = slotsOfSet(picture, ports);
    const share = Math.floor(
      SLOT_COUNT / picture.sets.filter((set) => set.slots.length > 0).length,
    );
    if (slots > 0 && slots >= share) return picture.isOk;
    if (performance.now() - saidMs > PROGRESS_MS) {
      saidMs = performance.now();
      say(slots === 0 ? "they form a set" : `${slots} of ${share} slots are theirs`);
    }
    return false;
  });
}

await program.parseAsync();
