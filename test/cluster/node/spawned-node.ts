/** A process with a ClusterNode (node-process.ts), started and killed by a test. */
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { freePort } from "../../support/zookeeper.ts";

const SCRIPT = join(import.meta.dirname, "node-process.ts");
const REQUEST_MS_MAX = 2000;

/** As the node sees itself, whatever its role. */
export interface NodeReport {
  readonly nodeId: string;
  readonly role: string | undefined;
  readonly isMember: boolean;
  readonly firstIndex: number;
  readonly commit: number;
  readonly last: number;
}

export class NodeProcess {
  readonly #directory: string;
  readonly #zookeeper: string;
  readonly #retainBytes: number;
  readonly #peerPort = freePort();
  #child: Bun.Subprocess<"ignore", "pipe", "inherit"> | undefined;
  #url = "";

  constructor(directory: string, zookeeper: string, retainBytes = 64 * 1024 * 1024) {
    this.#retainBytes = retainBytes;
    this.#directory = directory;
    this.#zookeeper = zookeeper;
    mkdirSync(directory, { recursive: true });
  }

  async start(): Promise<void> {
    const retainBytes = `${this.#retainBytes}`;
    const place = [this.#directory, `${this.#peerPort}`, this.#zookeeper];
    const command = ["bun", SCRIPT, ...place, retainBytes];
    this.#child = Bun.spawn(command, { stdin: "ignore", stdout: "pipe", stderr: "inherit" });
    const { value } = await this.#child.stdout.getReader().read();
    this.#url = `http://127.0.0.1:${new TextDecoder().decode(value).trim()}`;
  }

  async stop(signal: "SIGKILL" | "SIGTERM"): Promise<number> {
    this.#child?.kill(signal);
    return (await this.#child?.exited) ?? 0;
  }

  /** The status; 0: no answer. */
  async put(key: string, value: string): Promise<number> {
    const signal = AbortSignal.timeout(REQUEST_MS_MAX);
    try {
      return (await fetch(`${this.#url}/${key}`, { method: "PUT", body: value, signal })).status;
    } catch {
      return 0;
    }
  }

  async get(key: string): Promise<{ status: number; text: string }> {
    const signal = AbortSignal.timeout(REQUEST_MS_MAX);
    try {
      const response = await fetch(`${this.#url}/${key}`, { signal });
      return { status: response.status, text: await response.text() };
    } catch {
      return { status: 0, text: "" };
    }
  }

  /** What its own store has, committed or not. */
  async getLocal(key: string): Promise<{ status: number; text: string }> {
    return await this.get(`${key}?local`);
  }

  /** Undefined: no answer. */
  async report(): Promise<NodeReport | undefined> {
    const { status, text } = await this.get("?report");
    return status === 200 ? (JSON.parse(text) as NodeReport) : undefined;
  }

  get lastWords(): string {
    return readFileSync(join(this.#directory, "log"), "utf8").split("\n").slice(-12).join("\n");
  }
}
