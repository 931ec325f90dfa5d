/** The command table: names found in bytes, flags, key positions, handlers bound. */
import { describe, expect, test } from "bun:test";
import {
  bindHandlers,
  COMMAND_COUNT,
  COMMANDS,
  type CommandSpec,
  commandNamed,
  FLAG_DENYOOM,
  FLAG_FAST,
  FLAG_NAMES,
  FLAG_NO_AUTH,
  FLAG_NO_MULTI,
  FLAG_READONLY,
  FLAG_WRITE,
  keysOf,
  lastKeyOf,
  lookup,
  lookupSubcommand,
  TOP_LEVEL_COMMANDS,
} from "../../src/server/command-table.ts";

function named(name: string): CommandSpec {
  const spec = commandNamed(name);
  if (spec === undefined) throw new Error(`no command ${name}`);
  return spec;
}

function find(name: string): CommandSpec | undefined {
  const bytes = Buffer.from(`..${name}..`, "latin1");
  return lookup(bytes, 2, 2 + name.length);
}

describe("lookup", () => {
  test("finds every command in any case and at any offset", () => {
    for (const spec of TOP_LEVEL_COMMANDS) {
      const mixed = [...spec.name].map((c, i) => (i % 2 === 0 ? c.toUpperCase() : c)).join("");
      for (const name of [spec.name, spec.name.toUpperCase(), mixed]) {
        expect(find(name)?.name).toBe(spec.name);
      }
    }
  });

  test("finds every subcommand under its container only", () => {
    for (const spec of COMMANDS) {
      if (spec.container === undefined) continue;
      const word = Buffer.from(spec.name.slice(spec.container.name.length + 1).toUpperCase());
      expect(lookupSubcommand(spec.container, word, 0, word.length)).toBe(spec);
      const elsewhere = lookupSubcommand(named("get"), word, 0, word.length);
      expect(elsewhere).toBeUndefined();
    }
  });

  test("rejects bytes that differ from a name only in bit 0x20 of a non-letter, and near misses", () => {
    expect(find("BITFIELD\x7fRO")).toBeUndefined();
    expect(find("bitfield\x1fro")).toBeUndefined();
    const noEvict = Buffer.from("no\revict");
    expect(lookupSubcommand(named("client"), noEvict, 0, noEvict.length)).toBeUndefined();
    for (const name of ["", "ge", "gett", "g\x05t", "g\xc5t", "config|get", "hgetall", "move"]) {
      expect(find(name)).toBeUndefined();
    }
  });

  test("tells every single-byte change of a name from the name", () => {
    const bytes = new Uint8Array(Buffer.from("expire"));
    for (let at = 0; at < bytes.length; at++) {
      const original = bytes[at]!;
      for (let value = 0; value < 256; value++) {
        bytes[at] = value;
        const isName = Buffer.from(bytes).toString("latin1").toLowerCase() === "expire";
        expect(lookup(bytes, 0, bytes.length)?.name === "expire").toBe(isName && value < 128);
      }
      bytes[at] = original;
    }
  });
});

describe("COMMANDS", () => {
  test("ids are dense and every subcommand names its container", () => {
    expect(COMMANDS.length).toBe(COMMAND_COUNT);
    COMMANDS.forEach((spec, id) => {
      expect(spec.id).toBe(id);
      for (const each of spec.subcommands) {
        expect(each.container).toBe(spec);
        expect(each.name.startsWith(`${spec.name}|`)).toBe(true);
      }
    });
  });

  test("holds what Redis reports for GET, SET and AUTH", () => {
    const get = named("get");
    expect([get.arity, get.firstKey, get.lastKey, get.keyStep]).toEqual([2, 1, 1, 1]);
    expect(get.flags).toBe(FLAG_READONLY | FLAG_FAST);
    expect(get.aclCategories).toEqual(["read", "string", "fast"]);
    const set = named("SET");
    expect(set.arity).toBe(-3);
    expect(set.flags).toBe(FLAG_WRITE | FLAG_DENYOOM);
    expect(set.keySpecs[0]?.flags).toEqual(["RW", "access", "update", "variable_flags"]);
    expect(named("auth").has(FLAG_NO_AUTH)).toBe(true);
    expect(named("shutdown").has(FLAG_NO_MULTI)).toBe(true);
    expect(named("config").isContainer).toBe(true);
    expect(named("config|get").isContainer).toBe(false);
  });

  test("acceptsArity takes exact counts and minima", () => {
    expect(named("get").acceptsArity(2)).toBe(true);
    expect(named("get").acceptsArity(1)).toBe(false);
    expect(named("get").acceptsArity(3)).toBe(false);
    expect(named("mget").acceptsArity(1)).toBe(false);
    expect(named("mget").acceptsArity(20)).toBe(true);
    expect(named("config|get").acceptsArity(2)).toBe(false);
  });

  test("the exported flag constants agree with FLAG_NAMES", async () => {
    const exports: Record<string, unknown> = await import("../../src/server/command-table.ts");
    const constants = Object.entries(exports).filter(([, value]) => typeof value === "number");
    const flags = constants.filter(([name]) => name.startsWith("FLAG_"));
    expect(flags.length).toBeGreaterThan(18);
    for (const [name, bit] of flags) {
      expect(`FLAG_${FLAG_NAMES[Math.log2(bit as number)]?.toUpperCase()}`).toBe(name);
    }
  });
});

describe("keysOf", () => {
  const cases: [string, number, number[]][] = [
    ["get", 2, [1]],
    ["ping", 1, []],
    ["mset", 7, [1, 3, 5]],
    ["del", 4, [1, 2, 3]],
    ["copy", 5, [1, 2]],
    ["bitop", 5, [2, 3, 4]],
    ["lcs", 4, [1, 2]],
    ["object|encoding", 3, [2]],
    ["memory|usage", 5, [2]],
    ["config", 3, []],
  ];
  for (const [name, argCount, keys] of cases) {
    test(`finds the keys of ${name} with ${argCount} words`, () => {
      const spec = named(name);
      expect(keysOf(spec, argCount)).toEqual(keys);
      const walked: number[] = [];
      const last = lastKeyOf(spec, argCount);
      for (let at = spec.firstKey; at <= last; at += spec.keyStep) walked.push(at);
      expect(walked).toEqual(keys);
    });
  }
});

describe("bindHandlers", () => {
  function handlers(): Record<string, () => string> {
    const runnable = COMMANDS.filter((spec) => spec.isRunnable);
    return Object.fromEntries(runnable.map((spec) => [spec.name, () => spec.name]));
  }

  test("orders handlers by command id and leaves containers without one", () => {
    const bound = bindHandlers(handlers());
    expect(bound.length).toBe(COMMAND_COUNT);
    expect(bound[named("config|get").id]?.()).toBe("config|get");
    expect(bound[named("config").id]).toBeUndefined();
    expect(bound[named("command").id]?.()).toBe("command");
  });

  test("names the commands without a handler and the handlers without a command", () => {
    const { get, ...rest } = handlers();
    expect(get).toBeDefined();
    expect(() => bindHandlers(rest)).toThrow("no handler for get");
    const extra = { ...handlers(), hgetall: (): string => "" };
    expect(() => bindHandlers(extra)).toThrow("handlers of unknown commands: hgetall");
  });
});
