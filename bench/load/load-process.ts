/** Starts the processes that make load, apart from the benchmark so that its own work does not disturb them. */

import { join } from "node:path";
import type {
  LoadProgress,
  LoadReport,
  LoadSpec,
  ProbeReady,
  ProbeReport,
  ProbeSpec,
} from "./protocol.ts";

/** Runs a generator to its end. Rejects when it saw a wrong reply or lost a connection. */
export async function runLoad(
  spec: LoadSpec,
  onProgress: (progress: LoadProgress) => void = () => {},
): Promise<LoadReport> {
  let report: LoadReport | undefined;
  const generator = Bun.spawn(
    [process.execPath, join(import.meta.dir, "driver.ts"), JSON.stringify(spec)],
    {
      stdout: "inherit",
      stderr: "pipe",
      ipc: (message: LoadProgress | LoadReport) => {
        if (message.type === "report") report = message;
        else onProgress(message);
      },
    },
  );
  const [errors] = await Promise.all([new Response(generator.stderr).text(), generator.exited]);
  if (report === undefined) throw new Error(errors.trim() || "the load generator ended early");
  return report;
}

/** A running prober; `stop` ends it and tells what it saw. */
export class Prober {
  readonly #process: Bun.Subprocess;
  readonly #ready = Promise.withResolvers<void>();
  readonly #report = Promise.withResolvers<ProbeReport>();

  private constructor(spec: ProbeSpec) {
    // Whoever awaits these sees the rejection; it must not end the benchmark before that.
    this.#ready.promise.catch(() => {});
    this.#report.promise.catch(() => {});
    const script = join(import.meta.dir, "prober.ts");
    this.#process = Bun.spawn([process.execPath, script, JSON.stringify(spec)], {
      stdout: "inherit",
      stderr: "inherit",
      ipc: (message: ProbeReady | ProbeReport) => {
        if (message.type === "ready") this.#ready.resolve();
        else this.#report.resolve(message);
      },
      onExit: () => {
        const error = new Error("the prober ended early");
        this.#ready.reject(error);
        this.#report.reject(error);
      },
    });
  }

  /** Returns once probes are being sent, so that they cover the whole of what follows. */
  static async start(spec: ProbeSpec): Promise<Prober> {
    const prober = new Prober(spec);
    await prober.#ready.promise;
    return prober;
  }

  async stop(): Promise<ProbeReport> {
    if (this.#process.exitCode === null) this.#process.send("stop");
    return await this.#report.promise;
  }
}
