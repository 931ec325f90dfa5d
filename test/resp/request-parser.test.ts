import { describe, expect, test } from "bun:test";
import { LARGE_ARGUMENT_BYTES, Request } from "../../src/resp/request.ts";
import { ParseStatus, RequestParser } from "../../src/resp/request-parser.ts";
import { encodeRequest } from "../support/raw-connection.ts";
import {
  argumentsOf,
  chunksOf,
  LIMITS,
  type ReadOptions,
  readRequests,
} from "../support/request-support.ts";

const latin1 = (text: string) => Buffer.from(text, "latin1");

function read(text: string, options: ReadOptions = {}) {
  return readRequests([latin1(text)], options);
}

/** Fed byte by byte and all at once, it is the same. */
function errorOf(text: string, options: ReadOptions = {}): string | undefined {
  const whole = read(text, options).error;
  const pieces = [...latin1(text)].map((byte) => Buffer.from([byte]));
  expect(readRequests(pieces, options).error).toBe(whole);
  return whole;
}

const MIXED: readonly (readonly string[])[] = [
  ["SET", "key", "value"],
  ["PING"],
  ["MSET", "a", "1", "bb", "", "ccc", "\r\n$3\r\n"],
  ["ECHO", "\x00\xff*1\r\n"],
  ["GET", "k".repeat(130)],
  Array.from({ length: 70 }, (_, i) => `argument ${i}`),
  ["SET", "b", "hello"],
];

describe("RequestParser", () => {
  test("gives the same requests however the stream is cut once", () => {
    const stream = Buffer.concat([
      ...MIXED.map(encodeRequest),
      latin1("*0\r\n*-1\r\nPING inline\r\n\r\nset \"a b\" 'c'\n"),
      encodeRequest(["LAST"]),
    ]);
    const expected = [...MIXED, ["PING", "inline"], ["set", "a b", "c"], ["LAST"]];
    for (let cut = 0; cut <= stream.length; cut++) {
      const result = readRequests(chunksOf(stream, [cut]), { spoils: true });
      expect({ cut, ...result }).toEqual({
        cut,
        requests: expected as string[][],
        error: undefined,
        bufferedMax: expect.any(Number),
      });
    }
  });

  test("gives the same requests cut twice, byte by byte, and in chunks of any one size", () => {
    const few = [MIXED[0]!, MIXED[2]!, MIXED[6]!];
    const stream = Buffer.concat(few.map(encodeRequest));
    for (let first = 0; first < stream.length; first++) {
      for (let second = first + 1; second < stream.length; second += 3) {
        const { requests } = readRequests(chunksOf(stream, [first, second]), { spoils: true });
        expect({ first, second, requests }).toEqual({
          first,
          second,
          requests: few as string[][],
        });
      }
    }
    const whole = Buffer.concat(MIXED.map(encodeRequest));
    for (let size = 1; size < 40; size++) {
      const cuts = Array.from({ length: Math.ceil(whole.length / size) }, (_, i) => i * size);
      const { requests } = readRequests(chunksOf(whole, cuts), { spoils: true });
      expect({ size, requests }).toEqual({ size, requests: MIXED as string[][] });
    }
  });

  test("keeps an incomplete request apart from the Request it began in", () => {
    const parser = new RequestParser(LIMITS);
    const shared = new Request();
    parser.feed(latin1("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\nhe"));
    expect(parser.next(shared)).toBe(ParseStatus.INCOMPLETE);
    // Another session takes its turn in the same Request.
    const other = new RequestParser(LIMITS);
    other.feed(Buffer.from(encodeRequest(["DEL", "x", "y", "z"])));
    expect(other.next(shared)).toBe(ParseStatus.COMPLETE);
    parser.feed(latin1("llo\r\n"));
    expect(parser.next(shared)).toBe(ParseStatus.COMPLETE);
    expect(argumentsOf(shared)).toEqual(["SET", "k", "hello"]);
  });

  test("takes large arguments in pieces, wherever the chunks end", () => {
    const value = Buffer.alloc(LARGE_ARGUMENT_BYTES + 70_000);
    for (let i = 0; i < value.length; i++) value[i] = (i * 7 + (i >>> 8)) & 0xff;
    const text = value.toString("latin1");
    const stream = Buffer.concat([
      encodeRequest(["PING"]),
      encodeRequest(["MSET", "a", text, "b", "short", "c", text]),
      encodeRequest(["SET", "d", "after"]),
    ]);
    const expected = [
      ["PING"],
      ["MSET", "a", text, "b", "short", "c", text],
      ["SET", "d", "after"],
    ];
    const first = stream.indexOf(latin1(`$${value.length}`));
    const second = stream.lastIndexOf(latin1(`$${value.length}`));
    const header = `$${value.length}\r\n`.length;
    const edges = [first, second].flatMap((at) => [
      at + header - 1,
      at + header,
      at + header + 1,
      at + header + 5000,
      at + header + value.length - 1,
      at + header + value.length,
      at + header + value.length + 1,
      at + header + value.length + 2,
    ]);
    for (const edge of edges) {
      for (const start of [3, first - 2, first + 3]) {
        const cuts = [start, edge].sort((a, b) => a - b);
        const { requests, error } = readRequests(chunksOf(stream, cuts));
        expect(error).toBeUndefined();
        expect(Bun.deepEquals(requests, expected)).toBe(true);
      }
    }
    const sizes = [4095, 4096, 65_536, 100_000];
    for (const size of sizes) {
      const cuts = Array.from({ length: Math.ceil(stream.length / size) }, (_, i) => i * size);
      expect(Bun.deepEquals(readRequests(chunksOf(stream, cuts)).requests, expected)).toBe(true);
    }
  });

  test("gathers the pieces of a large argument that drips", () => {
    const parser = new RequestParser(LIMITS);
    const request = new Request();
    const length = LARGE_ARGUMENT_BYTES + 10;
    parser.feed(latin1(`*2\r\n$3\r\nSET\r\n$${length}\r\n`));
    expect(parser.next(request)).toBe(ParseStatus.INCOMPLETE);
    for (let at = 0; at < length; ) {
      const size = Math.min(length - at, at % 3 === 0 ? 17 : 10);
      parser.feed(Buffer.alloc(size, at % 251));
      expect(parser.next(request)).toBe(ParseStatus.INCOMPLETE);
      at += size;
    }
    const expected = Buffer.alloc(length);
    for (let at = 0; at < length; ) {
      const size = Math.min(length - at, at % 3 === 0 ? 17 : 10);
      expected.fill(at % 251, at, at + size);
      at += size;
    }
    parser.feed(latin1("\r\n"));
    expect(parser.next(request)).toBe(ParseStatus.COMPLETE);
    expect(request.pieces(1).length).toBeLessThan(20);
    expect(Buffer.concat(request.pieces(1)).equals(expected)).toBe(true);
  });

  test("never holds more than what has arrived, whatever length was declared", () => {
    const { bufferedMax, error } = read(
      `*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$${LIMITS.bulkBytesMax}\r\nab`,
    );
    expect(error).toBeUndefined();
    expect(bufferedMax).toBeLessThan(4096);
    expect(read("*1048576\r\n$1\r\na\r\n").bufferedMax).toBeLessThan(4096);
  });

  test("refuses lengths and counts beyond the limits", () => {
    const limits = { bulkBytesMax: 1000, requestBytesMax: 1 << 20 };
    expect(errorOf("*1\r\n$1000\r\n", { limits })).toBeUndefined();
    expect(errorOf("*1\r\n$1001\r\n", { limits })).toBe("ERR Protocol error: invalid bulk length");
    expect(errorOf("*1048577\r\n")).toBe("ERR Protocol error: invalid multibulk length");
  });

  test("refuses a request that is larger than allowed, small and large arguments taken together", () => {
    const limits = { bulkBytesMax: 8 << 20, requestBytesMax: 4 << 20 };
    const small = "$100000\r\n".concat("x".repeat(100_000), "\r\n");
    const chunks = [latin1("*100\r\n"), ...new Array<Buffer>(60).fill(latin1(small))];
    expect(readRequests(chunks, { limits }).error).toBe("ERR Protocol error: too big request");
    const large = latin1("$2097152\r\n".concat("x".repeat(2 << 20), "\r\n"));
    const three = readRequests([latin1("*9\r\n"), large, large, large], { limits });
    expect(three.error).toBe("ERR Protocol error: too big request");
    // What one request had counts no more for the next.
    const one = Buffer.concat([latin1("*1\r\n"), large]);
    expect(readRequests([one, one, one, one], { limits }).requests.length).toBe(4);
  });

  test("holds unauthenticated clients to ten arguments of 16 KiB", () => {
    const options = { isTrusted: false };
    expect(errorOf("*10\r\n$16384\r\n", options)).toBeUndefined();
    expect(errorOf("*11\r\n", options)).toBe(
      "ERR Protocol error: unauthenticated multibulk length",
    );
    expect(errorOf("*1\r\n$16385\r\n", options)).toBe(
      "ERR Protocol error: unauthenticated bulk length",
    );
  });

  const malformed: readonly [string, string][] = [
    ["*abc\r\n", "invalid multibulk length"],
    ["*\r\n", "invalid multibulk length"],
    ["*+1\r\n", "invalid multibulk length"],
    ["*01\r\n", "invalid multibulk length"],
    ["*1 \r\n", "invalid multibulk length"],
    ["*99999999999999999999\r\n", "invalid multibulk length"],
    ["*--1\r\n", "invalid multibulk length"],
    ["*-0\r\n", "invalid multibulk length"],
    ["*1\r\nPING\r\n", "expected '$', got 'P'"],
    ["*1\r\n\r\n", "expected '$', got ' '"],
    ["*1\r\n:4\r\n", "expected '$', got ':'"],
    ["*2\r\n$1\r\na\r\n*1\r\n", "expected '$', got '*'"],
    ["*1\r\n$-1\r\n", "invalid bulk length"],
    ["*1\r\n$\r\n", "invalid bulk length"],
    ["*1\r\n$x\r\n", "invalid bulk length"],
    ["*1\r\n$00\r\n", "invalid bulk length"],
    ["*1\r\n$999999999999999999\r\n", "invalid bulk length"],
    ['GET "abc\r\n', "unbalanced quotes in request"],
    ["GET 'abc\r\n", "unbalanced quotes in request"],
    ['GET "abc"d\r\n', "unbalanced quotes in request"],
    ["GET 'abc'd\r\n", "unbalanced quotes in request"],
    ['GET "abc\\"\r\n', "unbalanced quotes in request"],
  ];
  for (const [text, error] of malformed) {
    test(`answers ${JSON.stringify(text)} with: ${error}`, () => {
      expect(errorOf(text)).toBe(`ERR Protocol error: ${error}`);
    });
  }

  test("gives what came before a malformed request", () => {
    const { requests, error } = read("*1\r\n$4\r\nPING\r\nECHO a\r\n*1\r\n!");
    expect(requests).toEqual([["PING"], ["ECHO", "a"]]);
    expect(error).toBe("ERR Protocol error: expected '$', got '!'");
  });

  test("refuses lines that do not end", () => {
    const long = "1".repeat(64 * 1024 + 1);
    for (const end of ["", "\r\n"]) {
      expect(read(`GET ${long}${end}`).error).toBe("ERR Protocol error: too big inline request");
      expect(read(`*-${long}${end}`).error).toBe("ERR Protocol error: too big mbulk count string");
    }
    expect(read(`*1\r\n$-${long}`).error).toBe("ERR Protocol error: too big bulk count string");
    expect(read(`*${long}`).error).toBe("ERR Protocol error: invalid multibulk length");
  });

  test("sees no end of a line behind a NUL byte, as Redis", () => {
    for (const line of ["PING\0", "\0PING", 'ECHO "a\0b"', "*1\0", "*-\0", "*1\r\n$4\0"]) {
      const waiting = read(`PING\r\n${line}\r\nPING\r\n`);
      expect(waiting).toMatchObject({ requests: [["PING"]], error: undefined });
      const { error } = read(`${line}\r\n${"PING\r\n".repeat(11_000)}`);
      expect(error).toStartWith("ERR Protocol error: too big ");
    }
  });

  test("answers nothing for *0, *-1 and blank lines", () => {
    expect(read("*0\r\n*-1\r\n*-10\r\n\r\n \t \n*1\r\n$4\r\nPING\r\n").requests).toEqual([
      ["PING"],
    ]);
  });

  const lines: readonly [string, string[]][] = [
    ["PING", ["PING"]],
    ["  SET\t k  v ", ["SET", "k", "v"]],
    ['SET k "a b"', ["SET", "k", "a b"]],
    ["SET k 'a \"b\\n'", ["SET", "k", 'a "b\\n']],
    ["SET k 'it\\'s'", ["SET", "k", "it's"]],
    [
      'SET k "\\x00\\xFf\\n\\r\\t\\a\\b\\"\\\\\\q\\xg1"',
      ["SET", "k", '\x00\xff\n\r\t\x07\b"\\qxg1'],
    ],
    ['SET k ""', ["SET", "k", ""]],
    ['SET k ab"c d"', ["SET", "k", "abc d"]],
    ["SET k \xe4\xff", ["SET", "k", "\xe4\xff"]],
    ['"PING"', ["PING"]],
    ["ECHO\x0b \x0ba\x0cb", ["ECHO\x0b", "a\x0cb"]],
    ['ECHO "a"\x0bb', ["ECHO", "a", "b"]],
  ];
  for (const [line, expected] of lines) {
    test(`splits the inline request ${JSON.stringify(line)}`, () => {
      for (const end of ["\r\n", "\n"]) expect(read(line + end).requests).toEqual([expected]);
    });
  }
});

describe("Request", () => {
  test("clone() keeps its arguments when the parser's bytes are gone", () => {
    const parser = new RequestParser(LIMITS);
    const request = new Request();
    const chunk = Buffer.concat([encodeRequest(["PING"]), encodeRequest(["SET", "k", "", "v"])]);
    parser.feed(chunk);
    parser.next(request);
    parser.next(request);
    const copy = request.clone();
    chunk.fill(0);
    expect(argumentsOf(copy)).toEqual(["SET", "k", "", "v"]);
    expect(copy.text(3)).toBe("v");
  });

  test("materialize() puts large arguments and small ones into one buffer", () => {
    const large = "y".repeat(LARGE_ARGUMENT_BYTES + 1);
    const parser = new RequestParser(LIMITS);
    const request = new Request();
    parser.feed(Buffer.from(encodeRequest(["SET", large, "v"])));
    expect(parser.next(request)).toBe(ParseStatus.COMPLETE);
    expect([request.isLarge(0), request.isLarge(1), request.isLarge(2)]).toEqual([
      false,
      true,
      false,
    ]);
    expect(request.byteLength(1)).toBe(large.length);
    const target = Buffer.alloc(large.length + 1);
    request.copyTo(1, target, 1);
    expect(target.toString("latin1", 1)).toBe(large);
    request.materialize();
    expect(request.isLarge(1)).toBe(false);
    expect(request.latin1(0)).toBe("SET");
    expect(request.latin1(1)).toBe(large);
    expect(request.latin1(2)).toBe("v");
  });
});
