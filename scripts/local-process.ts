/**
 * A process that a script keeps running. It has a process group of its own, so that Ctrl-C reaches the script alone,
 * which then ends its processes in order.
 */
import { appendFileSync, readFileSync, writeFileSync } from "node:fs";

const LAST_WORDS = 2000;

export interface LocalProcessOptions {
  readonly name: string;
  readonly command: readonly string[];
  /** What it writes, the lines of this run. */
  readonly outputFile: string;
  onLine?(line: string): void;
}

export class LocalProcess {
  readonly #options: LocalProcessOptions;
  readonly #child: Bun.Subprocess<"ignore", "pipe", "pipe">;

  constructor(options: LocalProcessOptions) {
    this.#options = options;
    writeFileSync(options.outputFile, "");
    this.#child = Bun.spawn([...options.command], {
      ...{ stdin: "ignore", stdout: "pipe", stderr: "pipe", detached: true },
    });
    void this.#follow(this.#child.stdout);
    void this.#follow(this.#child.stderr);
  }

  get name(): string {
    return this.#options.name;
  }

  get command(): readonly string[] {
    return this.#options.command;
  }

  get isRunning(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** As its output ends. */
  get lastWords(): string {
    return readFileSync(this.#options.outputFile, "utf8").slice(-LAST_WORDS);
  }

  get howItEnded(): string {
    const { signalCode, exitCode } = this.#child;
    return signalCode === null ? `exit code ${exitCode}` : `${signalCode}`;
  }

  stop(): void {
    if (this.isRunning) this.#child.kill("SIGTERM");
  }

  /** Resolves when it has ended; after `killAfterMs` it is killed. */
  async ended(killAfterMs?: number): Promise<void> {
    const timer =
      killAfterMs === undefined
        ? undefined
        : setTimeout(() => this.#child.kill("SIGKILL"), killAfterMs);
    await this.#child.exited;
    clearTimeout(timer);
  }

  async #follow(stream: ReadableStream<Uint8Array>): Promise<void> {
    const decoder = new TextDecoder();
    let rest = "";
    for await (const chunk of stream) {
      appendFileSync(this.#options.outputFile, chunk);
      const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
      rest = lines.pop()!;
      for (const line of lines) this.#options.onLine?.(line);
    }
  }
}
