/** ReplySplitter: whole replies, wherever the stream is cut; requests encoded as a client would. */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { ReplySplitter } from "../../src/resp/reply-splitter.ts";
import { Request } from "../../src/resp/request.ts";
import { encodeRequest, encodeWords } from "../../src/resp/request-encoder.ts";
import { ParseStatus, RequestParser } from "../../src/resp/request-parser.ts";

const text = fc.string({ maxLength: 12 }).map((each) => each.replaceAll(/[\r\n]/g, "_"));
const bulkOf = (marker: string, content: string) =>
  `${marker}${Buffer.byteLength(content)}\r\n${content}\r\n`;

const reply = fc.letrec<{ reply: string }>((tie) => ({
  reply: fc.oneof(
    { depthSize: "small" },
    text.map((each) => `+${each}\r\n`),
    text.map((each) => `-ERR ${each}\r\n`),
    fc.bigInt().map((each) => `:${each}\r\n`),
    fc.string({ maxLength: 40 }).map((each) => bulkOf("$", `${each}\r\n$5\r\n`)),
    text.map((each) => bulkOf("=", `txt:${each}`)),
    fc.constantFrom("$-1\r\n", "*-1\r\n", "_\r\n", "#t\r\n", ",-1.5e-7\r\n", "(-12\r\n", "*0\r\n"),
    fc
      .tuple(fc.constantFrom("*", "~", ">"), fc.array(tie("reply"), { maxLength: 4 }))
      .map(([marker, items]) => `${marker}${items.length}\r\n${items.join("")}`),
    fc
      .array(fc.tuple(tie("reply"), tie("reply")), { maxLength: 3 })
      .map((entries) => `%${entries.length}\r\n${entries.flat().join("")}`),
  ),
})).reply;

test("finds every reply, wherever the stream is cut", () => {
  const cuts = fc.array(fc.integer({ min: 1, max: 30 }), { minLength: 1, maxLength: 200 });
  fc.assert(
    fc.property(fc.array(reply, { maxLength: 8 }), cuts, (replies, lengths) => {
      const found: string[] = [];
      const splitter = new ReplySplitter((each) => found.push(each.toString()));
      const bytes = Buffer.from(replies.join(""));
      for (let at = 0, i = 0; at < bytes.length; i++) {
        const end = Math.min(bytes.length, at + lengths[i % lengths.length]!);
        splitter.push(bytes.subarray(at, end));
        at = end;
      }
      expect(found).toEqual(replies);
    }),
  );
});

test("encoded requests are what the parser has read", () => {
  const words = fc.array(fc.uint8Array({ maxLength: 20 }), { minLength: 1, maxLength: 6 });
  fc.assert(
    fc.property(words, (args) => {
      const wire = Buffer.concat([
        Buffer.from(`*${args.length}\r\n`),
        ...args.flatMap((arg) => [Buffer.from(`$${arg.length}\r\n`), arg, Buffer.from("\r\n")]),
      ]);
      const parser = new RequestParser({ bulkBytesMax: 1 << 20, requestBytesMax: 1 << 20 });
      const request = new Request();
      parser.feed(Buffer.from(wire));
      expect(parser.next(request)).toBe(ParseStatus.COMPLETE);
      expect(Buffer.concat(encodeRequest(request)).equals(wire)).toBe(true);
      const last = encodeRequest(request, [args.length - 1]);
      const expected = [Buffer.from(`*1\r\n$${args.at(-1)!.length}\r\n`), args.at(-1)!];
      expect(Buffer.concat(last).equals(Buffer.concat([...expected, Buffer.from("\r\n")]))).toBe(
        true,
      );
    }),
  );
  expect(encodeWords("MULTI").toString()).toBe("*1\r\n$5\r\nMULTI\r\n");
});
