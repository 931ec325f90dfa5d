/**
 * A client that writes to keys of its own, pipelined, and keeps a history of what it sent: each command, or each
 * EXEC, is a unit; the first `acknowledged` of them have been answered. Every answer must be the expected one.
 */
import type { Random } from "../support/crash-states.ts";
import {
  decodeReply,
  encodeRequest,
  type ReplyValue,
  replyEnd,
} from "../support/raw-connection.ts";
import { applyUnit, digestOf, type Entry, type Unit } from "./history.ts";

const KEYS = 24;
const LARGE_BYTES = 90_000;
const APPENDED_MAX = 3000;
/** Units sent and not answered. */
const WINDOW = 48;

interface Expected {
  /** Replies that the unit takes, and what the last one is. */
  readonly replies: number;
  readonly last: (reply: ReplyValue) => boolean;
  readonly text: string;
}

type Changes = [string, Entry | undefined][];

const isOk = (reply: ReplyValue): boolean => reply === "OK";
const isInteger = (reply: ReplyValue): boolean => typeof reply === "number";

export class LoadConnection {
  readonly #prefix: string;
  readonly #random: Random;
  readonly #deletesAll: boolean;
  #units: Unit[] = [];
  /** Values of what is there after all units. */
  readonly #values = new Map<string, Buffer>();
  readonly #contents = new Map<string, Entry>();
  #expected: Expected[] = [];
  #repliesLeft = 0;
  #socket: Bun.Socket | undefined;
  #unsent = Buffer.alloc(0);
  #received = Buffer.alloc(0);
  #serial = 0;
  acknowledged = 0;
  total = 0;
  failure: Error | undefined;
  isClosed = true;

  constructor(prefix: string, random: Random, deletesAll = false) {
    this.#prefix = prefix;
    this.#random = random;
    this.#deletesAll = deletesAll;
  }

  get units(): readonly Unit[] {
    return this.#units;
  }

  get keys(): string[] {
    const keys = Array.from({ length: KEYS }, (_, i) => `${this.#prefix}${i}`);
    return [...keys, `${this.#prefix}count`, `${this.#prefix}list`, `${this.#prefix}large`];
  }

  /** Starts the load; it goes on until the connection breaks. */
  async start(port: number): Promise<void> {
    this.isClosed = false;
    this.#socket = await Bun.connect({
      hostname: "127.0.0.1",
      port,
      socket: {
        data: (_socket, chunk) => this.#onData(chunk),
        drain: () => this.#send(),
        close: () => {
          this.isClosed = true;
        },
        error: () => undefined,
      },
    });
    this.#fill();
  }

  stop(): void {
    this.#socket?.terminate();
  }

  /** What the server was found to hold is where the history begins anew. */
  reset(values: ReadonlyMap<string, Buffer>, contents: ReadonlyMap<string, Entry>): void {
    this.#values.clear();
    this.#contents.clear();
    for (const [key, value] of values) this.#values.set(key, value);
    for (const [key, entry] of contents) this.#contents.set(key, entry);
    this.#units = contents.size === 0 ? [] : [{ changes: [...contents], tag: 0 }];
    this.acknowledged = this.#units.length;
    this.#expected = [];
    this.#repliesLeft = 0;
    this.#unsent = Buffer.alloc(0);
    this.#received = Buffer.alloc(0);
  }

  #onData(chunk: Uint8Array): void {
    this.#received = Buffer.concat([this.#received, chunk]);
    let at = 0;
    for (;;) {
      const end = at < this.#received.length ? replyEnd(this.#received, at) : -1;
      if (end < 0) break;
      this.#onReply(decodeReply(this.#received, at)[0]);
      at = end;
    }
    this.#received = this.#received.subarray(at);
    this.#fill();
  }

  #onReply(reply: ReplyValue): void {
    const expected = this.#expected[0]!;
    if (this.#repliesLeft === 0) this.#repliesLeft = expected.replies;
    if (--this.#repliesLeft > 0) return;
    this.#expected.shift();
    this.acknowledged++;
    this.total++;
    if (expected.last(reply)) return;
    this.failure ??= new Error(`${expected.text} answered ${JSON.stringify(reply).slice(0, 200)}`);
  }

  #fill(): void {
    if (this.isClosed) return;
    while (this.#expected.length < WINDOW && this.#unsent.length < 256 * 1024) this.#unit();
    this.#send();
  }

  #send(): void {
    if (this.#unsent.length === 0 || this.isClosed) return;
    const written = this.#socket!.write(this.#unsent);
    if (written > 0) this.#unsent = this.#unsent.subarray(written);
  }

  #queue(commands: readonly string[][], changes: Unit["changes"], last: Expected["last"]): void {
    const requests = commands.map((command) => encodeRequest(command));
    this.#unsent = Buffer.concat([this.#unsent, ...requests]);
    const text = commands.map((command) => command.join(" ").slice(0, 80)).join("; ");
    this.#expected.push({ replies: commands.length, last, text });
    const unit = { changes, tag: 0 };
    this.#units.push(unit);
    applyUnit(this.#contents, unit);
  }

  #unit(): void {
    const chance = this.#random();
    const key = `${this.#prefix}${Math.floor(this.#random() * KEYS)}`;
    if (this.#deletesAll && chance < 0.003) {
      this.#values.clear();
      this.#queue([["FLUSHALL"]], "all", isOk);
    } else if (chance < 0.45) this.#set(key);
    else if (chance < 0.55) this.#expire(key);
    else if (chance < 0.65) {
      const change = this.#put(key, undefined);
      this.#queue([["DEL", key]], [change], isInteger);
    } else if (chance < 0.75) this.#count();
    else if (chance < 0.85) this.#append();
    else if (chance < 0.9) this.#patch();
    else this.#group();
  }

  #put(key: string, value: Buffer | undefined, expiry = 0): Changes[number] {
    if (value === undefined) this.#values.delete(key);
    else this.#values.set(key, value);
    return [key, value === undefined ? undefined : { digest: digestOf(value), expiry }];
  }

  /** Up to `bytesMax` bytes that occur nowhere else. */
  #unique(bytesMax: number): Buffer {
    const text = `${this.#prefix}${this.#serial++} `;
    return Buffer.alloc(text.length + Math.floor(this.#random() * bytesMax), text);
  }

  #set(key: string): void {
    const value = this.#unique(this.#random() < 0.2 ? 6000 : 200);
    const isVolatile = this.#random() < 0.2;
    const expiry = isVolatile ? this.#expiry() : 0;
    const options = isVolatile ? ["PXAT", `${expiry}`] : [];
    const change = this.#put(key, value, expiry);
    this.#queue([["SET", key, value.toString("latin1"), ...options]], [change], isOk);
  }

  #expiry(): number {
    const ms = this.#random() < 0.5 ? 100 + this.#random() * 1000 : 1e7;
    return Math.floor(performance.timeOrigin + performance.now() + ms);
  }

  /** A key that may have expired by itself is left alone: what the command does then depends on the moment. */
  #expire(key: string): void {
    const entry = this.#contents.get(key);
    if (entry === undefined || entry.expiry !== 0) {
      this.#set(key);
      return;
    }
    const expiry = this.#expiry();
    const command = ["PEXPIREAT", key, `${expiry}`];
    this.#queue([command], [[key, { digest: entry.digest, expiry }]], (reply) => reply === 1);
  }

  #count(): void {
    const key = `${this.#prefix}count`;
    const count = Number(this.#values.get(key)?.toString() ?? 0) + 1;
    const change = this.#put(key, Buffer.from(`${count}`));
    this.#queue([["INCR", key]], [change], (reply) => reply === count);
  }

  #append(): void {
    const key = `${this.#prefix}list`;
    const more = this.#unique(40);
    const before = this.#values.get(key);
    const restarts = before === undefined || before.length > APPENDED_MAX;
    const value = restarts ? more : Buffer.concat([before, more]);
    const change = this.#put(key, value);
    const name = restarts ? "SET" : "APPEND";
    const last = restarts ? isOk : (reply: ReplyValue) => reply === value.length;
    this.#queue([[name, key, more.toString("latin1")]], [change], last);
  }

  #patch(): void {
    const key = `${this.#prefix}large`;
    const patch = this.#unique(2000);
    const offset = Math.floor(this.#random() * LARGE_BYTES);
    const before = this.#values.get(key) ?? Buffer.alloc(0);
    const value = Buffer.alloc(Math.max(before.length, offset + patch.length));
    value.set(before);
    value.set(patch, offset);
    const change = this.#put(key, value);
    const command = ["SETRANGE", key, `${offset}`, patch.toString("latin1")];
    this.#queue([command], [change], (reply) => reply === value.length);
  }

  #group(): void {
    const commands: string[][] = [["MULTI"]];
    const changes: Changes = [];
    for (let i = 2 + Math.floor(this.#random() * 4); i > 0; i--) {
      const key = `${this.#prefix}${Math.floor(this.#random() * KEYS)}`;
      const value = this.#random() < 0.2 ? undefined : this.#unique(300);
      changes.push(this.#put(key, value));
      commands.push(value === undefined ? ["DEL", key] : ["SET", key, value.toString("latin1")]);
    }
    commands.push(["EXEC"]);
    this.#queue(commands, changes, (reply) => Array.isArray(reply));
  }
}
