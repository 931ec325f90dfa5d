/**
 * What a directive's value can be. A kind turns arguments into a typed value and a value into the canonical text
 * that CONFIG GET prints and CONFIG REWRITE writes; `parse(split(format(value)))` is the same value again.
 * The error texts are Redis's.
 */
import * as path from "node:path";

export type Parsed<T> = { readonly value: T } | { readonly error: string };

export interface Kind<T> {
  /** Named in the documentation: "integer", "memory size", "yes or no" … */
  readonly label: string;
  /** Several arguments, or one that is split at its spaces. */
  readonly isList: boolean;
  /** `previous`: the value so far, for directives that may be given more than once. */
  parse(args: readonly string[], previous: T | undefined): Parsed<T>;
  format(value: T): string;
}

const WRONG_COUNT = "wrong number of arguments";

function single<T>(
  label: string,
  parse: (text: string) => Parsed<T>,
  format: (value: T) => string,
): Kind<T> {
  return {
    label,
    isList: false,
    parse: (args) => (args.length === 1 ? parse(args[0]!) : { error: WRONG_COUNT }),
    format,
  };
}

export interface Bounds {
  readonly min: number;
  readonly max: number;
}

export const UNBOUNDED: Bounds = { min: 0, max: Number.MAX_SAFE_INTEGER };

function within(value: number, bounds: Bounds): Parsed<number> {
  if (value >= bounds.min && value <= bounds.max) return { value };
  return { error: `argument must be between ${bounds.min} and ${bounds.max} inclusive` };
}

export function integer(bounds: Bounds, label = "integer"): Kind<number> {
  return single(
    label,
    (text) => {
      const value = /^-?\d+$/.test(text) ? Number(text) : Number.NaN;
      if (!Number.isSafeInteger(value))
        return { error: "argument couldn't be parsed into an integer" };
      return within(value, bounds);
    },
    String,
  );
}

const UNITS: Record<string, number> = {
  "": 1,
  b: 1,
  k: 1000,
  kb: 1024,
  m: 1000 ** 2,
  mb: 1024 ** 2,
  g: 1000 ** 3,
  gb: 1024 ** 3,
};

/** Bytes of `64mb`, `1k` (1000), `1kb` (1024) or `1048576`; undefined for anything else. */
export function parseMemory(text: string): number | undefined {
  const match = /^(\d+)([a-z]*)$/i.exec(text);
  if (match === null) return undefined;
  const unit = UNITS[match[2]!.toLowerCase()];
  const value = Number(match[1]) * (unit ?? Number.NaN);
  return Number.isSafeInteger(value) ? value : undefined;
}

/** A size in bytes; `isZeroAuto`: 0 is allowed below the lower bound and means that dkv chooses. */
export function memory(bounds: Bounds, isZeroAuto = false): Kind<number> {
  return single(
    isZeroAuto ? "memory size, 0 = automatic" : "memory size",
    (text) => {
      const value = parseMemory(text);
      if (value === undefined) return { error: "argument must be a memory value" };
      return isZeroAuto && value === 0 ? { value } : within(value, bounds);
    },
    String,
  );
}

export function percent(isZeroAuto = false): Kind<number> {
  const bounds = { min: isZeroAuto ? 0 : 1, max: 100 };
  return integer(bounds, isZeroAuto ? "percent, 0 = automatic" : "percent");
}

export function yesNo(): Kind<boolean> {
  return single<boolean>(
    "yes or no",
    (text) => {
      const lower = text.toLowerCase();
      if (lower === "yes") return { value: true };
      if (lower === "no") return { value: false };
      return { error: "argument must be 'yes' or 'no'" };
    },
    (value) => (value ? "yes" : "no"),
  );
}

export function choice<const T extends string>(...values: readonly T[]): Kind<T> {
  return single<T>(
    values.join(" | "),
    (text) => {
      const lower = text.toLowerCase();
      const value = values.find((candidate) => candidate === lower);
      if (value !== undefined) return { value };
      return { error: `argument(s) must be one of the following: ${values.join(", ")}` };
    },
    String,
  );
}

export function text(label = "text"): Kind<string> {
  return single(label, (value) => ({ value }), String);
}

/** A directory as an absolute path; a relative one starts at the current directory. */
export function directory(): Kind<string> {
  return single(
    "path",
    (name) =>
      name === "" ? { error: "No such file or directory" } : { value: path.resolve(name) },
    String,
  );
}

function unpack(args: readonly string[]): readonly string[] {
  if (args.length !== 1) return args;
  return args[0]!.split(" ").filter((word) => word !== "");
}

export function words(label = "list"): Kind<readonly string[]> {
  return {
    label,
    isList: true,
    parse: (args) => ({ value: unpack(args) }),
    format: (value) => value.join(" "),
  };
}

export function percentiles(): Kind<readonly number[]> {
  return {
    label: "list of numbers",
    isList: true,
    parse(args) {
      const value = unpack(args).map((word) => (/^\d+(\.\d+)?$/.test(word) ? Number(word) : -1));
      if (value.every((number) => number >= 0 && number <= 100)) return { value };
      return {
        error: "latency-tracking-info-percentiles parameters should sit between [0.0,100.0]",
      };
    },
    format: (value) => value.join(" "),
  };
}

export interface BufferLimit {
  /** Bytes at which a client is disconnected at once; 0: none. */
  readonly hardBytes: number;
  /** Bytes that a client may not exceed for `softSeconds` without a break; 0: none. */
  readonly softBytes: number;
  readonly softSeconds: number;
}

export interface BufferLimits {
  readonly normal: BufferLimit;
  readonly replica: BufferLimit;
  readonly pubsub: BufferLimit;
}

const NO_LIMIT: BufferLimit = { hardBytes: 0, softBytes: 0, softSeconds: 0 };
const LIMIT_WORDS = 4;

function limitClass(word: string): keyof BufferLimits | undefined {
  const name = word.toLowerCase();
  if (name === "normal" || name === "pubsub" || name === "replica") return name;
  return name === "slave" ? "replica" : undefined;
}

/** `<class> <hard> <soft> <soft seconds>`, one or more times; classes that are not named keep their limits. */
export function bufferLimits(): Kind<BufferLimits> {
  return {
    label: "class, hard limit, soft limit, seconds; repeated",
    isList: true,
    parse(args, previous) {
      const list = unpack(args);
      if (list.length === 0 || list.length % LIMIT_WORDS !== 0) {
        return { error: "Wrong number of arguments in buffer limit configuration." };
      }
      const limits = { normal: NO_LIMIT, replica: NO_LIMIT, pubsub: NO_LIMIT, ...previous };
      for (let at = 0; at < list.length; at += LIMIT_WORDS) {
        const name = limitClass(list[at]!);
        if (name === undefined) {
          return { error: "Invalid client class specified in buffer limit configuration." };
        }
        const hardBytes = parseMemory(list[at + 1]!);
        const softBytes = parseMemory(list[at + 2]!);
        const softSeconds = /^\d+$/.test(list[at + 3]!) ? Number(list[at + 3]) : undefined;
        if (hardBytes === undefined || softBytes === undefined || softSeconds === undefined) {
          return {
            error: "Error in hard, soft or soft_seconds setting in buffer limit configuration.",
          };
        }
        limits[name] = { hardBytes, softBytes, softSeconds };
      }
      return { value: limits };
    },
    format(value) {
      const part = (name: string, limit: BufferLimit) =>
        `${name} ${limit.hardBytes} ${limit.softBytes} ${limit.softSeconds}`;
      // Redis 7.0 still prints the old name of the replica class.
      return `${part("normal", value.normal)} ${part("slave", value.replica)} ${part("pubsub", value.pubsub)}`;
    },
  };
}
