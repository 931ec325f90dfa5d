import { describe, expect, test } from "bun:test";
import { SlabPool } from "../../../src/base/slab-pool.ts";
import { ReplyWriter } from "../../../src/resp/reply-writer.ts";
import { cursorAt } from "../../../src/server/commands/scan.ts";
import { KeyList } from "../../../src/server/commands/scan-key-list.ts";

describe("cursorAt reads what strtoul() reads", () => {
  const cases: [text: string, expected: number][] = [
    ["0", 0],
    ["", 0],
    ["00012", 12],
    ["4398046511103", 4398046511103],
    ["+7", 7],
    ["-0", 0],
    ["-1", Number.POSITIVE_INFINITY],
    ["18446744073709551615", 2 ** 64],
    ["18446744073709551616", -1],
    ["-18446744073709551616", -1],
    ["1\0junk", 1],
    ["-", -1],
    ["-\0", -1],
    [" 1", -1],
    ["\t", -1],
    ["1 ", -1],
    ["0x", -1],
    ["1.5", -1],
  ];
  for (const [text, expected] of cases) {
    test(`${JSON.stringify(text)} is ${expected}`, () => {
      const bytes = Buffer.from(`9${text}9`, "latin1");
      expect(cursorAt(bytes, 1, bytes.length - 1)).toBe(expected);
    });
  }
});

describe("KeyList", () => {
  function replyOf(keys: readonly Buffer[]): string {
    const list = new KeyList(new SlabPool(0), []);
    for (const key of keys) list.add(key);
    const writer = new ReplyWriter();
    list.reply(writer);
    let text = "";
    let at = 0;
    for (const piece of writer.pieces) {
      // A piece is sent before the byte at its place: there must be one.
      expect(piece.at).toBeLessThan(writer.length);
      text += writer.buffer.toString("latin1", at, piece.at) + piece.bytes.toString("latin1");
      at = piece.at;
    }
    return text + writer.buffer.toString("latin1", at, writer.length);
  }

  test("is an array of bulk strings, whatever the number and the length of keys", () => {
    for (const [count, bytes] of [
      [0, 0],
      [1, 0],
      [3, 5],
      [2000, 10],
      [3, 65_535],
      [40, 60_000],
    ] as const) {
      const keys = Array.from({ length: count }, (_, index) =>
        Buffer.alloc(bytes, 97 + (index % 26)),
      );
      const expected = keys
        .map((key) => `$${key.length}\r\n${key.toString("latin1")}\r\n`)
        .join("");
      expect(replyOf(keys)).toBe(`*${count}\r\n${expected}`);
    }
  });
});
