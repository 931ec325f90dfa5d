import { describe, expect, test } from "bun:test";
import { ReplyWriter } from "../../src/resp/reply-writer.ts";

function written(write: (reply: ReplyWriter) => void, protocol: 2 | 3 = 2): string {
  const reply = new ReplyWriter();
  reply.protocol = protocol;
  write(reply);
  let out = "";
  let from = 0;
  for (const { at, bytes } of reply.pieces) {
    out += reply.buffer.toString("latin1", from, at) + bytes.toString("latin1");
    from = at;
  }
  return out + reply.buffer.toString("latin1", from, reply.length);
}

describe("ReplyWriter", () => {
  const shapes: readonly [string, (reply: ReplyWriter) => void, string, string][] = [
    ["ok", (r) => r.ok(), "+OK\r\n", "+OK\r\n"],
    ["simple", (r) => r.simple("QUEUED"), "+QUEUED\r\n", "+QUEUED\r\n"],
    ["error", (r) => r.error("ERR a\r\nb"), "-ERR a  b\r\n", "-ERR a  b\r\n"],
    ["nullBulk", (r) => r.nullBulk(), "$-1\r\n", "_\r\n"],
    ["nullArray", (r) => r.nullArray(), "*-1\r\n", "_\r\n"],
    ["bulkString", (r) => r.bulkString("ä"), "$2\r\n\xc3\xa4\r\n", "$2\r\n\xc3\xa4\r\n"],
    ["array", (r) => r.array(0), "*0\r\n", "*0\r\n"],
    ["map", (r) => r.map(2), "*4\r\n", "%2\r\n"],
    ["set", (r) => r.set(12), "*12\r\n", "~12\r\n"],
    ["push", (r) => r.push(3), "*3\r\n", ">3\r\n"],
    ["boolean", (r) => r.boolean(true), ":1\r\n", "#t\r\n"],
    ["boolean", (r) => r.boolean(false), ":0\r\n", "#f\r\n"],
    ["double", (r) => r.double("1.5"), "$3\r\n1.5\r\n", ",1.5\r\n"],
    ["verbatim", (r) => r.verbatim("a\nb"), "$3\r\na\nb\r\n", "=7\r\ntxt:a\nb\r\n"],
    [
      "bigInteger",
      (r) => r.bigInteger(-(2n ** 63n)),
      ":-9223372036854775808\r\n",
      ":-9223372036854775808\r\n",
    ],
  ];
  for (const [name, write, two, three] of shapes) {
    test(`${name} is ${JSON.stringify(two)} in RESP2 and ${JSON.stringify(three)} in RESP3`, () => {
      expect(written(write, 2)).toBe(two);
      expect(written(write, 3)).toBe(three);
    });
  }

  test("integer writes every integer that a number holds exactly", () => {
    const numbers = [
      0,
      1,
      9,
      10,
      99,
      100,
      101,
      999,
      1000,
      65_535,
      2 ** 31,
      2 ** 32,
      2 ** 53 - 1,
      2 ** 53,
    ];
    for (let power = 1; power < 2 ** 53; power *= 10) numbers.push(power, power - 1, power + 1);
    for (const number of numbers) {
      expect(written((r) => r.integer(number))).toBe(`:${number}\r\n`);
      if (number !== 0) expect(written((r) => r.integer(-number))).toBe(`:${-number}\r\n`);
    }
  });

  test("bulk of any length keeps what was written before", () => {
    for (const length of [0, 1, 16_000, 16_384, 40_000]) {
      const bytes = Buffer.alloc(length, 0x61);
      const text = written((r) => {
        r.simple("first");
        r.bulk(bytes, 0, length);
        r.integer(7);
      });
      expect(text).toBe(`+first\r\n$${length}\r\n${"a".repeat(length)}\r\n:7\r\n`);
    }
  });

  test("bulkPieces sends long pieces from where they lie, in their place", () => {
    const long = Buffer.alloc(20_000, 0x62);
    const reply = new ReplyWriter();
    reply.bulkPieces([Buffer.from("a"), long, Buffer.from("c"), long]);
    reply.ok();
    expect(reply.pieces.map(({ bytes }) => bytes === long)).toEqual([true, true]);
    expect(reply.pendingBytes).toBe("$40002\r\n".length + 40_002 + 2 + 5);
    const text = written((r) => {
      r.bulkPieces([Buffer.from("a"), long, Buffer.from("c"), long]);
      r.ok();
    });
    expect(text).toBe(`$40002\r\na${"b".repeat(20_000)}c${"b".repeat(20_000)}\r\n+OK\r\n`);
  });

  test("truncate takes back a reply, its pieces too, and nothing else", () => {
    const long = Buffer.alloc(20_000, 0x62);
    const text = written((r) => {
      r.bulkPieces([long]);
      const start = r.length;
      r.bulkPieces([long]);
      r.error("ERR no");
      r.truncate(start);
      r.ok();
    });
    expect(text).toBe(`$20000\r\n${"b".repeat(20_000)}\r\n+OK\r\n`);
  });

  test("consume forgets what has left, and moves the pieces with the rest", () => {
    const reply = new ReplyWriter();
    reply.simple("one");
    reply.bulkPieces([Buffer.alloc(20_000)]);
    const header = "+one\r\n$20000\r\n".length;
    expect(reply.pieces[0]!.at).toBe(header);
    reply.consume(6);
    expect(reply.pieces[0]!.at).toBe(header - 6);
    expect(reply.buffer.toString("latin1", 0, reply.length)).toBe("$20000\r\n\r\n");
    reply.consume(reply.length);
    expect({ length: reply.length, held: reply.buffer.length }).toEqual({ length: 0, held: 0 });
  });

  test("a long buffer that has left is used again, by one writer at a time", () => {
    const fill = (reply: ReplyWriter, letter: number, length: number) => {
      const piece = Buffer.alloc(1000, letter);
      for (let at = 0; at < length; at += piece.length) reply.bulk(piece, 0, piece.length);
    };
    for (const length of [15_000, 17_000, 66_000, 200_000]) {
      const [first, second] = [new ReplyWriter(), new ReplyWriter()];
      fill(first, 0x61, length);
      const used = first.buffer;
      fill(second, 0x62, length);
      expect(second.buffer === used).toBe(false);
      const count = Math.ceil(length / 1000);
      expect(first.buffer.toString("latin1", 0, first.length)).toBe(
        `$1000\r\n${"a".repeat(1000)}\r\n`.repeat(count),
      );
      first.consume(first.length);
      fill(first, 0x63, 10);
      expect(first.buffer === used).toBe(true);
      first.consume(first.length);
      // The last batch was short.
      fill(first, 0x63, 10);
      expect(first.buffer.length).toBe(16 * 1024);
    }
  });

  test("isErrorAt and lineAt read the reply that starts there", () => {
    const reply = new ReplyWriter();
    reply.ok();
    const start = reply.length;
    expect(reply.isErrorAt(start)).toBe(false);
    reply.error("WRONGTYPE no");
    reply.ok();
    expect([reply.isErrorAt(0), reply.isErrorAt(start)]).toEqual([false, true]);
    expect(reply.lineAt(start)).toBe("WRONGTYPE no");
  });
});
