/**
 * The directory of `npm run cluster`: each node has its configuration there, and what is there is what runs. So a node is
 * added by one more file, and the next run has it again.
 *
 *     <dir>/zookeeper/        zoo.cfg, data, log
 *     <dir>/7000.conf         of each node, so that one that was killed can be started again by hand
 *     <dir>/7000/  7000.log   its data, its log
 */
import { readdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** Of the first node's port. */
const ZOOKEEPER_OFFSET = 181;
const HTTP_OFFSET = 1000;

export interface ClusterShape {
  readonly sets: number;
  /** Of each set. */
  readonly nodes: number;
  readonly maxmemory: string;
  /** host:port[,host:port…] */
  readonly zookeeper: string;
}

export class ClusterDirectory {
  readonly path: string;
  readonly firstPort: number;

  constructor(path: string, firstPort: number) {
    this.path = path;
    this.firstPort = firstPort;
  }

  get zookeeperPort(): number {
    return this.firstPort + ZOOKEEPER_OFFSET;
  }

  get httpPort(): number {
    return this.firstPort + HTTP_OFFSET;
  }

  configFile(port: number): string {
    return join(this.path, `${port}.conf`);
  }

  logFile(port: number): string {
    return join(this.path, `${port}.log`);
  }

  /** Ports of the nodes that are configured here, in order. */
  ports(): number[] {
    const { firstPort, zookeeperPort } = this;
    return readdirSync(this.path)
      .map((name) => Number(/^(\d+)\.conf$/.exec(name)?.[1]))
      .filter((port) => port >= firstPort && port < zookeeperPort)
      .sort((a, b) => a - b);
  }

  /** How many nodes a set has here. */
  setSize(): number {
    const text = readFileSync(this.configFile(this.firstPort), "utf8");
    return Number(/^replication-factor (\d+)$/m.exec(text)![1]);
  }

  write(port: number, { sets, nodes, maxmemory, zookeeper }: ClusterShape): void {
    const lines = [
      ...this.#ownLines(port),
      ...["bind 127.0.0.1", `maxmemory ${maxmemory}`],
      ...["cluster-enabled yes", `zookeeper ${zookeeper}/dkv`],
      ...[`cluster-initial-sets ${sets}`, `replication-factor ${nodes}`],
      ...[`write-quorum ${Math.floor(nodes / 2) + 1}`, "cluster-auto-rebalance yes"],
      ...["cluster-secret of-one-machine-only", "cluster-zookeeper-session-timeout 4000", ""],
    ];
    this.#writeLines(port, lines);
  }

  /** As the first node, but for what no two nodes can have. Returns the ports. */
  add(count: number): number[] {
    const last = this.ports().at(-1)!;
    const text = readFileSync(this.configFile(this.firstPort), "utf8");
    const shared = text.split("\n").slice(this.#ownLines(this.firstPort).length);
    const ports = Array.from({ length: count }, (_, at) => last + 1 + at);
    for (const port of ports) this.#writeLines(port, [...this.#ownLines(port), ...shared]);
    return ports;
  }

  #ownLines(port: number): string[] {
    const dir = join(this.path, `${port}`);
    return [`port ${port}`, `dir "${dir}"`, `http-port ${port + HTTP_OFFSET}`];
  }

  /** Whole when it appears: somebody else may be looking. */
  #writeLines(port: number, lines: readonly string[]): void {
    const file = this.configFile(port);
    writeFileSync(`${file}.new`, lines.join("\n"));
    renameSync(`${file}.new`, file);
  }
}
