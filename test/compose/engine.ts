/**
 * The engine that runs containers: the one that answers already, or, for root, a dockerd of its own with its files in one
 * directory, which stop() ends. Programs are run to their end, and what they print is shown only when they fail.
 */
import { existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const START_MS_MAX = 60_000;
const STOP_MS_MAX = 60_000;
const POLL_MS = 200;
const LAST_WORDS = 3000;
/** Fails without an engine; `docker info` does not, in some releases. */
const ANSWERS = ["docker", "version", "--format", "{{.Server.Version}}"];

export interface RunOptions {
  readonly cwd?: string;
  readonly environment?: Readonly<Record<string, string>>;
  readonly timeoutMs?: number;
}

/** What it printed to stdout. */
export async function run(command: readonly string[], options: RunOptions = {}): Promise<string> {
  const child = Bun.spawn([...command], {
    ...{ stdin: "ignore", stdout: "pipe", stderr: "pipe", killSignal: "SIGKILL" },
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    env: { ...process.env, ...options.environment },
    timeout: options.timeoutMs ?? 600_000,
  });
  const [stdout, stderr, status] = await Promise.all([
    child.stdout.text(),
    child.stderr.text(),
    child.exited,
  ]);
  if (status === 0) return stdout;
  throw new Error(`${command.join(" ")}: ${(stdout + stderr).slice(-LAST_WORDS)}`);
}

async function succeeds(command: readonly string[], options?: RunOptions): Promise<boolean> {
  try {
    await run(command, options);
    return true;
  } catch {
    return false;
  }
}

/** The words that compose is called by here; undefined: it is not. */
async function findCompose(): Promise<readonly string[] | undefined> {
  if (await succeeds(["docker", "compose", "version"])) return ["docker", "compose"];
  return Bun.which("docker-compose") === null ? undefined : ["docker-compose"];
}

interface OwnEngine {
  readonly process: Bun.Subprocess;
  readonly directory: string;
}

export class Engine {
  readonly composeWords: readonly string[];
  readonly #environment: Readonly<Record<string, string>>;
  /** Of a dockerd that was started here. */
  readonly #own: OwnEngine | undefined;

  private constructor(composeWords: readonly string[], own?: OwnEngine) {
    this.composeWords = composeWords;
    this.#own = own;
    this.#environment =
      own === undefined ? {} : { DOCKER_HOST: `unix://${own.directory}/docker.sock` };
  }

  /** `dataDirectory`: images of an own engine stay there for the next run. Throws with what is missing. */
  static async find(dataDirectory: string): Promise<Engine> {
    if (Bun.which("docker") === null) throw new Error("no docker (Debian: docker.io)");
    const compose = await findCompose();
    if (compose === undefined) throw new Error("no docker-compose (Debian: docker-compose)");
    if (await succeeds(ANSWERS)) return new Engine(compose);
    if (process.getuid?.() !== 0)
      throw new Error("no engine answers `docker version`, and only root can start one");
    if (Bun.which("dockerd") === null)
      throw new Error("no engine answers `docker version`, and there is no dockerd");
    return Engine.#start(compose, dataDirectory);
  }

  static async #start(compose: readonly string[], dataDirectory: string): Promise<Engine> {
    mkdirSync(dataDirectory, { recursive: true });
    const directory = mkdtempSync(join(tmpdir(), "dkv-engine-"));
    const log = join(directory, "log");
    const output = openSync(log, "w");
    const child = Bun.spawn(
      [
        ...["dockerd", "-H", `unix://${directory}/docker.sock`, "--data-root", dataDirectory],
        ...["--exec-root", join(directory, "exec"), "--pidfile", join(directory, "pid")],
        // The project has a network of its own.
        ...["--bridge", "none"],
      ],
      { stdin: "ignore", stdout: output, stderr: output, detached: true },
    );
    const engine = new Engine(compose, { process: child, directory });
    const deadline = performance.now() + START_MS_MAX;
    while (!(existsSync(join(directory, "docker.sock")) && (await engine.answers()))) {
      if (child.exitCode !== null || performance.now() > deadline) {
        const words = readFileSync(log, "utf8").slice(-LAST_WORDS);
        await engine.stop();
        throw new Error(`dockerd does not start:\n${words}`);
      }
      await Bun.sleep(POLL_MS);
    }
    return engine;
  }

  answers(): Promise<boolean> {
    return succeeds(ANSWERS, { environment: this.#environment });
  }

  docker(words: readonly string[], options: RunOptions = {}): Promise<string> {
    return this.#run(["docker", ...words], options);
  }

  compose(words: readonly string[], options: RunOptions = {}): Promise<string> {
    return this.#run([...this.composeWords, ...words], options);
  }

  /** Ends the dockerd that was started here. */
  async stop(): Promise<void> {
    if (this.#own === undefined) return;
    const { process: child, directory } = this.#own;
    child.kill("SIGTERM");
    const timer = setTimeout(() => child.kill("SIGKILL"), STOP_MS_MAX);
    await child.exited;
    clearTimeout(timer);
    // What it does not take down itself.
    await succeeds(["umount", join(directory, "exec", "netns", "default")]);
    rmSync(directory, { recursive: true, force: true });
  }

  #run(command: readonly string[], options: RunOptions): Promise<string> {
    return run(command, {
      ...options,
      environment: { ...this.#environment, ...options.environment },
    });
  }
}
