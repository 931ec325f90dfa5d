/** A process on a host of the lab: started, killed, paused and started again; what it prints goes to a file. */
import { closeSync, openSync, readFileSync } from "node:fs";

export class LabProcess {
  readonly logPath: string;
  #child: Bun.Subprocess | undefined;
  #isPaused = false;
  #mayEnd = false;

  constructor(logPath: string) {
    this.logPath = logPath;
  }

  /** REQUIRES: it does not run. Does not wait until it serves. */
  start(command: readonly string[]): void {
    if (this.isRunning) throw new Error(`already runs: ${command.join(" ")}`);
    const output = openSync(this.logPath, "a");
    this.#child = Bun.spawn([...command], { stdin: "ignore", stdout: output, stderr: output });
    closeSync(output);
    this.#isPaused = false;
    this.#mayEnd = false;
  }

  /** It has ended, and nobody had made it. */
  get hasCrashed(): boolean {
    return this.#child !== undefined && !this.isRunning && !this.#mayEnd;
  }

  /** What is done to it may end it. */
  allowEnd(): void {
    this.#mayEnd = true;
  }

  get isRunning(): boolean {
    const child = this.#child;
    return child !== undefined && child.exitCode === null && child.signalCode === null;
  }

  get isPaused(): boolean {
    return this.isRunning && this.#isPaused;
  }

  pause(): void {
    this.#child?.kill("SIGSTOP");
    this.#isPaused = true;
  }

  resume(): void {
    this.#child?.kill("SIGCONT");
    this.#isPaused = false;
  }

  async kill(): Promise<void> {
    // A crash before stays one.
    if (this.isRunning) this.#mayEnd = true;
    this.#child?.kill("SIGKILL");
    await this.#child?.exited;
  }

  /** Asks it to end, and kills it if it does not in time; whether it ended by itself. */
  async terminate(waitMs: number): Promise<boolean> {
    if (this.isRunning) this.#mayEnd = true;
    this.#child?.kill("SIGTERM");
    const late = Bun.sleep(waitMs).then(() => true);
    const isLate = await Promise.race([this.#child?.exited.then(() => false), late]);
    if (isLate === true) await this.kill();
    return isLate !== true;
  }

  get lastWords(): string {
    return readFileSync(this.logPath, "utf8").slice(-4000);
  }
}
