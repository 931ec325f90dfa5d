/**
 * A whole cluster in one process, to try things out: real nodes with ports, peer ports and directories of their own,
 * and an ensemble in memory that coordinates them.
 *
 *     MemoryEnsemble ── MemoryCoordinator ── ClusteredNode :7000 ── <dir>/7000, <dir>/7000.log
 *                    ── MemoryCoordinator ── ClusteredNode :7001 ── …
 *
 * What the ensemble knows ends with the process, so a directory is used once.
 */
import * as path from "node:path";
import { ByteBudget } from "./base/byte-budget.ts";
import type { Clock } from "./base/clock.ts";
import { StartupError } from "./base/errors.ts";
import type { FileSystem } from "./base/file-system.ts";
import type { Host } from "./base/host.ts";
import { createLogger } from "./base/logger.ts";
import type { MemoryReading, ProcessMemory } from "./base/process-memory.ts";
import { MemoryCoordinator } from "./cluster/coordination/memory-coordinator.ts";
import { MemoryEnsemble } from "./cluster/coordination/memory-ensemble.ts";
import { DEFAULT_REPLICATION_OPTIONS } from "./cluster/replication/options.ts";
import type { Topology, TopologySet } from "./cluster/topology.ts";
import type { NodeSettings } from "./cluster-settings.ts";
import { ClusteredNode } from "./clustered-node.ts";
import { Config } from "./config/config.ts";
import { TurnExecutor } from "./lsm/turn-executor.ts";
import { divideMemory } from "./memory-plan.ts";
import type { NodeParts } from "./node-parts.ts";

export const PEER_PORT_OFFSET = 10_000;
const HOST = "127.0.0.1";
const NODE_MEMORY = "128mb";
const SESSION_TIMEOUT_MS = 4000;
const SECRET_BYTES = 16;
const START_MS_MAX = 30_000;
const POLL_MS = 20;

export interface PlaygroundShape {
  /** Of the first node; the others have the ones behind it. */
  readonly port: number;
  readonly sets: number;
  readonly nodesPerSet: number;
}

export interface PlaygroundParts {
  readonly clock: Clock;
  readonly fileSystem: FileSystem;
  readonly host: Host;
  readonly processMemory: ProcessMemory;
  random(bytes: number): Uint8Array;
  onFatal(error: Error): void;
}

export interface PlaygroundEvents {
  /** A client has sent SHUTDOWN to a node, which has stopped. */
  onNodeStopped(port: number): void;
  /** A set has another writer than before. */
  onWriter(set: TopologySet): void;
}

/** What a node sees of the process: its part. */
class ShareOfMemory implements ProcessMemory {
  readonly #whole: ProcessMemory;
  readonly #parts: number;

  constructor(whole: ProcessMemory, parts: number) {
    this.#whole = whole;
    this.#parts = parts;
  }

  read(): MemoryReading {
    const { residentBytes, allocatedBytes, heapUsedBytes } = this.#whole.read();
    const share = (bytes: number) => Math.round(bytes / this.#parts);
    return {
      residentBytes: share(residentBytes),
      allocatedBytes: share(allocatedBytes),
      heapUsedBytes: share(heapUsedBytes),
    };
  }

  residentBytes(): number {
    return this.#whole.residentBytes() / this.#parts;
  }

  collectYoung(): void {
    this.#whole.collectYoung();
  }

  collect(): void {
    this.#whole.collect();
  }
}

export function writeQuorumOf({ nodesPerSet }: PlaygroundShape): number {
  return Math.floor(nodesPerSet / 2) + 1;
}

export class Playground {
  readonly #shape: PlaygroundShape;
  readonly #directory: string;
  readonly #parts: PlaygroundParts;
  readonly #events: PlaygroundEvents;
  readonly #ensemble: MemoryEnsemble;
  readonly #memory: ProcessMemory;
  readonly #secret: Uint8Array;
  /** Those that run, by port. */
  readonly #nodes = new Map<number, ClusteredNode>();
  readonly #stopping = new Map<number, Promise<void>>();
  /** The newest epoch that has been seen with a writer, by set. */
  readonly #epochs = new Map<string, number>();

  constructor(
    shape: PlaygroundShape,
    directory: string,
    parts: PlaygroundParts,
    events: PlaygroundEvents,
  ) {
    this.#shape = shape;
    this.#directory = directory;
    this.#parts = parts;
    this.#events = events;
    this.#ensemble = new MemoryEnsemble(parts.clock);
    this.#memory = new ShareOfMemory(parts.processMemory, this.ports.length);
    this.#secret = parts.random(SECRET_BYTES);
  }

  get ports(): number[] {
    const { port, sets, nodesPerSet } = this.#shape;
    return Array.from({ length: sets * nodesPerSet }, (_, index) => port + index);
  }

  get runningPorts(): number[] {
    return [...this.#nodes.keys()];
  }

  /** Resolves once every node sees a writer of every slot. Throws StartupError. */
  async start(): Promise<Topology> {
    const { clock } = this.#parts;
    await Promise.all(this.ports.map((port) => this.#startNode(port)));
    const deadline = clock.monotonicMs() + START_MS_MAX;
    while (![...this.#nodes.values()].every((node) => this.#isServed(node.topology.value))) {
      if (clock.monotonicMs() > deadline)
        throw new StartupError(`no cluster came to be; the logs in ${this.#directory} say why`);
      await new Promise<void>((resolve) => clock.after(POLL_MS, resolve));
    }
    const topology = this.#nodes.get(this.#shape.port)!.topology.value;
    for (const node of this.#nodes.values()) this.#follow(node);
    return topology;
  }

  /** Starts the nodes that have stopped, with what their directories hold; their ports. */
  async startStopped(): Promise<number[]> {
    const ports = this.ports.filter((port) => !this.#nodes.has(port) && !this.#stopping.has(port));
    await Promise.all(ports.map((port) => this.#startNode(port)));
    for (const port of ports) this.#follow(this.#nodes.get(port)!);
    return ports;
  }

  /** All of them, one after the other. */
  async stop(): Promise<void> {
    await Promise.all(this.#stopping.values());
    for (const [port, node] of this.#nodes) {
      this.#nodes.delete(port);
      await node.stop();
    }
  }

  #isServed(topology: Topology): boolean {
    const { sets } = this.#shape;
    return (
      topology.sets.length === sets && topology.sets.every(({ writer }) => writer !== undefined)
    );
  }

  #follow(node: ClusteredNode): void {
    const look = () => {
      for (const set of node.topology.value.sets) {
        const known = this.#epochs.get(set.id);
        if (set.writer === undefined || set.epoch <= (known ?? -1)) continue;
        this.#epochs.set(set.id, set.epoch);
        if (known !== undefined) this.#events.onWriter(set);
      }
    };
    look();
    node.topology.onChange(look);
  }

  async #startNode(port: number): Promise<void> {
    const { clock } = this.#parts;
    const directory = path.join(this.#directory, `${port}`);
    this.#parts.fileSystem.makeDirectory(directory);
    const coordinator = new MemoryCoordinator(this.#ensemble, {
      ...{ clock, sessionTimeoutMs: SESSION_TIMEOUT_MS },
    });
    const parts = this.#partsOf(port, directory);
    this.#nodes.set(port, await ClusteredNode.start(parts, this.#settingsOf(port), coordinator));
  }

  #partsOf(port: number, directory: string): NodeParts {
    const { clock, fileSystem, host, random, onFatal } = this.#parts;
    const config = Config.load({
      argv: [
        ...["--port", `${port}`, "--dir", directory, "--bind", HOST, "--maxmemory", NODE_MEMORY],
        ...["--logfile", `${directory}.log`, "--cluster-enabled", "yes"],
        ...["--peer-port", `${port + PEER_PORT_OFFSET}`],
        ...["--cluster-initial-sets", `${this.#shape.sets}`],
        ...["--replication-factor", `${this.#shape.nodesPerSet}`],
        ...["--write-quorum", `${writeQuorumOf(this.#shape)}`],
      ],
      environment: {},
    });
    const logger = createLogger({ level: config.get("loglevel"), file: config.get("logfile") });
    config.onChange("loglevel", (level) => logger.setLevel(level));
    const plan = divideMemory(config);
    return {
      ...{ config, logger, clock, fileSystem, directory, plan, host, random, onFatal },
      executor: new TurnExecutor(fileSystem, clock),
      largeBytes: new ByteBudget(plan.clientBytes),
      processMemory: this.#memory,
      onShutdown: () => this.#shutDown(port),
    };
  }

  #settingsOf(port: number): NodeSettings {
    const { sets, nodesPerSet } = this.#shape;
    const peerPort = port + PEER_PORT_OFFSET;
    return {
      shape: {
        initialSets: sets,
        replicationFactor: nodesPerSet,
        writeQuorum: writeQuorumOf(this.#shape),
      },
      replication: DEFAULT_REPLICATION_OPTIONS,
      secret: this.#secret,
      peerAddress: { host: HOST, port: peerPort },
      announced: { host: HOST, port, peerPort, hostname: "" },
    };
  }

  #shutDown(port: number): void {
    const node = this.#nodes.get(port);
    if (node === undefined) return;
    this.#nodes.delete(port);
    const stopped = node.stop().then(() => {
      this.#stopping.delete(port);
      this.#events.onNodeStopped(port);
    });
    this.#stopping.set(port, stopped);
    stopped.catch(this.#parts.onFatal);
  }
}
