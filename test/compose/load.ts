/**
 * A client as users have it, ioredis's own Cluster from the machine: writes one key after the other, a few at a time,
 * remembers those that were answered, and how long the longest was without an answer. Every key is written once, so a key
 * that was answered must be there.
 */
import { Cluster } from "ioredis";

const CONNECT_MS = 1000;
/** As many commands are on their way at any moment. */
export const WRITERS = 4;
const KEYS_AT_ONCE = 100;

export class Load {
  readonly #port: number;
  #client: Cluster;
  readonly #answered: string[] = [];
  #next = 0;
  #failures: string[] = [];
  #longestMs = 0;
  #isStopped = true;
  #running: Promise<unknown> = Promise.resolve();

  constructor(port: number) {
    this.#port = port;
    this.#client = connect(port);
  }

  /** As another program that starts now. */
  reconnect(): void {
    this.close();
    this.#client = connect(this.#port);
  }

  get answered(): number {
    return this.#answered.length;
  }

  /** Addresses of the nodes that the client is connected to. */
  async addresses(): Promise<string[]> {
    const nodes = this.#client.nodes("all");
    await Promise.all(nodes.map((node) => node.ping()));
    return nodes.map(({ options }) => `${options.host}:${options.port}`).sort();
  }

  begin(): void {
    this.#isStopped = false;
    this.#failures = [];
    this.#longestMs = 0;
    this.#running = Promise.all(Array.from({ length: WRITERS }, () => this.#write()));
  }

  /** What the commands said that failed since begin(), and how long the slowest took. */
  async end(): Promise<{ failures: readonly string[]; longestMs: number }> {
    this.#isStopped = true;
    await this.#running;
    return { failures: this.#failures, longestMs: Math.round(this.#longestMs) };
  }

  /** Answered keys that are not there, or have another value. */
  async missing(): Promise<string[]> {
    const missing: string[] = [];
    for (let at = 0; at < this.#answered.length; at += KEYS_AT_ONCE) {
      const keys = this.#answered.slice(at, at + KEYS_AT_ONCE);
      const values = await Promise.all(keys.map((key) => this.#client.get(key)));
      missing.push(...keys.filter((key, index) => values[index] !== valueFor(key)));
    }
    return missing;
  }

  close(): void {
    this.#client.disconnect();
  }

  async #write(): Promise<void> {
    while (!this.#isStopped) {
      const key = `load:${this.#next++}`;
      const beginMs = performance.now();
      try {
        await this.#client.set(key, valueFor(key));
        this.#answered.push(key);
      } catch (error) {
        this.#failures.push((error as Error).message);
      }
      this.#longestMs = Math.max(this.#longestMs, performance.now() - beginMs);
    }
  }
}

function connect(port: number): Cluster {
  const client = new Cluster([{ host: "127.0.0.1", port }], {
    // An address whose container is gone refuses nothing, and what is sent there waits for this time, 10 s by default.
    redisOptions: { connectTimeout: CONNECT_MS },
  });
  // Of connections, while nodes are down; commands tell of their own.
  client.on("error", () => undefined);
  return client;
}

function valueFor(key: string): string {
  return `value of ${key}`;
}
