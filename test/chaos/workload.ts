/**
 * What clients do: registers (SET, GET), claims (SET NX, GET), counters (INCR, GET) and lists (APPEND, GET).
 *
 *   key: <kind>:{t<tag>}:<generation>:<number>        value: <client.serial>, used once
 *   on the wire a register's value is repeated up to some kilobytes, so that logs and tables grow
 *
 * Each generation of keys is in use for a few seconds, so that a key's history stays short enough to be searched. Few
 * hash tags, so that a key's replica set is known; old keys are read now and then.
 */
import type { SimRandom } from "../sim/random.ts";
import type { StringCall, StringResult } from "../sim/string-model.ts";
import type { ReplyValue } from "../support/raw-connection.ts";

export const TAGS = 24;
export const KINDS = ["register", "claim", "counter", "list"] as const;
export type Kind = (typeof KINDS)[number];

/** How often each kind is used. */
const KIND_WEIGHTS = [4, 1, 2, 3];
const KEYS_PER_KIND = [8, 8, 6, 8];
const PADDED_BYTES_MAX = 8192;
const DRAWS_MAX = 30;
const OLD_READS = 0.08;

export interface Step {
  readonly key: string;
  readonly call: StringCall;
}

function tagFor(kind: number, generation: number, number: number): number {
  return (generation * KEYS_PER_KIND[kind]! + number + kind * 5) % TAGS;
}

function keyOf(kind: number, generation: number, number: number): string {
  const tag = tagFor(kind, generation, number);
  return `${KINDS[kind]}:{t${tag}}:${generation}:${number}`;
}

export function tagOf(key: string): number {
  return Number(/\{t(\d+)\}/.exec(key)![1]);
}

export function generationOf(key: string): number {
  return Number(key.split(":")[2]);
}

export interface WorkloadOptions {
  /** Of all clients, this one alone has the number. */
  readonly client: number;
  /** Those that it uses, as a client does whose data is in one replica set. */
  readonly tags: readonly number[];
  /** The share of reads. */
  readonly reads: number;
}

export class Workload {
  readonly #random: SimRandom;
  readonly #options: WorkloadOptions;
  readonly #tags: ReadonlySet<number>;
  #serial = 0;

  constructor(random: SimRandom, options: WorkloadOptions) {
    this.#random = random;
    this.#options = options;
    this.#tags = new Set(options.tags);
  }

  next(generation: number): Step {
    const random = this.#random;
    const isOld = generation > 0 && random.chance(OLD_READS);
    const from = isOld ? random.below(generation) : generation;
    const [kind, key] = this.#draw(from);
    if (isOld || random.chance(this.#options.reads)) return { key, call: { kind: "get" } };
    const value = `<${this.#options.client}.${this.#serial++}>`;
    switch (KINDS[kind]!) {
      case "register":
        return { key, call: { kind: "set", value } };
      case "claim":
        return { key, call: { kind: "setnx", value } };
      case "counter":
        return { key, call: { kind: "incr", by: 1 } };
      case "list":
        return { key, call: { kind: "append", value } };
    }
  }

  /** A generation may have no key with one of the tags: then any will do. */
  #draw(generation: number): [kind: number, key: string] {
    const random = this.#random;
    for (let i = 0; ; i++) {
      const kind = random.weighted(KIND_WEIGHTS);
      const number = random.below(KEYS_PER_KIND[kind]!);
      if (i === DRAWS_MAX || this.#tags.has(tagFor(kind, generation, number)))
        return [kind, keyOf(kind, generation, number)];
    }
  }
}

function padded(value: string): string {
  const serial = Number(/\.(\d+)/.exec(value)?.[1] ?? 0);
  const timesMax = Math.floor(PADDED_BYTES_MAX / value.length);
  return value.repeat(1 + ((Math.imul(serial, 0x9e3779b1) >>> 0) % timesMax));
}

/** The value that was padded; anything else, such as half of one, as it is. */
function unpadded(text: string): string {
  const value = text.slice(0, text.indexOf(">") + 1);
  return text === padded(value) ? value : text;
}

export function wordsOf({ key, call }: Step): string[] {
  switch (call.kind) {
    case "get":
    case "look":
      return ["GET", key];
    case "set":
      return ["SET", key, padded(call.value)];
    case "setpx":
      return ["SET", key, call.value, "PX", `${call.ms}`];
    case "setnx":
      return ["SET", key, call.value, "NX"];
    case "del":
      return ["DEL", key];
    case "incr":
      return ["INCRBY", key, `${call.by}`];
    case "append":
      return ["APPEND", key, call.value];
  }
}

/** Throws for a reply that the command cannot have. */
export function resultOf({ key, call }: Step, reply: ReplyValue): StringResult {
  const isFit =
    call.kind === "get"
      ? reply === null || typeof reply === "string"
      : call.kind === "set"
        ? reply === "OK"
        : call.kind === "setnx"
          ? reply === "OK" || reply === null
          : typeof reply === "number";
  if (!isFit) throw new Error(`${call.kind} answered ${JSON.stringify(reply)}`);
  if (call.kind === "set" || call.kind === "setnx") return reply === "OK";
  if (typeof reply === "string" && key.startsWith("register:")) return unpadded(reply);
  return reply as StringResult;
}
