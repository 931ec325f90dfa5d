/**
 * What every benchmark shares: fresh directories, server processes under measurement, medians, progress.
 *
 * A server is started from a command line, is ready when it answers PING, and is killed with its directory removed
 * when the benchmark ends, however it ends. Servers' own output goes to `<directory>.log`, shown when one fails to start.
 */

import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { command } from "./client.ts";
import { cpuSeconds, othersCpuSeconds } from "./process-stats.ts";

const START_DEADLINE_MS = 120_000;
const STOP_DEADLINE_MS = 15_000;
const QUIET_WINDOW_MS = 200;
const MACHINE_WINDOW_MS = 500;

export type FsyncPolicy = "everysec" | "always";

export interface LaunchOptions {
  port: number;
  directory: string;
  fsync: FsyncPolicy;
  maxmemory: string;
}

/** A kind of server: its name in tables and its command line. */
export interface ServerKind {
  name: string;
  version: string;
  commandLine(options: LaunchOptions): string[];
}

/** The benchmark cannot run as asked; the message says what to do. Printed without a stack. */
export class SetupError extends Error {
  override readonly name = "SetupError";
}

/** What was measured did what it never may. Thrown when all is printed and saved; printed without a stack. */
export class Violation extends Error {
  override readonly name = "Violation";
}

const repositoryRoot = join(import.meta.dir, "..");

/** dkv from this working tree, or the command line given by `--target`, with {port} {dir} {fsync} {maxmemory} filled in. */
export function targetKind(template: string | undefined): ServerKind {
  if (template !== undefined)
    return { name: "target", version: template, commandLine: (o) => fillIn(template, o) };
  const entry = join(repositoryRoot, "src/main.ts");
  return {
    name: "dkv",
    version: "this working tree",
    commandLine: (o) => [
      ...[process.execPath, entry, "--port", String(o.port), "--dir", o.directory],
      ...["--appendfsync", o.fsync, "--maxmemory", o.maxmemory],
    ],
  };
}

/**
 * redis-server, or a descendant with its flags, by name or path; undefined for "none". Its log is on and snapshots are
 * off; everything else is at its defaults, log rewriting included.
 */
export function peerKind(program: string): ServerKind | undefined {
  if (program === "none") return undefined;
  const executable = requireProgram(program, "redis-server");
  return {
    name: basename(executable).replace(/-server$/, ""),
    version: Bun.spawnSync([executable, "--version"]).stdout.toString().trim(),
    commandLine: (o) => [
      ...[executable, "--port", String(o.port), "--dir", o.directory, "--save", ""],
      ...["--appendonly", "yes", "--appendfsync", o.fsync],
    ],
  };
}

/** Finds a program on PATH. Throws a SetupError that names the package to install. */
export function requireProgram(name: string, debianPackage: string): string {
  const path = Bun.which(name);
  if (path !== null) return path;
  throw new SetupError(
    `${name} not found on PATH; install it (Debian: apt install ${debianPackage})`,
  );
}

function fillIn(template: string, options: LaunchOptions): string[] {
  const words = template
    .replaceAll("{port}", String(options.port))
    .replaceAll("{dir}", options.directory);
  return words
    .replaceAll("{fsync}", options.fsync)
    .replaceAll("{maxmemory}", options.maxmemory)
    .split(/\s+/)
    .map((word) => (word === '""' ? "" : word));
}

export interface WorkspaceOptions {
  parent: string | undefined;
  portBase: number;
  keep: boolean;
}

/** The temporary root of one run and all servers in it. Owns both: `close` ends the servers and removes the files. */
export class Workspace {
  readonly root: string;
  /** Used by others on this machine when this run began. */
  readonly busyCoresBefore: number;
  readonly #servers: ServerProcess[] = [];
  readonly #keep: boolean;
  #nextPort: number;

  static async open(options: WorkspaceOptions): Promise<Workspace> {
    const before = othersCpuSeconds();
    await Bun.sleep(MACHINE_WINDOW_MS);
    const used = othersCpuSeconds() - before;
    return new Workspace(options, used / (MACHINE_WINDOW_MS / 1000));
  }

  private constructor(options: WorkspaceOptions, busyCoresBefore: number) {
    this.busyCoresBefore = busyCoresBefore;
    const parent = options.parent ?? tmpdir();
    mkdirSync(parent, { recursive: true });
    this.root = mkdtempSync(join(parent, "dkv-bench-"));
    this.#nextPort = options.portBase;
    this.#keep = options.keep;
    process.on("exit", () => this.close());
    for (const signal of ["SIGINT", "SIGTERM"] as const)
      process.on(signal, () => process.exit(130));
  }

  /** Starts a server in a fresh directory and waits until it answers. */
  async start(
    kind: ServerKind,
    settings: Pick<LaunchOptions, "fsync" | "maxmemory">,
  ): Promise<ServerProcess> {
    const port = this.#freePort();
    const directory = join(this.root, `${kind.name}-${settings.fsync}-${port}`);
    mkdirSync(directory);
    const server = new ServerProcess(kind, { ...settings, port, directory });
    this.#servers.push(server);
    await server.launch();
    return server;
  }

  close(): void {
    for (const server of this.#servers) server.killNow();
    if (!this.#keep) rmSync(this.root, { recursive: true, force: true });
  }

  #freePort(): number {
    for (let attempts = 0; attempts < 100; attempts++) {
      const port = this.#nextPort++;
      try {
        Bun.listen({ hostname: "127.0.0.1", port, socket: { data() {} } }).stop(true);
        return port;
      } catch {
        // Taken by someone else: try the next.
      }
    }
    throw new SetupError("no free port found; choose another range with --port-base");
  }
}

export class ServerProcess {
  readonly kind: ServerKind;
  readonly options: LaunchOptions;
  /** From process creation to the first PONG. */
  readyMs = 0;
  #process: Bun.Subprocess | undefined = undefined;

  constructor(kind: ServerKind, options: LaunchOptions) {
    this.kind = kind;
    this.options = options;
  }

  get port(): number {
    return this.options.port;
  }

  get pid(): number {
    return this.#process?.pid ?? -1;
  }

  get name(): string {
    return this.kind.name;
  }

  get isRunning(): boolean {
    return this.#process?.exitCode === null && this.#process.signalCode === null;
  }

  /** Starts the process on its directory, fresh or not, and waits for PONG. */
  async launch(): Promise<void> {
    const logPath = `${this.options.directory}.log`;
    const log = openSync(logPath, "a");
    const commandLine = this.kind.commandLine(this.options);
    const startedAt = performance.now();
    this.#process = Bun.spawn(commandLine, { stdin: "ignore", stdout: log, stderr: log });
    closeSync(log);
    while (!(await this.#answersPing())) {
      const waitedMs = performance.now() - startedAt;
      if (this.#process.exitCode !== null || waitedMs > START_DEADLINE_MS) {
        const tail = readFileSync(logPath, "utf8").trim().split("\n").slice(-15).join("\n");
        throw new SetupError(`${this.name} did not start: ${commandLine.join(" ")}\n${tail}`);
      }
      await Bun.sleep(5);
    }
    this.readyMs = performance.now() - startedAt;
  }

  /** SIGTERM, then SIGKILL after a while. */
  async stop(): Promise<void> {
    const running = this.#process;
    if (running === undefined) return;
    running.kill("SIGTERM");
    const timer = setTimeout(() => running.kill("SIGKILL"), STOP_DEADLINE_MS);
    await running.exited;
    clearTimeout(timer);
  }

  /** kill -9, and waits until the process is gone. */
  async crash(): Promise<void> {
    this.#process?.kill("SIGKILL");
    await this.#process?.exited;
  }

  killNow(): void {
    if (this.#process?.exitCode === null) this.#process.kill("SIGKILL");
  }

  cpuSeconds(): number {
    return cpuSeconds(this.pid);
  }

  /** Waits until the server has done its deferred work: a window with at most 10 % of a core used. */
  async settle(deadlineMs: number): Promise<void> {
    const end = performance.now() + deadlineMs;
    let before = this.cpuSeconds();
    while (performance.now() < end) {
      await Bun.sleep(QUIET_WINDOW_MS);
      const now = this.cpuSeconds();
      if (now - before <= (QUIET_WINDOW_MS / 1000) * 0.1 + 0.0001) return;
      before = now;
    }
  }

  async #answersPing(): Promise<boolean> {
    try {
      return (await command(this.port, "PING")) === "PONG";
    } catch {
      return false;
    }
  }
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  if (sorted.length === 0) return Number.NaN;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** One line on stderr that rewrites itself on a terminal, and is a plain line elsewhere. */
export class Progress {
  readonly #startedAt = performance.now();
  #lastPlainAt = 0;

  /** `always` lines are printed off a terminal too; others at most once in five seconds there. */
  show(line: string, always = false): void {
    const elapsed = ((performance.now() - this.#startedAt) / 1000).toFixed(0).padStart(4);
    if (process.stderr.isTTY) {
      process.stderr.write(`\r\x1b[K${elapsed} s  ${line}`);
      return;
    }
    if (!always && performance.now() - this.#lastPlainAt < 5000) return;
    this.#lastPlainAt = performance.now();
    process.stderr.write(`${elapsed} s  ${line}\n`);
  }

  done(): void {
    if (process.stderr.isTTY) process.stderr.write("\r\x1b[K");
  }
}
