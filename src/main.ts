/**
 * The composition root: configuration → lock → store → server, and the signals that end it.
 *
 *   bun src/main.ts [config-file] [--directive value …]      the server
 *   bun src/main.ts server [config-file] …                   the same
 *   bun src/main.ts check <dir>                              reads every byte of a data directory and reports
 *   bun src/main.ts playground                               a cluster in this process, to try things out
 *   bun src/main.ts cli | cluster | bench …                  tools that talk to servers (src/tools)
 */

import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import packageJson from "../package.json" with { type: "json" };
import { ByteBudget } from "./base/byte-budget.ts";
import { type Clock, SystemClock } from "./base/clock.ts";
import { DirectoryLock } from "./base/directory-lock.ts";
import { CorruptionError, DiskError, StartupError } from "./base/errors.ts";
import { DiskFileSystem } from "./base/file-system.ts";
import { SystemHost } from "./base/host.ts";
import { createLogger, type RootLogger } from "./base/logger.ts";
import { SystemProcessMemory } from "./base/process-memory.ts";
import { ZookeeperCoordinator } from "./cluster/coordination/zookeeper-coordinator.ts";
import { clusterSettings } from "./cluster-settings.ts";
import { ClusteredNode } from "./clustered-node.ts";
import { Config } from "./config/config.ts";
import { informationFor } from "./config/help.ts";
import type { HttpPort, HttpPortOptions } from "./http/http-port.ts";
import { WorkerExecutor } from "./lsm/storage-executor.ts";
import { divideMemory } from "./memory-plan.ts";
import type { NodeParts, RunningNode } from "./node-parts.ts";
import { startStandalone } from "./standalone-node.ts";

/** A service manager may signal the whole process group, so one request to stop arrives twice. */
const SECOND_SIGNAL_AFTER_MS = 500;
const EXIT_FAILURE = 1;
/** How the program is started, as help and hints show it: the launcher says what it is called. */
const COMMAND = process.env["DKV_COMMAND"] ?? "dkv";

function loadConfig(argv: readonly string[]): Config {
  return Config.load({ argv, environment: process.env });
}

/** The node that `config` describes. Its parts are made here, from the real clock, disk and network. */
function startNode(config: Config, parts: NodeParts): Promise<RunningNode> {
  if (!config.get("cluster-enabled")) return startStandalone(parts);
  const { clock, logger, host } = parts;
  const settings = clusterSettings(config, {
    addresses: host.addresses,
    readText: (path) => readFileSync(path, "utf8"),
  });
  const log = logger.child("cluster");
  log.info({ zookeeper: config.get("zookeeper") }, "joining the cluster");
  const digest = config.get("zookeeper-auth");
  const coordinator = new ZookeeperCoordinator({
    address: settings.zookeeper,
    sessionTimeoutMs: config.get("cluster-zookeeper-session-timeout"),
    ...(digest === "" ? {} : { digest }),
    ...{ clock, logger: log, random: Math.random },
  });
  return ClusteredNode.start(parts, settings, coordinator);
}

/** Loaded only where it is asked for: a server without it starts sooner. */
async function openHttpPort(options: HttpPortOptions): Promise<HttpPort | undefined> {
  if (options.config.get("http-port") === 0) return undefined;
  const { HttpPort } = await import("./http/http-port.ts");
  return new HttpPort(options);
}

/** `stop` is called once; who asks again later does not want to wait. What asks for it, besides signals. */
function onStopRequest(clock: Clock, stop: () => void): () => void {
  let sinceMs = 0;
  const request = (): void => {
    if (sinceMs === 0) {
      sinceMs = clock.monotonicMs();
      stop();
    } else if (clock.monotonicMs() - sinceMs > SECOND_SIGNAL_AFTER_MS) process.exit(EXIT_FAILURE);
  };
  process.on("SIGTERM", request);
  process.on("SIGINT", request);
  return request;
}

const randomBytes = (bytes: number) => crypto.getRandomValues(new Uint8Array(bytes));

async function serve(config: Config, logger: RootLogger): Promise<void> {
  const clock = new SystemClock();
  const fileSystem = new DiskFileSystem();
  const directory = config.get("dir");
  fileSystem.makeDirectory(directory);
  const lock = DirectoryLock.acquire(directory);
  const log = logger.child("server");
  for (const warning of config.warnings) log.warn({}, warning);
  const plan = divideMemory(config);
  const onFatal = (error: Error): void => {
    log.error({ error }, "cannot go on: stopping without acknowledging anything more");
    process.exit(EXIT_FAILURE);
  };
  process.on("uncaughtException", onFatal);
  process.on("unhandledRejection", onFatal);
  const http = await openHttpPort({ config, clock, logger: logger.child("http"), onFatal });
  let node: RunningNode | undefined;
  const stop = async (): Promise<void> => {
    log.info({}, "stopping");
    // Probes say so until the end.
    await http?.drain();
    // Nothing has been promised to anybody before it is ready.
    await node?.stop();
    await http?.stop();
    lock.release();
    log.info({}, "stopped");
    process.exit(0);
  };
  const requestStop = onStopRequest(clock, () => {
    stop().catch(onFatal);
  });
  process.on("SIGHUP", () => logger.reopen());
  node = await startNode(config, {
    ...{ config, logger, clock, fileSystem, directory, plan, onFatal },
    executor: await WorkerExecutor.start(config.memoryBytes),
    largeBytes: new ByteBudget(plan.clientBytes),
    host: new SystemHost(),
    processMemory: new SystemProcessMemory(),
    random: randomBytes,
    onShutdown: requestStop,
  });
  http?.serve(node.server);
  log.info(
    { port: node.port, pid: process.pid, maxmemory: config.memoryBytes, dir: directory },
    "ready",
  );
}

/** Output that goes nowhere ends a tool: silently when its reader has seen enough, as `head` has. */
function endUnread(error: NodeJS.ErrnoException): never {
  if (error.code !== "EPIPE") process.stderr.write(`dkv: cannot write: ${error.message}\n`);
  process.exit(EXIT_FAILURE);
}

/** What follows is loaded only when it is asked for: a server has no use for it. */
async function runTool(argv: readonly string[]): Promise<void> {
  const { runTool: run } = await import("./tools/run-tool.ts");
  const { toolEnvironment } = await import("./tool-environment.ts");
  const parts = { command: COMMAND, variables: process.env, random: Math.random };
  process.stdout.on("error", endUnread);
  process.exitCode = await run(argv, toolEnvironment(parts));
}

async function check(argv: readonly string[]): Promise<void> {
  const { runCheck } = await import("./check-command.ts");
  process.exitCode = runCheck(argv, {
    fileSystem: new DiskFileSystem(),
    clock: new SystemClock(),
    stdout: process.stdout,
    stderr: process.stderr,
    command: COMMAND,
  });
}

/** Loaded only here, too. Ends the process: what the nodes have begun may outlive them. */
async function playground(argv: readonly string[]): Promise<never> {
  const { runPlayground } = await import("./playground-command.ts");
  const clock = new SystemClock();
  const status = await runPlayground(argv, {
    ...{ clock, fileSystem: new DiskFileSystem(), host: new SystemHost(), random: randomBytes },
    processMemory: new SystemProcessMemory(),
    ...{ stdout: process.stdout, stderr: process.stderr, command: COMMAND },
    makeTemporaryDirectory: () => mkdtempSync(join(tmpdir(), "dkv-playground-")),
    removeDirectory: (path) => rmSync(path, { recursive: true, force: true }),
    onStop: (listener) => onStopRequest(clock, listener),
    onLine: (listener) => process.stdin.on("data", listener),
  });
  process.exit(status);
}

const SUBCOMMANDS: Readonly<Record<string, (argv: readonly string[]) => Promise<void>>> = {
  server: ([, ...argv]) => startServer(argv),
  check: ([, ...argv]) => check(argv),
  cli: runTool,
  cluster: runTool,
  bench: runTool,
  playground: ([, ...argv]) => playground(argv),
};

function main(argv: readonly string[]): Promise<void> {
  const [name = ""] = argv;
  if (Object.hasOwn(SUBCOMMANDS, name)) return SUBCOMMANDS[name]!(argv);
  if (/^[a-z]+$/.test(name) && !existsSync(name)) {
    const names = Object.keys(SUBCOMMANDS).join(", ");
    throw new StartupError(
      `there is neither a command nor a configuration file '${name}'.\nCommands: ${names}; see ${COMMAND} --help`,
    );
  }
  return startServer(argv);
}

async function startServer(argv: readonly string[]): Promise<void> {
  const information = informationFor(argv, COMMAND, packageJson.version);
  if (information !== undefined) {
    process.stdout.write(information);
    return;
  }
  const config = loadConfig(argv);
  const logger = createLogger({ level: config.get("loglevel"), file: config.get("logfile") });
  config.onChange("loglevel", (level) => logger.setLevel(level));
  try {
    await serve(config, logger);
  } catch (error) {
    if (!(error instanceof CorruptionError) && !(error instanceof DiskError)) throw error;
    logger.child("server").error({ error }, "cannot start");
    process.exit(EXIT_FAILURE);
  }
}

try {
  await main(process.argv.slice(2));
} catch (error) {
  if (!(error instanceof StartupError)) throw error;
  process.stderr.write(`dkv: ${error.message}\n`);
  process.exit(EXIT_FAILURE);
}
