/** The script runner itself, against a server that answers +PONG to everything. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { encodeRequest } from "../support/raw-connection.ts";
import { matches, parseScript, render, run, sortReply, splitWords } from "./compat-script.ts";

describe("splitWords", () => {
  test("takes quotes and escapes as redis-cli does", () => {
    expect(splitWords("SET k v")).toEqual(["SET", "k", "v"]);
    expect(splitWords('SET  "a b" ""')).toEqual(["SET", "a b", ""]);
    expect(splitWords('"\\x00\\xff\\r\\n\\"\\\\"')).toEqual(['\x00\xff\r\n"\\']);
    expect(splitWords("'a\\n b' c")).toEqual(["a\\n b", "c"]);
  });
});

describe("render and matches", () => {
  test("one line per CRLF, other bytes escaped", () => {
    const reply = Buffer.from("$6\r\na\r\n\\\xff\r\n".replace("\xff", "\x7f"), "latin1");
    expect(render(reply)).toEqual(["$6", "a", "\\\\\\x7f"]);
    expect(render(Buffer.from("-ERR x \r\n"))).toEqual(["-ERR x\\x20"]);
    expect(render(Buffer.from("$0\r\n\r\n"))).toEqual(["$0", ""]);
    expect(render(undefined)).toEqual(["(closed)"]);
  });

  test("exact lines, regular expressions, and the rest left open", () => {
    expect(matches(["< $1", "< v"], ["$1", "v"])).toBe(true);
    expect(matches(["< $0", "<"], ["$0", ""])).toBe(true);
    expect(matches(["< $1"], ["$1", "v"])).toBe(false);
    expect(matches(["< $1", "< v"], ["$1"])).toBe(false);
    expect(matches(["<~ :\\d+"], [":12"])).toBe(true);
    expect(matches(["<~ :\\d+"], [":12x"])).toBe(false);
    expect(matches(["< *2", "<*"], ["*2", "$1", "a"])).toBe(true);
    expect(matches(["< *2", "<*"], ["*3", "$1", "a"])).toBe(false);
    expect(matches([], ["+OK"])).toBe(false);
  });

  test("sortReply sorts arrays of strings at any depth", () => {
    const scan = Buffer.from("*2\r\n$1\r\n0\r\n*2\r\n$1\r\nb\r\n$1\r\na\r\n");
    expect(render(sortReply(scan))).toEqual(["*2", "$1", "0", "*2", "$1", "a", "$1", "b"]);
    const keys = Buffer.from(encodeRequest(["c", "a", "b"]));
    expect(Buffer.from(sortReply(keys))).toEqual(Buffer.from(encodeRequest(["a", "b", "c"])));
  });
});

describe("run", () => {
  let server: Bun.TCPSocketListener | undefined;

  beforeAll(() => {
    server = Bun.listen({
      hostname: "127.0.0.1",
      port: 0,
      socket: { data: (socket) => void socket.write("+PONG\r\n") },
    });
  });
  afterAll(() => server?.stop(true));

  function play(lines: string[], keepsOverrides: boolean): Promise<string[]> {
    return run({ title: "t", lines }, server!.port, keepsOverrides);
  }

  test("returns the same text when every reply is as expected", async () => {
    const lines = ["=== t", "# c", "> PING", "< +PONG", "", "> PING", "<~ .PO.*"];
    expect(await play(lines, false)).toEqual(lines);
  });

  test("puts what the server said in place of a wrong or missing expectation", async () => {
    const lines = ["=== t", "> A", "< $1", "< v", "> B", "# end"];
    expect(await play(lines, false)).toEqual([
      "=== t",
      "> A",
      "< +PONG",
      "> B",
      "< +PONG",
      "# end",
    ]);
  });

  test("keeps an override when the server is Redis and checks it when it is dkv", async () => {
    const lines = ["=== t", "> A", "!override why", "< +OWN"];
    expect(await play(lines, true)).toEqual(lines);
    expect(await play(lines, false)).toEqual(["=== t", "> A", "!override why", "< +PONG"]);
  });

  test("refuses a line that it does not know", async () => {
    await expect(play(["=== t", "@nosuch"], false)).rejects.toThrow("unknown line");
  });
});

test("parseScript splits a file into its head and sections, losing no line", () => {
  const text = "# head\n\n=== a\n> PING\n\n=== b\n> GET k\n";
  const { head, sections } = parseScript(text);
  expect(sections.map((each) => each.title)).toEqual(["a", "b"]);
  expect(`${[...head, ...sections.flatMap((each) => each.lines)].join("\n")}\n`).toBe(text);
});
