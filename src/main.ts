/**
 * The composition root: configuration → lock → store → server, and the signals that end it.
 *
 *   bun src/main.ts [config-file] [--directive value …]      the server
 *   bun src/main.ts check <dir>                              reads every byte of a data directory and reports
 */

import packageJson from "../package.json" with { type: "json" };
import { ByteBudget } from "./base/byte-budget.ts";
import { type Clock, SystemClock } from "./base/clock.ts";
import { DirectoryLock } from "./base/directory-lock.ts";
import { CorruptionError, DiskError, StartupError } from "./base/errors.ts";
import { DiskFileSystem } from "./base/file-system.ts";
import { SystemHost } from "./base/host.ts";
import { createLogger, type RootLogger } from "./base/logger.ts";
import { MemoryGuard } from "./base/memory-guard.ts";
import { type ProcessMemory, SystemProcessMemory } from "./base/process-memory.ts";
import { CacheSize } from "./cache-size.ts";
import { Config } from "./config/config.ts";
import { informationFor } from "./config/help.ts";
import { WorkerExecutor } from "./lsm/storage-executor.ts";
import { divideMemory } from "./memory-plan.ts";
import { Server } from "./server/server.ts";
import { openStore } from "./store/open-store.ts";
import type { Store } from "./store/store.ts";

/** A service manager may signal the whole process group, so one request to stop arrives twice. */
const SECOND_SIGNAL_AFTER_MS = 500;
const EXIT_FAILURE = 1;

function loadConfig(argv: readonly string[]): Config {
  return Config.load({ argv, environment: process.env });
}

/** What keeps the process inside its memory budget, and uses what is left of it. */
function keepBudget(
  config: Config,
  store: Store,
  memory: ProcessMemory,
  clock: Clock,
): { stop(): void }[] {
  const guard = new MemoryGuard(memory, config.memoryBytes);
  guard.watch(clock);
  if (config.get("engine-block-cache-percent") !== 0) return [guard];
  const { cache } = store.internals.lsm;
  return [guard, new CacheSize(cache, memory, config.memoryBytes, clock)];
}

async function serve(config: Config, logger: RootLogger): Promise<void> {
  const clock = new SystemClock();
  const fileSystem = new DiskFileSystem();
  const directory = config.get("dir");
  fileSystem.makeDirectory(directory);
  const lock = DirectoryLock.acquire(directory);
  const log = logger.child("server");
  for (const warning of config.warnings) log.warn({}, warning);
  const plan = divideMemory(config);
  const largeBytes = new ByteBudget(plan.clientBytes);
  const onFatal = (error: Error): void => {
    log.error({ error }, "cannot go on: stopping without acknowledging anything more");
    process.exit(EXIT_FAILURE);
  };
  let server: Server | undefined;
  const startMs = clock.monotonicMs();
  const { store, recovery } = await openStore({
    fileSystem,
    directory,
    clock,
    executor: await WorkerExecutor.start(config.memoryBytes),
    random: crypto.getRandomValues(new Uint8Array(24)),
    syncPolicy: config.get("appendfsync"),
    ...plan,
    largeBytes,
    minFreeDiskBytes: () => config.get("min-free-disk"),
    onFatal,
    onDiskFull: (error) => log.warn({ error }, "no room on the disk: to be tried again"),
    onCommitted: () => server?.onCommitted(),
    onRecovering: (done, total) => log.info({ done, total }, "replaying the log"),
  });
  log.info({ ...recovery, ms: Math.round(clock.monotonicMs() - startMs) }, "recovered");

  const processMemory = new SystemProcessMemory();
  const memoryKeepers = keepBudget(config, store, processMemory, clock);
  let stoppingSinceMs = 0;
  const stop = async (): Promise<void> => {
    if (stoppingSinceMs !== 0) {
      if (clock.monotonicMs() - stoppingSinceMs > SECOND_SIGNAL_AFTER_MS)
        process.exit(EXIT_FAILURE);
      return;
    }
    stoppingSinceMs = clock.monotonicMs();
    log.info({}, "stopping");
    for (const keeper of memoryKeepers) keeper.stop();
    await server!.stop();
    await store.close();
    lock.release();
    log.info({}, "stopped");
    process.exit(0);
  };
  const requestStop = (): void => {
    stop().catch(onFatal);
  };
  server = new Server({
    largeBytes,
    config,
    store,
    clock,
    logger,
    host: new SystemHost(),
    processMemory,
    runId: Buffer.from(crypto.getRandomValues(new Uint8Array(20))).toString("hex"),
    onShutdown: requestStop,
    onFatal,
  });
  server.listen();
  process.on("SIGTERM", requestStop);
  process.on("SIGINT", requestStop);
  process.on("SIGHUP", () => logger.reopen());
  log.info(
    { port: server.port, pid: process.pid, maxmemory: config.memoryBytes, dir: directory },
    "ready",
  );
}

/** Loaded only here: a server has no use for it. */
async function check(argv: readonly string[]): Promise<void> {
  const { runCheck } = await import("./check-command.ts");
  process.exitCode = runCheck(argv, {
    fileSystem: new DiskFileSystem(),
    clock: new SystemClock(),
    stdout: process.stdout,
    stderr: process.stderr,
    command: "bun src/main.ts",
  });
}

async function main(argv: readonly string[]): Promise<void> {
  if (argv[0] === "check") {
    await check(argv.slice(1));
    return;
  }
  const information = informationFor(argv, "bun src/main.ts", packageJson.version);
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
