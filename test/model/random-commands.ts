/**
 * Random commands over few keys, for comparing two servers: valid ones with arguments at the edges, and malformed ones.
 * Nothing here depends on the moment: keys expire at once, far away, or (in a group that waits) after some milliseconds.
 */
import fc from "fast-check";

/** Arguments as latin1 text. */
export type Command = readonly string[];

/** Commands that one connection sends as one pipeline; `waitMs` passes afterwards. */
export interface Group {
  readonly connection: number;
  readonly commands: readonly Command[];
  readonly waitMs: number;
}

export const CONNECTIONS = 2;
export const EXPIRY_WAIT_MS = 25;
const KEYS = ["a", "b", "c", "{t}1", "{t}2", "", "k\x00\r\n\xff", `long${"k".repeat(300)}`];

const key = fc.constantFrom(...KEYS);
const bytes = fc
  .array(fc.nat(255), { maxLength: 12 })
  .map((codes) => String.fromCharCode(...codes));

/** Long enough for chunks, or not; one byte repeated with a mark at each end. */
const long = fc
  .tuple(fc.constantFrom(31, 127, 4000, 32_768, 32_769, 70_000, 200_000), fc.nat(255))
  .map(([length, code]) => `<${String.fromCharCode(code).repeat(length - 2)}>`);

const INTEGERS =
  "0 1 -1 2 7 10 42 -100 1000 2147483648 9007199254740993 9223372036854775807 -9223372036854775808 9223372036854775806".split(
    " ",
  );
const BAD_NUMBERS = ["9223372036854775808", "", " 1", "1 ", "+1", "01", "-0", "1e3", "abc", "0x1"];
const integer = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom(...INTEGERS) },
  { weight: 3, arbitrary: fc.integer({ min: -1000, max: 1000 }).map(String) },
  { weight: 1, arbitrary: fc.constantFrom(...BAD_NUMBERS) },
);
const FLOATS =
  "0 1.5 -1.5 3.0e3 1e-5 0.1 0.2 10.50 -0 1e17 1e300 inf -inf nan 1e5000 .5 5. 0x10 abc 3.14159265358979323846".split(
    " ",
  );
const float = fc.oneof(
  fc.constantFrom(...FLOATS, "", " 1.5", "1.5 "),
  fc.double({ noNaN: true, min: -1e6, max: 1e6 }).map(String),
  fc.integer({ min: -1_000_000, max: 1_000_000 }).map((n) => String(n / 1000)),
  integer,
);
const value = fc.oneof(
  { weight: 4, arbitrary: bytes },
  { weight: 3, arbitrary: integer },
  { weight: 2, arbitrary: float },
  { weight: 2, arbitrary: long },
);
const offset = fc.oneof(
  { weight: 4, arbitrary: fc.nat(40).map(String) },
  { weight: 2, arbitrary: fc.nat(150_000).map(String) },
  { weight: 1, arbitrary: fc.constantFrom("-1", "536870912", "9223372036854775807", "abc", "") },
);
const bitOffset = fc.oneof(
  { weight: 4, arbitrary: fc.nat(300).map(String) },
  { weight: 2, arbitrary: fc.nat(1_200_000).map(String) },
  { weight: 1, arbitrary: fc.constantFrom("-1", "4294967296", "9223372036854775807", "abc", "") },
);
const index = fc.oneof(fc.integer({ min: -20, max: 20 }).map(String), integer, offset);
/** Long ago or far away, but no later than dkv keeps times exactly: 2^53 milliseconds. */
const secondsOrMillis = fc.constantFrom(
  ..."0 -1 100000 1000000000 9223372036854775807 -9223372036854775808 abc 1.5".split(" "),
  "",
);
const time = fc.constantFrom(
  ..."1 0 -1 1000 99999999999 4102444800000 9223372036854775808 abc".split(" "),
);
/** SET leaves a key that has expired already, which counts until somebody has noticed. */
const laterTime = fc.constantFrom(
  ..."0 -1 99999999999 4102444800000 9223372036854775808 abc".split(" "),
);
const bit = fc.constantFrom("0", "1", "0", "1", "2", "-1", "x");
const anyCase = (word: string) =>
  fc.constantFrom(word, word.toLowerCase(), word[0] + word.slice(1).toLowerCase());
const oneOf = (...words: string[]) => fc.constantFrom(...words).chain(anyCase);

const setOption = fc.oneof(
  oneOf("NX", "XX", "GET", "KEEPTTL").map((word) => [word]),
  fc.tuple(oneOf("EX", "PX"), secondsOrMillis),
  fc.tuple(oneOf("EXAT", "PXAT"), laterTime),
);
const getexOption = fc.oneof(
  oneOf("PERSIST").map((word) => [word]),
  fc.tuple(oneOf("EX", "PX"), secondsOrMillis),
  fc.tuple(oneOf("EXAT", "PXAT"), time),
);
const expireOption = oneOf("NX", "XX", "GT", "LT").map((word) => [word]);
const rangeUnit = oneOf("BYTE", "BIT").map((word) => [word]);

const several = <T>(each: fc.Arbitrary<T>, min: number, max: number) =>
  fc.array(each, { minLength: min, maxLength: max });
const flat = (...parts: fc.Arbitrary<string | readonly (string | readonly string[])[]>[]) =>
  fc.tuple(...parts).map((values) => values.flat(2) as string[]);
const command = (
  name: string,
  ...parts: fc.Arbitrary<string | readonly (string | readonly string[])[]>[]
) => flat(anyCase(name), ...parts);

const bitfieldType = fc.oneof(
  fc.constantFrom("u8", "i8", "u1", "i1", "u63", "i64", "i16", "u32", "u13", "i7"),
  fc.constantFrom("u64", "u0", "i0", "i65", "x8", "u", "", "U8"),
);
const bitfieldOffset = fc.oneof(
  bitOffset,
  fc.nat(40).map((n) => `#${n}`),
  fc.constantFrom("#", "#-1", "##1"),
);
const bitfieldOperation = fc.oneof(
  flat(oneOf("GET"), bitfieldType, bitfieldOffset),
  flat(oneOf("SET"), bitfieldType, bitfieldOffset, integer),
  flat(oneOf("INCRBY"), bitfieldType, bitfieldOffset, integer),
  flat(oneOf("OVERFLOW"), oneOf("WRAP", "SAT", "FAIL", "NONE")),
);

const smallKey = fc.constantFrom("s1", "s2");
const letters = fc
  .array(fc.constantFrom("a", "b", "c", "\x00"), { maxLength: 20 })
  .map((characters) => characters.join(""));
const lcsOption = fc.oneof(
  oneOf("LEN", "IDX", "WITHMATCHLEN").map((word) => [word]),
  fc.tuple(oneOf("MINMATCHLEN"), integer),
);

const STRINGS = [
  command("GET", key),
  command("SET", key, value),
  command("SET", key, value, several(setOption, 0, 3)),
  command("SETNX", key, value),
  command("SETEX", key, secondsOrMillis, value),
  command("PSETEX", key, secondsOrMillis, value),
  command("GETSET", key, value),
  command("GETDEL", key),
  command("GETEX", key, several(getexOption, 0, 2)),
  command("MGET", several(key, 1, 4)),
  command("MSET", several(fc.tuple(key, value), 1, 4)),
  command("MSETNX", several(fc.tuple(key, value), 1, 3)),
  command("APPEND", key, value),
  command("STRLEN", key),
  command("GETRANGE", key, index, index),
  command("SUBSTR", key, index, index),
  command("SETRANGE", key, offset, bytes),
  command("INCR", key),
  command("DECR", key),
  command("INCRBY", key, integer),
  command("DECRBY", key, integer),
  command("INCRBYFLOAT", key, float),
  command("SET", smallKey, letters),
  command("APPEND", smallKey, letters),
  command("LCS", smallKey, smallKey, several(lcsOption, 0, 3)),
];

const BITS = [
  command("SETBIT", key, bitOffset, bit),
  command("GETBIT", key, bitOffset),
  command("BITCOUNT", key),
  command("BITCOUNT", key, index, index, several(rangeUnit, 0, 1)),
  command("BITPOS", key, bit, several(index, 0, 2), several(rangeUnit, 0, 1)),
  command("BITOP", oneOf("AND", "OR", "XOR", "NOT", "NOR"), key, several(key, 1, 3)),
  command("BITFIELD", key, several(bitfieldOperation, 0, 4)),
  command("BITFIELD_RO", key, several(bitfieldOperation, 0, 2)),
];

const GENERIC = [
  command("DEL", several(key, 1, 3)),
  command("UNLINK", several(key, 1, 3)),
  command("EXISTS", several(key, 1, 4)),
  command("TOUCH", several(key, 1, 3)),
  command("TYPE", key),
  command("RENAME", key, key),
  command("RENAMENX", key, key),
  command(
    "COPY",
    key,
    key,
    several(
      oneOf("REPLACE").map((word) => [word]),
      0,
      1,
    ),
  ),
  command("EXPIRE", key, secondsOrMillis, several(expireOption, 0, 2)),
  command("PEXPIRE", key, secondsOrMillis, several(expireOption, 0, 2)),
  command("EXPIREAT", key, time, several(expireOption, 0, 2)),
  command("PEXPIREAT", key, time, several(expireOption, 0, 2)),
  command("TTL", key),
  command("PTTL", key),
  command("EXPIRETIME", key),
  command("PEXPIRETIME", key),
  command("PERSIST", key),
  command("DBSIZE"),
  command("PING"),
  command("ECHO", value),
];

const TRANSACTIONS = [
  command("MULTI"),
  command("EXEC"),
  command("DISCARD"),
  command("WATCH", several(key, 1, 2)),
  command("UNWATCH"),
];

const JUNK = ["", "abc", "-", "\xff", "9223372036854775808", "nx", "GET", "*", "k".repeat(60_000)];

/** Keys that there may be. */
export const ALL_KEYS = [...KEYS, "s1", "s2", ...JUNK];

/** One argument too many, too few, or of another kind. */
const malformed = (good: fc.Arbitrary<string[]>) =>
  fc.tuple(good, fc.nat(2), fc.nat(), fc.constantFrom(...JUNK)).map(([words, how, where, junk]) => {
    if (how === 0) return words.length > 1 ? words.slice(0, -1) : [...words, junk];
    if (how === 1) return [...words, junk];
    return words.map((word, i) => (i > 0 && i === 1 + (where % (words.length - 1)) ? junk : word));
  });

const anyCommand = fc.oneof(
  { weight: 12, arbitrary: fc.oneof(...STRINGS) },
  { weight: 6, arbitrary: fc.oneof(...BITS) },
  { weight: 8, arbitrary: fc.oneof(...GENERIC) },
  { weight: 5, arbitrary: fc.oneof(...TRANSACTIONS) },
  { weight: 1, arbitrary: fc.constant(["FLUSHALL"]) },
  { weight: 3, arbitrary: malformed(fc.oneof(...STRINGS, ...BITS, ...GENERIC)) },
  { weight: 1, arbitrary: fc.constant(["NOSUCH", "a b", "c"]) },
);

const shortExpiry = fc.oneof(
  flat(fc.constant("SET"), key, value, fc.constant("PX"), fc.constant("3")),
  flat(fc.constant("PEXPIRE"), key, fc.constant("2")),
  flat(fc.constant("PSETEX"), key, fc.constant("4"), value),
);

const connection = fc.nat(CONNECTIONS - 1);
export const groups: fc.Arbitrary<Group[]> = several(
  fc.oneof(
    {
      weight: 12,
      arbitrary: fc.record({
        connection,
        commands: several<Command>(anyCommand, 1, 14),
        waitMs: fc.constant(0),
      }),
    },
    {
      weight: 1,
      arbitrary: fc.record({
        connection,
        // Queued, they would expire at any time after EXEC.
        // One only: between two the first may have expired on one server and not on the other.
        commands: shortExpiry.map((command): Command[] => [["DISCARD"], command]),
        waitMs: fc.constant(EXPIRY_WAIT_MS),
      }),
    },
  ),
  1,
  10,
);
