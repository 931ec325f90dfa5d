/**
 * A cluster of real dkv processes with a real ZooKeeper on loopback, for tests that kill, pause and start them again.
 * stop() ends all that was started, by process, and removes the directories.
 */
import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { decodeReply, encodeRequest, RawConnection, type ReplyValue } from "./raw-connection.ts";
import { freePort, Zookeeper } from "./zookeeper.ts";

const MAIN = join(dirname(dirname(import.meta.dirname)), "src", "main.ts");
const WAIT_MS_MAX = 120_000;
const POLL_MS = 20;
const DEFAULT_FLAGS = [
  ...["--maxmemory", "256mb", "--engine-segment-bytes", "4mb", "--bind", "127.0.0.1"],
  ...["--cluster-zookeeper-session-timeout", "2000", "--loglevel", "verbose"],
];

export interface DkvClusterOptions {
  readonly sets: number;
  readonly nodesPerSet: number;
  readonly writeQuorum: number;
  /** Nodes beyond sets × nodesPerSet. */
  readonly spares?: number;
  /** Nodes that are not there yet: nothing is served, and nothing waited for, until a test adds them. */
  readonly absent?: number;
  readonly zookeepers?: 1 | 3;
  readonly flags?: readonly string[];
  /** Nodes have an HTTP port, too. */
  readonly hasHttp?: boolean;
}

/** Waits for `isDone`; throws with `what` and what `describe` says when it takes too long. */
export async function until(
  what: string,
  isDone: () => Promise<boolean>,
  describe: () => string = () => "",
): Promise<void> {
  const deadline = performance.now() + WAIT_MS_MAX;
  while (!(await isDone())) {
    if (performance.now() > deadline) throw new Error(`not in time: ${what}\n${describe()}`);
    await Bun.sleep(POLL_MS);
  }
}

/** Commands on one connection, sent together. Fewer replies than commands: nobody answers there. */
export async function askAll(
  port: number,
  commands: readonly (readonly string[])[],
): Promise<ReplyValue[]> {
  const replies: ReplyValue[] = [];
  try {
    const connection = await RawConnection.open(port);
    try {
      for (const words of commands) connection.send(encodeRequest(words));
      while (replies.length < commands.length) {
        const reply = await connection.reply();
        if (reply === undefined) break;
        replies.push(decodeReply(reply, 0)[0]);
      }
    } finally {
      connection.close();
    }
  } catch {
    // As a client sees it: no connection.
  }
  return replies;
}

export class ClusterProcess {
  readonly port = freePort();
  readonly peerPort = freePort();
  readonly httpPort = freePort();
  readonly directory: string;
  readonly #flags: readonly string[];
  readonly #hasHttp: boolean;
  #child: Bun.Subprocess | undefined = undefined;

  constructor(directory: string, flags: readonly string[], hasHttp = false) {
    this.directory = directory;
    this.#flags = flags;
    this.#hasHttp = hasHttp;
    mkdirSync(directory, { recursive: true });
  }

  /** Does not wait until it answers. */
  launch(flags: readonly string[] = []): void {
    const output = openSync(`${this.directory}.log`, "a");
    const words = [process.execPath, MAIN, "--port", `${this.port}`, "--dir", this.directory];
    const http = this.#hasHttp ? ["--http-port", `${this.httpPort}`] : [];
    const own = ["--peer-port", `${this.peerPort}`, ...http, ...this.#flags, ...flags];
    this.#child = Bun.spawn([...words, ...own], { stdout: output, stderr: output });
    closeSync(output);
  }

  get isRunning(): boolean {
    return this.#child?.exitCode === null && this.#child.signalCode === null;
  }

  get pid(): number {
    return this.#child!.pid;
  }

  get output(): string {
    return readFileSync(`${this.directory}.log`, "utf8");
  }

  signal(signal: "SIGSTOP" | "SIGCONT" | "SIGTERM"): void {
    this.#child?.kill(signal);
  }

  /** Resolves with the exit code once it has ended. */
  async exited(): Promise<number> {
    return (await this.#child?.exited) ?? 0;
  }

  async kill(): Promise<void> {
    this.#child?.kill("SIGKILL");
    await this.#child?.exited;
  }

  /** One command on a connection of its own; undefined when the node does not answer. */
  async ask(...words: string[]): Promise<ReplyValue | undefined> {
    const [reply] = await this.pipeline([words]);
    return reply;
  }

  /** Commands on one connection, sent together. Fewer replies than commands: the node does not answer. */
  async pipeline(commands: readonly (readonly string[])[]): Promise<ReplyValue[]> {
    return await askAll(this.port, commands);
  }
}

export class DkvCluster {
  readonly zookeeper: Zookeeper;
  /** Without those that a test has given up for good. */
  readonly nodes: ClusterProcess[] = [];
  #added = 0;
  readonly #directory: string;
  readonly #flags: readonly string[];
  readonly #hasHttp: boolean;

  private constructor(zookeeper: Zookeeper, options: DkvClusterOptions) {
    this.zookeeper = zookeeper;
    this.#hasHttp = options.hasHttp === true;
    this.#directory = mkdtempSync(join(tmpdir(), "dkv-cluster-"));
    const servers = zookeeper.servers.map(({ clientPort }) => `127.0.0.1:${clientPort}`);
    this.#flags = [
      ...["--cluster-enabled", "yes", "--zookeeper", `${servers.join()}/dkv`],
      ...["--cluster-initial-sets", `${options.sets}`, "--cluster-secret", "of the tests' nodes"],
      ...["--replication-factor", `${options.nodesPerSet}`],
      ...["--write-quorum", `${options.writeQuorum}`, ...DEFAULT_FLAGS, ...(options.flags ?? [])],
    ];
  }

  /** Resolves once every slot is served, and every node says so. */
  static async start(options: DkvClusterOptions): Promise<DkvCluster> {
    const zookeeper = await Zookeeper.start(options.zookeepers ?? 1);
    const cluster = new DkvCluster(zookeeper, options);
    try {
      const { sets, nodesPerSet, spares = 0, absent = 0 } = options;
      for (let left = sets * nodesPerSet + spares - absent; left > 0; left--) cluster.add();
      if (absent === 0) await cluster.untilServing();
    } catch (error) {
      await cluster.stop();
      throw error;
    }
    return cluster;
  }

  /** One more node, started. */
  add(): ClusterProcess {
    const name = `${++this.#added}`;
    const node = new ClusterProcess(join(this.#directory, name), this.#flags, this.#hasHttp);
    this.nodes.push(node);
    node.launch();
    return node;
  }

  /** All nodes that run see all slots served. */
  async untilServing(): Promise<void> {
    const serves = async (node: ClusterProcess): Promise<boolean> => {
      if (!node.isRunning) return true;
      const info = await node.ask("CLUSTER", "INFO");
      return typeof info === "string" && info.includes("cluster_state:ok");
    };
    await until(
      "all slots are served",
      async () => (await Promise.all(this.nodes.map(serves))).every(Boolean),
      () => this.nodes.map(({ output }) => output.slice(-1500)).join("\n---\n"),
    );
  }

  /** The running node that is the writer of `key`'s slot, as any of them says. */
  async writerOf(key: string): Promise<ClusterProcess> {
    for (const node of this.nodes.filter(({ isRunning }) => isRunning)) {
      const slot = await node.ask("CLUSTER", "KEYSLOT", key);
      const slots = await node.ask("CLUSTER", "SLOTS");
      if (typeof slot !== "number" || !Array.isArray(slots)) continue;
      for (const entry of slots as [number, number, [string, number]][]) {
        const found = this.nodes.find(({ port }) => port === entry[2][1]);
        if (slot * 16 >= entry[0] && slot * 16 <= entry[1] && found !== undefined) return found;
      }
    }
    throw new Error(`no node knows the writer of ${key}`);
  }

  async stop(): Promise<void> {
    for (const node of this.nodes) {
      node.signal("SIGCONT");
      await node.kill();
    }
    await this.zookeeper.stop();
    rmSync(this.#directory, { recursive: true, force: true });
  }
}
