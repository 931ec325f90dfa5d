/** `cli` against a server: what it prints beside redis-cli, how it ends, and how it is on a terminal. */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ManagedDkv } from "../support/managed-dkv.ts";
import { MAIN, runTool } from "../support/tool.ts";

setDefaultTimeout(60_000);

const REDIS_CLI = Bun.which("redis-cli");
/** Every kind of reply, nested ones too. */
const LINES = [
  ...["FLUSHALL", "SET a hello", "GET a", "GET missing", "STRLEN a", "LCASE a"],
  ...[
    'SET b "\\x00\\xff\\n\\t\\"\\\\ é"',
    "GET b",
    "SET empty ''",
    "GET empty",
    "MGET a b missing",
  ],
  ...["MULTI", "GET a", "INCR a", "MGET a missing", "EXEC"],
  ...["KEYS nothing*", "COMMAND INFO get nothing", "COMMAND DOCS getdel", "CONFIG GET appendf*"],
  ...["SET s1 ohmytext", "SET s2 mynewtext", "LCS s1 s2 IDX WITHMATCHLEN", "SCAN 0 MATCH nothing"],
  ...[
    "INCRBYFLOAT f 1.5",
    "CLIENT GETNAME",
    "COMMAND GETKEYS MSET a 1 b 2",
    "MGET 1 2 3 4 5 6 7 8 9 10",
  ],
  ...["BITFIELD n SET u8 0 255 GET u8 0", "COMMAND COUNT", "ECHO done"],
];

let server: ManagedDkv;
beforeAll(async () => {
  server = await ManagedDkv.start(["--maxmemory", "256mb", "--loglevel", "warning"]);
});
afterAll(() => server?.dispose());

const here = () => ["-p", `${server.port}`];

describe.skipIf(REDIS_CLI === null)("replies are printed as redis-cli prints them", () => {
  for (const flags of [["--no-raw"], ["--raw"], ["--no-raw", "-3"], ["--raw", "-3"]]) {
    test(`with ${flags.join(" ")}`, async () => {
      const input = `${LINES.join("\n")}\n`;
      const other = Bun.spawnSync([REDIS_CLI!, ...here(), ...flags], { stdin: Buffer.from(input) });
      const own = await runTool(["cli", ...here(), ...flags], input);
      // It says so when a command took longer than half a second.
      const expected = other.stdout.toString().replace(/^\(\d+\.\d+s\)\n/gm, "");
      expect(own.stdout).toBe(expected);
    });
  }
});

describe("one-shot", () => {
  test("values go through as bytes, from standard input and to standard output", async () => {
    const value = Uint8Array.from({ length: 4096 }, (_, at) => at % 256);
    expect((await runTool(["cli", ...here(), "-x", "SET", "bytes"], value)).stdout).toBe("OK\n");
    const child = Bun.spawnSync([process.execPath, MAIN, "cli", ...here(), "GET", "bytes"]);
    expect(new Uint8Array(child.stdout)).toEqual(Uint8Array.from([...value, 10]));
  });

  test("the exit status tells an error of the server from none, and from not having asked", async () => {
    const ofServer = await runTool(["cli", ...here(), "INCR", "a", "b"]);
    expect([ofServer.status, ofServer.stderr]).toEqual([1, ""]);
    expect(ofServer.stdout).toBe("ERR wrong number of arguments for 'incr' command\n\n");
    const failed = await runTool(["cli", ...here()], "SET x 1\nINCR\nSET y 1\n");
    expect(failed.status).toBe(1);
    expect((await runTool(["cli", ...here(), "EXISTS", "x", "y"])).stdout).toBe("2\n");
    const nobody = await runTool(["cli", "-p", "1", "PING"]);
    expect([nobody.status, nobody.stdout]).toEqual([2, ""]);
    expect(nobody.stderr).toStartWith("dkv: cannot connect to 127.0.0.1:1\nIs the server running");
    for (const words of [["-p", "x"], ["-p", "0"], ["--nonsense"], ["-x"]]) {
      const wrong = await runTool(["cli", ...words]);
      expect([words, wrong.status, wrong.stdout]).toEqual([words, 2, ""]);
    }
  });

  test("a command's own options are not the tool's", async () => {
    expect((await runTool(["cli", ...here(), "ECHO", "--help"])).stdout).toBe("--help\n");
    expect((await runTool(["cli", ...here(), "ECHO", "-p"])).stdout).toBe("-p\n");
  });

  test("help says what a command takes", async () => {
    const { stdout, status } = await runTool(["cli", ...here(), "help", "cluster"]);
    expect(status).toBe(0);
    expect(stdout).toContain("  CLUSTER KEYSLOT key\n");
    expect((await runTool(["cli", ...here(), "help", "nothing"])).status).toBe(1);
  });
});

test("every tool has help with examples, and none of it needs a server", async () => {
  const pages = [
    ...[["cli"], ["bench"], ["check"], ["cluster"], ["cluster", "status"], ["cluster", "nodes"]],
    ...[
      ["cluster", "slots"],
      ["cluster", "watch"],
      ["cluster", "failover"],
      ["cluster", "forget"],
      ["cluster", "move"],
      ["cluster", "rebalance"],
      ["cluster", "drain"],
      ["cluster", "moves"],
      ["cluster", "abort"],
    ],
  ];
  const results = await Promise.all(pages.map((words) => runTool([...words, "--help"])));
  for (const [at, { status, stdout }] of results.entries()) {
    expect([pages[at], status]).toEqual([pages[at]!, 0]);
    expect(stdout).toMatch(/^Usage: /);
    expect(stdout).toMatch(/\nExamples?:\n {2}\S/);
  }
  const whole = await runTool(["--help"]);
  for (const name of ["server", "cli", "cluster", "bench", "check"])
    expect(whole.stdout).toMatch(new RegExp(`^ {2}${name} `, "m"));
  expect(whole.stdout).toMatch(/^Usage: dkv /m);
  expect(whole.stdout).toMatch(/^ {2}dkv cluster status /m);
  const unknown = await runTool(["clustre"]);
  expect(unknown.status).toBe(1);
  expect(unknown.stderr).toContain("neither a command nor a configuration file 'clustre'");
});

test("a wrong password, and a port that speaks something else, are told apart", async () => {
  const secret = await ManagedDkv.start(["--requirepass", "sesame", "--maxmemory", "256mb"]);
  const web = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: () => new Response("no") });
  try {
    const at = ["-p", `${secret.port}`];
    expect((await runTool(["cli", ...at, "-a", "sesame", "PING"])).stdout).toBe("PONG\n");
    const wrong = await runTool(["cli", ...at, "-a", "open", "PING"]);
    expect([wrong.status, wrong.stderr]).toEqual([2, expect.stringContaining("WRONGPASS")]);
    expect((await runTool(["cli", ...at, "PING"])).status).toBe(1);
    const other = await runTool(["cli", "-p", `${web.port}`, "PING"]);
    expect([other.status, other.stderr]).toEqual([2, expect.stringContaining("does not speak")]);
  } finally {
    await web.stop(true);
    await secret.dispose();
  }
});

/** A terminal with `cli` in it: keys in, the screen's text out. */
class Terminal {
  #text = "";
  readonly child: Bun.Subprocess;
  readonly #terminal: { write(keys: string): void };

  constructor(historyFile: string) {
    const onData = (_terminal: unknown, bytes: Uint8Array) => {
      this.#text += Buffer.from(bytes).toString();
    };
    this.child = Bun.spawn([process.execPath, MAIN, "cli", ...here()], {
      env: { ...process.env, DKV_CLI_HISTORY: historyFile, TERM: "xterm" },
      terminal: { cols: 100, rows: 30, data: onData },
    });
    this.#terminal = this.child.terminal!;
  }

  type(keys: string): void {
    this.#terminal.write(keys);
  }

  /** Waits for `text`, and takes all up to its end off. */
  async until(text: string): Promise<void> {
    const deadline = performance.now() + 20_000;
    for (;;) {
      const at = this.#text.indexOf(text);
      if (at >= 0) {
        this.#text = this.#text.slice(at + text.length);
        return;
      }
      if (performance.now() > deadline)
        throw new Error(`no ${JSON.stringify(text)} in ${JSON.stringify(this.#text)}`);
      await Bun.sleep(10);
    }
  }
}

test("on a terminal: prompt, history over runs, completion, MONITOR until Ctrl-C, and its end", async () => {
  const directory = mkdtempSync(join(tmpdir(), "dkv-cli-"));
  const file = join(directory, "history");
  const prompt = `127.0.0.1:${server.port}> `;
  const first = new Terminal(file);
  let second: Terminal | undefined;
  try {
    await first.until(prompt);
    first.type('set typed "a b"\r');
    await first.until("OK");
    await first.until(prompt);
    first.type("auth secret\r");
    await first.until("(error) ERR");
    await first.until(prompt);
    first.type("client getn\t");
    await first.until("getname");
    first.type("\r");
    await first.until("(nil)");
    await first.until(prompt);
    first.type("monitor\r");
    await first.until("OK");
    await runTool(["cli", ...here(), "ECHO", "seen by monitor"]);
    await first.until('"seen by monitor"');
    first.type("\u0003");
    await first.until(prompt);
    first.type("get typed\r");
    await first.until('"a b"');
    await first.until(prompt);
    first.type("\u0003");
    expect(await first.child.exited).toBe(0);
    expect(readFileSync(file, "utf8")).toBe(
      'set typed "a b"\nclient getname\nmonitor\nget typed\n',
    );
    second = new Terminal(file);
    await second.until(prompt);
    second.type("\u001b[A\r");
    await second.until('"a b"');
    await second.until(prompt);
    second.type("quit\r");
    expect(await second.child.exited).toBe(0);
  } finally {
    first.child.kill("SIGKILL");
    second?.child.kill("SIGKILL");
    rmSync(directory, { recursive: true });
  }
});
