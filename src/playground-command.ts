/**
 * `playground`: arguments, what is printed, and the end of a cluster in one process (playground.ts).
 *
 *   0 stopped    1 cannot start, or cannot go on    2 wrong arguments
 */
import { styleText } from "node:util";
import { Command, InvalidArgumentError } from "commander";
import { StartupError } from "./base/errors.ts";
import type { SlotRange } from "./cluster/coordination/documents.ts";
import type { Topology, TopologySet } from "./cluster/topology.ts";
import { parseArguments } from "./command-arguments.ts";
import {
  PEER_PORT_OFFSET,
  Playground,
  type PlaygroundParts,
  type PlaygroundShape,
  writeQuorumOf,
} from "./playground.ts";

const EXIT_STOPPED = 0;
const EXIT_FAILED = 1;
const EXIT_USAGE = 2;
const DEFAULTS: PlaygroundShape = { port: 7000, sets: 2, nodesPerSet: 3 };
const PORT_MAX = 65_535;
/** More nodes than this are slow in one process. */
const NODES_MAX = 24;

interface Output {
  readonly isTTY: boolean;
  write(text: string): void;
}

export interface PlaygroundEnvironment extends Omit<PlaygroundParts, "onFatal"> {
  readonly stdout: Output;
  readonly stderr: Output;
  /** How the program was started. */
  readonly command: string;
  makeTemporaryDirectory(): string;
  removeDirectory(path: string): void;
  /** The first wish that everything stops. */
  onStop(listener: () => void): void;
  /** Somebody has pressed Enter. */
  onLine(listener: () => void): void;
}

interface PlaygroundArguments extends PlaygroundShape {
  /** Undefined: a temporary one. */
  readonly directory: string | undefined;
}

/** Runs the command with the arguments behind its name; resolves with the exit status when all nodes have stopped. */
export async function runPlayground(
  argv: readonly string[],
  environment: PlaygroundEnvironment,
): Promise<number> {
  const parsed = parse(argv, environment);
  if (typeof parsed === "number") return parsed;
  try {
    return await new Run(parsed, environment).run();
  } catch (error) {
    if (!(error instanceof StartupError)) throw error;
    environment.stderr.write(`dkv: ${error.message}\n`);
    return EXIT_FAILED;
  }
}

class Run {
  readonly #shape: PlaygroundArguments;
  readonly #environment: PlaygroundEnvironment;
  readonly #directory: string;
  readonly #playground: Playground;
  readonly #ended = Promise.withResolvers<number>();
  #isStopping = false;

  constructor(shape: PlaygroundArguments, environment: PlaygroundEnvironment) {
    this.#shape = shape;
    this.#environment = environment;
    const { fileSystem } = environment;
    const given = shape.directory;
    if (given !== undefined && fileSystem.exists(given) && fileSystem.list(given).length > 0)
      throw new StartupError(`${given} is not empty: a playground begins anew each time`);
    this.#directory = given ?? environment.makeTemporaryDirectory();
    const { clock, host, processMemory } = environment;
    this.#playground = new Playground(
      shape,
      this.#directory,
      {
        ...{ clock, fileSystem, host, processMemory },
        random: (bytes) => environment.random(bytes),
        onFatal: (error) => this.#ended.reject(error),
      },
      {
        onNodeStopped: (port) => this.#onNodeStopped(port),
        onWriter: (set) => this.#onWriter(set),
      },
    );
  }

  async run(): Promise<number> {
    this.#environment.onStop(() => this.#stop());
    try {
      // Who wants it to stop need not wait until it has started.
      const started = await Promise.race([this.#playground.start(), this.#ended.promise]);
      if (typeof started === "number") return started;
      this.#greet(started);
      this.#environment.onLine(() => this.#startStopped());
      return await this.#ended.promise;
    } finally {
      if (this.#shape.directory === undefined) this.#environment.removeDirectory(this.#directory);
    }
  }

  #stop(): void {
    if (this.#isStopping) return;
    this.#isStopping = true;
    this.#say("stopping");
    this.#playground.stop().then(
      () => this.#ended.resolve(EXIT_STOPPED),
      (error: unknown) => this.#ended.reject(error),
    );
  }

  #onWriter(set: TopologySet): void {
    if (!this.#isStopping) this.#say(`${slotsOf(set)}: ${set.writer!.port} is the writer now`);
  }

  #onNodeStopped(port: number): void {
    this.#say(`${port} has stopped; Enter starts it again`);
    if (this.#playground.runningPorts.length === 0) this.#stop();
  }

  #startStopped(): void {
    if (this.#isStopping) return;
    this.#playground.startStopped().then(
      (ports) => {
        if (ports.length > 0) this.#say(`${ports.join(", ")} started again`);
      },
      (error: unknown) => this.#ended.reject(error),
    );
  }

  #greet(topology: Topology): void {
    const { sets, nodesPerSet } = this.#shape;
    const quorum = writeQuorumOf(this.#shape);
    const bold = (text: string) => this.#styled("bold", text);
    const faint = (text: string) => this.#styled("dim", text);
    const ordered = topology.sets.toSorted((a, b) => firstSlot(a) - firstSlot(b));
    const rows = ordered.map((set) => {
      const replicas = set.replicas.map(({ port }) => `${port}`).join(" ");
      return `  ${slotsOf(set).padEnd(16)} writer ${bold(`${set.writer!.port}`)}   replicas ${replicas}`;
    });
    const suggested = suggestions(ordered, this.#shape);
    const width = Math.max(...suggested.map(([command]) => command.length));
    const tries = suggested.map(
      ([command, what]) => `  ${bold(command.padEnd(width))}   ${faint(what)}`,
    );
    const kept = this.#shape.directory === undefined ? ", removed at the end" : "";
    this.#environment.stdout.write(
      [
        `${bold("dkv playground")}: ${sets} replica sets of ${nodesPerSet} nodes; ${quorum} hold a write before it is answered.`,
        `Files and logs are in ${this.#directory}${kept}.`,
        "",
        ...rows,
        "",
        "Try, in another terminal:",
        "",
        ...tries,
        "",
        "What changes is told here. Enter starts nodes again that were shut down, Ctrl-C ends all.",
        "",
        "",
      ].join("\n"),
    );
  }

  #say(text: string): void {
    this.#environment.stdout.write(`${text}\n`);
  }

  #styled(style: "bold" | "dim", text: string): string {
    const { isTTY } = this.#environment.stdout;
    return isTTY ? styleText(style, text, { validateStream: false }) : text;
  }
}

function firstSlot({ slots }: TopologySet): number {
  return slots[0]?.start ?? 0;
}

function slotsOf({ slots }: TopologySet): string {
  const ranges = slots.map(({ start, end }: SlotRange) => `${start}-${end}`);
  return `slots ${ranges.join(" ")}`;
}

/** Commands that work as they are printed, and what they show. */
function suggestions(
  sets: readonly TopologySet[],
  shape: PlaygroundShape,
): [command: string, what: string][] {
  const { port } = shape;
  const [first] = sets;
  const writer = first!.writer!.port;
  const replica = first!.replicas[0]?.port;
  const last = sets.at(-1)!.writer!.port;
  const ofReplicas: [string, string][] =
    replica === undefined
      ? []
      : [
          [`redis-cli -p ${replica} cluster failover`, `${replica} becomes the writer of its set`],
          [`redis-cli -p ${writer} info replication`, "roles, and how far the replicas are"],
          [
            `redis-cli -p ${replica} shutdown`,
            `stops it; its set goes on with ${writeQuorumOf(shape)} nodes`,
          ],
        ];
  return [
    [`redis-cli -c -p ${port} set greeting hello`, "the client goes where the key belongs"],
    [`redis-cli -3 -p ${last} get greeting`, "with RESP3 every node answers for every key"],
    [`redis-cli -p ${port} cluster nodes`, "who is who"],
    ...ofReplicas,
  ];
}

function wholeNumber(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (/^\d+$/.test(text) && value >= min && value <= max) return value;
    throw new InvalidArgumentError(`It must be a whole number from ${min} to ${max}.`);
  };
}

/** The arguments, or the exit status when there is nothing to run. */
function parse(
  argv: readonly string[],
  { command, stdout, stderr }: PlaygroundEnvironment,
): PlaygroundArguments | number {
  const program = new Command(`${command} playground`)
    .description(
      "A cluster to try things out: replica sets of real nodes in one process, with files and ports of\n" +
        "their own. It needs neither ZooKeeper nor anything else, and serves this machine only.",
    )
    .option(
      "--port <port>",
      "port of the first node; the others have the next ones, and each one more for its peers, 10000 above",
      wholeNumber(1, PORT_MAX - PEER_PORT_OFFSET),
      DEFAULTS.port,
    )
    .option(
      "--sets <count>",
      "replica sets, a writer each",
      wholeNumber(1, NODES_MAX),
      DEFAULTS.sets,
    )
    .option(
      "--nodes <count>",
      "nodes of a set, the writer included",
      wholeNumber(1, NODES_MAX),
      DEFAULTS.nodesPerSet,
    )
    .option("--dir <dir>", "an empty directory for files and logs, kept (default: a temporary one)")
    .addHelpText(
      "after",
      "\nWhile it runs, Enter starts nodes again that were shut down (redis-cli -p 7000 shutdown), and Ctrl-C ends all.\n" +
        `\nExit status: ${EXIT_STOPPED} stopped, ${EXIT_FAILED} cannot start or go on, ${EXIT_USAGE} wrong arguments.\n` +
        `\nExamples:\n  ${command} playground\n  ${command} playground --port 8000 --sets 1 --nodes 5`,
    );
  const outcome = parseArguments(program, argv, { stdout, stderr });
  if (outcome !== "parsed") return outcome === "help" ? EXIT_STOPPED : EXIT_USAGE;
  const { port, sets, nodes, dir } = program.opts<{
    port: number;
    sets: number;
    nodes: number;
    dir?: string;
  }>();
  const problem = shapeProblem({ port, sets, nodesPerSet: nodes });
  if (problem === undefined) return { port, sets, nodesPerSet: nodes, directory: dir };
  stderr.write(`error: ${problem}\n`);
  return EXIT_USAGE;
}

function shapeProblem({ port, sets, nodesPerSet }: PlaygroundShape): string | undefined {
  const count = sets * nodesPerSet;
  if (count > NODES_MAX) return `${count} nodes in one process are too many: at most ${NODES_MAX}`;
  if (port + count - 1 + PEER_PORT_OFFSET > PORT_MAX) return `no ${count} ports from ${port} on`;
  return undefined;
}
