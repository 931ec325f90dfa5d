/** A program that somebody starts in a terminal and follows by what it prints. */
import { expect } from "bun:test";
import { until } from "./dkv-cluster.ts";

function isFree(port: number): boolean {
  try {
    Bun.listen({ hostname: "127.0.0.1", port, socket: { data() {} } }).stop(true);
    return true;
  } catch {
    return false;
  }
}

/** The first of `count` ports that are free with what lies `offsets` behind each; below those of outgoing connections. */
export function freePorts(count: number, offsets: readonly number[] = [10_000]): number {
  for (let port = 11_000 + ((process.pid * 37) % 9000); ; port += count) {
    const ports = Array.from({ length: count }, (_, index) => port + index);
    if (ports.every((each) => [0, ...offsets].every((offset) => isFree(each + offset))))
      return port;
  }
}

export class FollowedProcess {
  readonly child: Bun.Subprocess<"pipe", "pipe", "pipe">;
  output = "";
  readonly #read: Promise<void>;

  constructor(command: readonly string[]) {
    const pipes = { stdin: "pipe", stdout: "pipe", stderr: "pipe" } as const;
    this.child = Bun.spawn([process.execPath, ...command], pipes);
    this.#read = this.#readAll();
  }

  async says(text: string | RegExp): Promise<void> {
    await until(
      `it says ${text}`,
      async () => this.output.search(text) >= 0 || this.child.exitCode !== null,
      () => this.output,
    );
    expect(this.output).toMatch(text);
  }

  async end(signal: "SIGINT" | "SIGTERM" | "SIGKILL"): Promise<number> {
    this.child.kill(signal);
    return await this.exited();
  }

  async exited(): Promise<number> {
    const code = await this.child.exited;
    await this.#read;
    return code;
  }

  async #readAll(): Promise<void> {
    const decoder = new TextDecoder();
    for await (const chunk of this.child.stdout) this.output += decoder.decode(chunk);
    this.output += await this.child.stderr.text();
  }
}
