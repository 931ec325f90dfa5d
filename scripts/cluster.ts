/**
 * `npm run cluster`: a whole cluster on this machine by one command, to try things out: a ZooKeeper server and
 * two replica sets of three nodes, until Ctrl-C. Data stays, so the next run goes on with it.
 *
 *     <dir>/zookeeper/        zoo.cfg, data, log
 *     <dir>/7000.conf         of each node, so that one that was killed can be started again by hand
 *     <dir>/7000/  7000.log   its data, its log
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { join, relative, resolve } from "node:path";
import { Command } from "commander";
import { SystemClock } from "../src/base/clock.ts";
import { ClusterCamera } from "../src/tools/cluster-picture.ts";
import { headline, statusTable } from "../src/tools/cluster-report.ts";
import { integerArgument } from "../src/tools/connection-options.ts";
import { styleFor } from "../src/tools/text-table.ts";
import { ToolError } from "../src/tools/tool-error.ts";
import { LocalProcess } from "./local-process.ts";
import { missingForZookeeper, zookeeperCommand } from "./zookeeper-server.ts";

const ROOT = join(import.meta.dirname, "..");
const MAIN = join(ROOT, "src", "main.ts");
const READY_MS_MAX = 120_000;
const POLL_MS = 200;
/** Of the first node's port. */
const ZOOKEEPER_OFFSET = 181;
const HTTP_OFFSET = 1000;
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
  .option("--dir <dir>", "data, logs and configuration", "data/cluster")
  .option(
    "--port <port>",
    "of the first node; the others follow it",
    integerArgument(1, 50_000),
    7000,
  )
  .option("--sets <count>", "replica sets", integerArgument(1, 16), 2)
  .option("--nodes <count>", "nodes of each set", integerArgument(1, 7), 3)
  .option("--spares <count>", "nodes beyond those", integerArgument(0, 16), 0)
  .option("--maxmemory <size>", "of each node", "256mb")
  .option("--zookeeper <servers>", "host:port[,host:port…] that run already, instead of an own one")
  .addHelpText(
    "after",
    "\nExamples:\n  npm run cluster\n  npm run cluster -- --dir /tmp/cluster --port 7100 --sets 3\n" +
      "Then, in another terminal:\n  redis-cli -c -p 7000\n  bin/dkv cluster watch -p 7000\n",
  );
program.parse();
const flags = program.opts<Flags>();
const directory = resolve(flags.dir);
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

function startZookeeper(port: number): LocalProcess {
  const missing = missingForZookeeper();
  if (missing !== "") {
    fail(
      `There is no ZooKeeper here: ${missing}.\nOn Debian and Ubuntu:\n  apt-get install default-jre-headless libzookeeper-java\nOr name servers that run elsewhere:\n  npm run cluster -- --zookeeper host:2181`,
    );
  }
  const home = join(directory, "zookeeper");
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

function startNode(port: number, zookeeper: string): LocalProcess {
  const configFile = join(directory, `${port}.conf`);
  const lines = [
    ...[`port ${port}`, "bind 127.0.0.1", `dir "${join(directory, `${port}`)}"`],
    ...[`http-port ${port + HTTP_OFFSET}`, `maxmemory ${flags.maxmemory}`],
    ...["cluster-enabled yes", `zookeeper ${zookeeper}`],
    ...[`cluster-initial-sets ${flags.sets}`, `replication-factor ${flags.nodes}`],
    ...[`write-quorum ${Math.floor(flags.nodes / 2) + 1}`, "cluster-secret of-one-machine-only"],
    ...["cluster-zookeeper-session-timeout 4000", ""],
  ];
  writeFileSync(configFile, lines.join("\n"));
  return new LocalProcess({
    name: `node ${port}`,
    command: [process.execPath, MAIN, configFile],
    outputFile: join(directory, `${port}.log`),
    onLine: (line) => tell(port, line),
  });
}

/** Says what its log says of roles; the rest stays in the file. */
function tell(port: number, line: string): void {
  if (!line.includes("the writer of its replica set")) return;
  const { epoch } = JSON.parse(line) as { epoch: number };
  say(`${style.strong(`${port}`)} is the writer of its replica set (epoch ${epoch})`);
}

const processes: LocalProcess[] = [];
let isStopping = false;

async function stopAll(): Promise<void> {
  isStopping = true;
  say("\nstopping: writers hand over, everything is synced");
  // ZooKeeper last: nodes tell it that they go.
  for (const each of processes.slice(1).reverse()) each.stop();
  await Promise.all(processes.slice(1).map((each) => each.ended(STOP_MS_MAX)));
  processes[0]?.stop();
  await processes[0]?.ended(STOP_MS_MAX);
}

/** Waits until a node says that all slots are served. */
async function untilServing(camera: ClusterCamera): Promise<string> {
  const deadline = performance.now() + READY_MS_MAX;
  for (;;) {
    const dead = processes.find(({ isRunning }) => !isRunning);
    if (dead !== undefined) throw new ToolError(`${dead.name} has ended:\n${dead.lastWords}`);
    try {
      const picture = await camera.take();
      if (picture.isOk) return `${headline(picture, style)}\n\n${statusTable(picture, style)}`;
    } catch (error) {
      if (!(error instanceof ToolError)) throw error;
    }
    if (performance.now() > deadline) throw new ToolError("the cluster does not serve in time");
    await Bun.sleep(POLL_MS);
  }
}

function advise(): void {
  const { port } = flags;
  const lines = [
    [`redis-cli -c -p ${port}`, "a client"],
    [`bin/dkv cli -p ${port}`, "another one, with completion"],
    [`bin/dkv cluster watch -p ${port}`, "a live view"],
    [
      `curl localhost:${port + HTTP_OFFSET}/metrics`,
      "Prometheus; also /cluster, /readyz, /kv/<key>",
    ],
  ];
  const width = Math.max(...lines.map(([command]) => command!.length));
  say("\nIn another terminal:");
  for (const [command, what] of lines) say(`  ${command!.padEnd(width)}   ${what}`);
  say(
    `Data and logs are in ${near(directory)}. Ctrl-C ends all of it; the next run finds every key.`,
  );
}

/** A node that is killed stays dead, so that one can watch what becomes of the cluster. */
function watchForEnds(): void {
  for (const each of processes) {
    void each.ended().then(() => {
      if (isStopping) return;
      const config = each.command.at(-1)!;
      const again = config.endsWith(".conf") ? `bin/dkv server ${near(config)}` : "this command";
      say(
        `${style.bad(`${each.name} has ended`)} (${each.howItEnded}); to start it again: ${again}`,
      );
    });
  }
}

async function main(): Promise<void> {
  mkdirSync(directory, { recursive: true });
  const ports = Array.from(
    { length: flags.sets * flags.nodes + flags.spares },
    (_, at) => flags.port + at,
  );
  const zookeeperPort = flags.port + ZOOKEEPER_OFFSET;
  const servers = flags.zookeeper ?? `127.0.0.1:${zookeeperPort}`;
  const stop = () => {
    if (!isStopping) void stopAll().then(() => process.exit(0));
  };
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, stop);
  if (flags.zookeeper === undefined) processes.push(startZookeeper(zookeeperPort));
  say(`ZooKeeper at ${servers}; ${ports.length} nodes at ports ${ports[0]} to ${ports.at(-1)}`);
  for (const port of ports) processes.push(startNode(port, `${servers}/dkv`));
  const clock = new SystemClock();
  const camera = new ClusterCamera(
    { host: "127.0.0.1", port: flags.port },
    { clock, password: "" },
  );
  try {
    say(await untilServing(camera));
    advise();
    watchForEnds();
  } catch (error) {
    if (isStopping || !(error instanceof ToolError)) throw error;
    process.stderr.write(`${error.message}\n`);
    await stopAll();
    process.exit(1);
  } finally {
    camera.close();
  }
}

await main();
