/**
 * dkv as a process over a directory that outlives it: started, killed and started again; with little memory for
 * segments, so that a second of writes goes through flushes and merges.
 */
import { closeSync, openSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { RawConnection } from "./raw-connection.ts";

const START_TIMEOUT_MS = 60_000;
const MAIN = join(dirname(dirname(import.meta.dirname)), "src", "main.ts");
const SMALL = [
  ...["--maxmemory", "256mb", "--engine-segment-bytes", "1mb"],
  ...["--engine-segment-pool-percent", "2", "--engine-table-bytes", "1mb"],
  ...["--engine-level-base-bytes", "1mb", "--engine-level0-trigger", "2"],
];

export interface DkvOptions {
  readonly directory: string;
  readonly arguments: readonly string[];
  /** Program and arguments that dkv is started by, such as strace. */
  readonly under?: readonly string[];
}

/** A port that is free now. */
export function freePort(): number {
  const probe = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  probe.stop(true);
  return probe.port;
}

export class DkvProcess {
  readonly port: number;
  readonly #child: Bun.Subprocess;
  readonly #outputPath: string;

  /** Does not wait until it answers: see ready(). Its output goes to a file beside the directory. */
  constructor(options: DkvOptions) {
    this.port = freePort();
    this.#outputPath = `${options.directory}.log`;
    const output = openSync(this.#outputPath, "w");
    const words = [process.execPath, MAIN, "--port", `${this.port}`, "--dir", options.directory];
    this.#child = Bun.spawn([...(options.under ?? []), ...words, ...SMALL, ...options.arguments], {
      stdout: output,
      stderr: output,
    });
    closeSync(output);
  }

  static async start(options: DkvOptions): Promise<DkvProcess> {
    const started = new DkvProcess(options);
    await started.ready();
    return started;
  }

  get pid(): number {
    return this.#child.pid;
  }

  get output(): string {
    return readFileSync(this.#outputPath, "utf8");
  }

  /** Resolves once it takes connections; throws with its output when it does not. */
  async ready(): Promise<void> {
    const deadline = performance.now() + START_TIMEOUT_MS;
    for (;;) {
      try {
        (await RawConnection.open(this.port)).close();
        return;
      } catch (cause) {
        const ended = this.#child.exitCode !== null || this.#child.signalCode !== null;
        if (ended || performance.now() > deadline) {
          await this.kill();
          throw new Error(`dkv does not start: ${this.output}`, { cause });
        }
        await Bun.sleep(10);
      }
    }
  }

  /** Kills it as `kill -9` does; resolves when it is gone. */
  async kill(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#child.exited;
  }

  /** The exit code once it has ended by itself; undefined after `waitMs`. */
  async exitCode(waitMs: number): Promise<number | undefined> {
    const wait = Bun.sleep(waitMs).then(() => undefined);
    return await Promise.race([this.#child.exited, wait]);
  }
}
