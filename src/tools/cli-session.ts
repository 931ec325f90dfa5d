/**
 * What `cli` does with one line or one-shot command: its own words (slot, help, clear, quit, connect), or a command for
 * the server, whose reply is printed.
 */
import { CommandDocs } from "./command-docs.ts";
import type { ToolEnvironment } from "./environment.ts";
import type { FollowingClient } from "./following-client.ts";
import { bareReply, terminalReply } from "./reply-text.ts";
import { errorOf, formatAddress } from "./resp-client.ts";
import { slotReport } from "./slot-report.ts";
import { ToolError } from "./tool-error.ts";

/** Commands whose reply is text for people: printed as it is. */
const TEXTS = [
  ...["INFO", "CLUSTER INFO", "CLUSTER NODES", "CLIENT LIST", "CLIENT INFO", "LATENCY DOCTOR"],
  ...["LATENCY GRAPH", "MEMORY DOCTOR", "MEMORY MALLOC-STATS"],
];
const CLEAR_SCREEN = "\u001b[H\u001b[2J";
const HELP = `  help <command>        what a command does, and its arguments
  slot <key>            the slot of a key, and who serves it
  connect <host> <port> another server
  info [section]        what the server says of itself
  clear, quit
  Tab completes names of commands; everything else goes to the server.`;

export type Outcome = "done" | "failed" | "quit";

export interface CliOptions {
  /** As on a terminal, with kinds and quotes. */
  readonly isFormatted: boolean;
}

export class CliSession {
  readonly #client: FollowingClient;
  readonly #environment: ToolEnvironment;
  readonly #options: CliOptions;
  #docs: CommandDocs | undefined = undefined;

  constructor(client: FollowingClient, environment: ToolEnvironment, options: CliOptions) {
    this.#client = client;
    this.#environment = environment;
    this.#options = options;
  }

  get prompt(): string {
    return `${formatAddress(this.#client.address)}> `;
  }

  /** Runs one command; prints what comes of it. Throws ToolError when the server does not answer. */
  async run(words: readonly Buffer[]): Promise<Outcome> {
    const [name, ...rest] = words.map((word) => word.toString());
    switch (name!.toLowerCase()) {
      case "quit":
      case "exit":
        return "quit";
      case "clear":
        this.#environment.stdout.write(CLEAR_SCREEN);
        return "done";
      case "help":
      case "?":
        return await this.#help(rest.join(" "));
      case "slot":
        return await this.#slot(words);
      case "connect":
        return await this.#connect(rest);
      case "monitor":
        return await this.#monitor(words);
      default:
        return await this.#ask(words);
    }
  }

  /** For a line that is being typed: what it may become. */
  async complete(line: string): Promise<string[]> {
    return (await this.#readDocs()).complete(line);
  }

  async #readDocs(): Promise<CommandDocs> {
    this.#docs ??= await CommandDocs.read(this.#client);
    return this.#docs;
  }

  #print(text: string | Uint8Array): void {
    const { stdout } = this.#environment;
    stdout.write(typeof text === "string" ? `${text}\n` : Buffer.concat([text, Buffer.from("\n")]));
  }

  async #help(name: string): Promise<Outcome> {
    const text = name === "" ? HELP : (await this.#readDocs()).help(name);
    this.#print(text === "" ? `  there is no command ${name.toUpperCase()}` : text);
    return text === "" ? "failed" : "done";
  }

  async #slot(words: readonly Buffer[]): Promise<Outcome> {
    if (words.length !== 2) throw new ToolError("slot needs one key", { hint: "slot user:1000" });
    this.#print(await slotReport(this.#client, words[1]!));
    return "done";
  }

  async #connect([host, port]: readonly string[]): Promise<Outcome> {
    if (host === undefined || !/^\d{1,5}$/.test(port ?? ""))
      throw new ToolError("connect needs host and port", { hint: "connect 127.0.0.1 7001" });
    await this.#client.connect({ host, port: Number(port) });
    this.#docs = undefined;
    return "done";
  }

  async #ask(words: readonly Buffer[]): Promise<Outcome> {
    const { stderr } = this.#environment;
    const reply = await this.#client.request(words, ({ slot, address }) => {
      if (this.#options.isFormatted)
        stderr.write(`-> Redirected to slot [${slot}] located at ${formatAddress(address)}\n`);
    });
    this.#show(reply, words);
    return errorOf(reply) === undefined ? "done" : "failed";
  }

  #show(reply: Buffer, words: readonly Buffer[]): void {
    const [name, second = ""] = words.map((word) => word.toString().toUpperCase());
    const isText = TEXTS.includes(name!) || TEXTS.includes(`${name} ${second}`);
    this.#print(this.#options.isFormatted ? terminalReply(reply, isText) : bareReply(reply));
  }

  /** Shows what other clients ask for until Ctrl-C. */
  async #monitor(words: readonly Buffer[]): Promise<Outcome> {
    const { connection } = this.#client;
    const reply = await connection.request(words);
    this.#show(reply, words);
    if (errorOf(reply) !== undefined) return "failed";
    const interrupted = Promise.withResolvers<void>();
    const cancel = this.#environment.onInterrupt(() => interrupted.resolve());
    try {
      await Promise.race([
        connection.stream((line) => this.#print(bareReply(line))),
        interrupted.promise,
      ]);
    } finally {
      cancel();
      // Nothing else can be asked there any more.
      connection.close();
    }
    await this.#client.connect(connection.address);
    return "done";
  }
}
