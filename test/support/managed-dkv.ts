/**
 * A dkv process under a test's control: started on a directory that outlives it, signalled, killed and started again on
 * the same port. What it says is kept. Every wait has a deadline, since a test that runs out of time takes its
 * children with it and says nothing.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePort } from "./dkv-process.ts";
import { RawConnection } from "./raw-connection.ts";

const MAIN = join(import.meta.dir, "../../src/main.ts");
const READY_MS_MAX = 60_000;
const EXIT_MS_MAX = 60_000;
const POLL_MS = 20;

async function within<T>(ms: number, what: string, promise: Promise<T>): Promise<T> {
  let timer: Timer | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} took longer than ${ms} ms`)), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

export interface RunResult {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a command to its end. `input` goes to its standard input. */
export async function runCommand(
  words: readonly string[],
  options: { readonly input?: Uint8Array; readonly msMax?: number } = {},
): Promise<RunResult> {
  const child = Bun.spawn([...words], {
    stdin: options.input ?? "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  try {
    const [stdout, stderr, exitCode] = await within(
      options.msMax ?? EXIT_MS_MAX,
      words.join(" "),
      Promise.all([child.stdout.text(), child.stderr.text(), child.exited]),
    );
    return { exitCode, stdout, stderr };
  } finally {
    child.kill("SIGKILL");
  }
}

/** Runs dkv with arguments that make it end by itself. */
export function runDkv(args: readonly string[]): Promise<RunResult> {
  return runCommand(["bun", MAIN, ...args]);
}

export class ManagedDkv {
  readonly port: number;
  readonly directory: string;
  readonly #args: readonly string[];
  #child: Bun.Subprocess<"ignore", "pipe", "pipe"> | undefined;
  #output: Promise<string[]> = Promise.resolve([]);

  private constructor(args: readonly string[]) {
    this.port = freePort();
    this.directory = mkdtempSync(join(tmpdir(), "dkv-process-"));
    this.#args = args;
  }

  /** Starts a server with `args` behind port and directory; resolves once it takes connections. */
  static async start(args: readonly string[] = []): Promise<ManagedDkv> {
    const server = new ManagedDkv(args);
    await server.restart();
    return server;
  }

  /** Starts it again. REQUIRES: it has ended. */
  async restart(): Promise<void> {
    const words = ["--bind", "127.0.0.1", "--port", `${this.port}`, "--dir", this.directory];
    const child = Bun.spawn(["bun", MAIN, ...words, ...this.#args], {
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
    });
    this.#child = child;
    this.#output = Promise.all([child.stdout.text(), child.stderr.text()]);
    const deadline = performance.now() + READY_MS_MAX;
    for (;;) {
      try {
        (await RawConnection.open(this.port)).close();
        return;
      } catch (cause) {
        if (child.exitCode !== null || performance.now() > deadline) {
          throw new Error(`dkv did not start: ${await this.#end("SIGKILL")}`, { cause });
        }
        await Bun.sleep(POLL_MS);
      }
    }
  }

  get pid(): number {
    return this.#child!.pid;
  }

  /** Bytes of memory that the process has resident. */
  async residentBytes(): Promise<number> {
    const statm = await Bun.file(`/proc/${this.pid}/statm`).text();
    return Number(statm.split(" ")[1]) * 4096;
  }

  /** Ends it with SIGTERM; its exit code. */
  async terminate(): Promise<number> {
    await this.#end("SIGTERM");
    return this.#child!.exitCode ?? -1;
  }

  /** kill -9. */
  async kill(): Promise<void> {
    await this.#end("SIGKILL");
  }

  /** Kills it and removes its directory. */
  async dispose(): Promise<void> {
    await this.#end("SIGKILL");
    rmSync(this.directory, { recursive: true, force: true });
  }

  async #end(signal: "SIGTERM" | "SIGKILL"): Promise<string> {
    const child = this.#child;
    if (child === undefined) return "";
    child.kill(signal);
    await within(EXIT_MS_MAX, `the end after ${signal}`, child.exited);
    return (await this.#output).join("\n");
  }
}
