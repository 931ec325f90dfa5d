/**
 * Real ZooKeeper servers, one or an ensemble of three, for tests: Debian's jars under /usr/share/java, a configuration,
 * data directory and ports of their own; on loopback unless told otherwise. stop() kills what was started and removes
 * the directory.
 */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import * as net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { missingForZookeeper, zookeeperCommand } from "../../scripts/zookeeper-server.ts";

const START_MS_MAX = 60_000;
const TICK_MS = 200;

/** Empty: real servers can be started here. Else what is missing. */
export function whyNoZookeeper(): string {
  return missingForZookeeper();
}

/**
 * Below the ports that the system gives to outgoing connections: a client that tries a port of that range while its
 * server is down may, on loopback, end up connected to itself.
 */
const PORT_MIN = 10_000;
const PORT_COUNT = 20_000;
let nextPort = process.pid * 31;

export function freePort(): number {
  for (;;) {
    const port = PORT_MIN + (nextPort++ % PORT_COUNT);
    try {
      Bun.listen({ hostname: "127.0.0.1", port, socket: { data() {} } }).stop(true);
      return port;
    } catch {
      // Somebody has it.
    }
  }
}

/** Where a server runs. */
export interface Place {
  readonly address: string;
  /** Program and arguments that it is started by. */
  readonly under: readonly string[];
}

const LOOPBACK: Place = { address: "127.0.0.1", under: [] };

export class ZookeeperProcess {
  readonly place: Place;
  readonly clientPort = freePort();
  readonly peerPort = freePort();
  readonly electionPort = freePort();
  readonly #directory: string;
  #child: Bun.Subprocess | undefined;

  constructor(directory: string, place = LOOPBACK) {
    this.#directory = directory;
    this.place = place;
    mkdirSync(join(directory, "data"), { recursive: true });
  }

  configure(id: number, servers: readonly ZookeeperProcess[]): void {
    writeFileSync(join(this.#directory, "data", "myid"), `${id}\n`);
    const members = servers.map(({ place, peerPort, electionPort, clientPort }, index) => {
      const { address } = place;
      const peers = `${address}:${peerPort}:${electionPort}`;
      return `server.${index + 1}=${peers};${address}:${clientPort}`;
    });
    const alone = [`clientPort=${this.clientPort}`, `clientPortAddress=${this.place.address}`];
    const lines = [
      `tickTime=${TICK_MS}`,
      "initLimit=100",
      "syncLimit=50",
      `dataDir=${join(this.#directory, "data")}`,
      "maxSessionTimeout=60000",
      "maxClientCnxns=0",
      "admin.enableServer=false",
      ...(servers.length === 1 ? alone : members),
    ];
    writeFileSync(join(this.#directory, "zoo.cfg"), `${lines.join("\n")}\n`);
  }

  /** Does not wait until it serves. */
  launch(): void {
    const server = zookeeperCommand({
      configFile: join(this.#directory, "zoo.cfg"),
      logFile: join(this.#directory, "log"),
      isDurable: false,
    });
    const command = [...this.place.under, ...server];
    this.#child = Bun.spawn(command, { stdout: "ignore", stderr: "ignore" });
  }

  /** As its log ends, for the message of a test that failed. */
  get lastWords(): string {
    const log = join(this.#directory, "log");
    return existsSync(log) ? readFileSync(log, "utf8").slice(-2000) : "no log";
  }

  get isRunning(): boolean {
    const child = this.#child;
    return child !== undefined && child.exitCode === null && child.signalCode === null;
  }

  pause(): void {
    this.#child?.kill("SIGSTOP");
  }

  go(): void {
    this.#child?.kill("SIGCONT");
  }

  async kill(): Promise<void> {
    this.#child?.kill("SIGKILL");
    await this.#child?.exited;
  }
}

export class Zookeeper {
  readonly servers: readonly ZookeeperProcess[];
  readonly #directory: string;

  private constructor(directory: string, servers: readonly ZookeeperProcess[]) {
    this.#directory = directory;
    this.servers = servers;
  }

  /** Starts `count` servers; resolves once each takes sessions. */
  static async start(count: 1 | 3): Promise<Zookeeper> {
    const directory = mkdtempSync(join(tmpdir(), "dkv-zookeeper-"));
    const servers = Array.from(
      { length: count },
      (_, index) => new ZookeeperProcess(join(directory, `${index + 1}`)),
    );
    const zookeeper = new Zookeeper(directory, servers);
    servers.forEach((server, index) => {
      server.configure(index + 1, servers);
    });
    for (const server of servers) server.launch();
    try {
      for (const server of servers) await untilServing(server);
    } catch (error) {
      await zookeeper.stop();
      throw error;
    }
    return zookeeper;
  }

  /** For a process that ends and can wait for nothing. */
  killNow(): void {
    for (const server of this.servers) void server.kill();
    rmSync(this.#directory, { recursive: true, force: true });
  }

  async stop(): Promise<void> {
    for (const server of this.servers) await server.kill();
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

/** A four-letter word that is allowed by default; a member of an ensemble without a leader names no mode. */
function isServing(server: ZookeeperProcess): Promise<boolean> {
  return new Promise((resolve) => {
    let answer = "";
    const socket = net.connect({ port: server.clientPort, host: server.place.address });
    socket.setTimeout(1000, () => socket.destroy());
    socket.on("connect", () => socket.write("srvr"));
    socket.on("data", (bytes: Buffer) => {
      answer += bytes.toString("latin1");
    });
    socket.on("error", () => undefined);
    socket.on("close", () => resolve(answer.includes("Mode:")));
  });
}

export async function untilServing(server: ZookeeperProcess): Promise<void> {
  const deadline = performance.now() + START_MS_MAX;
  while (!(await isServing(server))) {
    if (performance.now() > deadline || !server.isRunning) {
      throw new Error(`ZooKeeper does not start: ${server.lastWords}`);
    }
    await Bun.sleep(50);
  }
}
