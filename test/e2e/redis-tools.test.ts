/** redis-cli and redis-benchmark, as they come with Redis 7.0, against a dkv process. Skipped where they are missing. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { ManagedDkv, runCommand } from "../support/managed-dkv.ts";
import { encodeRequest } from "../support/raw-connection.ts";

const TIMEOUT_MS = 150_000;
const HAS_CLI = Bun.which("redis-cli") !== null;
const HAS_BENCHMARK = Bun.which("redis-benchmark") !== null;
const whySkipped = (has: boolean, name: string) => (has ? "" : ` (skipped: there is no ${name})`);

let dkv: ManagedDkv;

beforeAll(async () => {
  dkv = await ManagedDkv.start(["--maxmemory", "256mb", "--appendfsync", "everysec"]);
}, TIMEOUT_MS);
afterAll(() => dkv.dispose());

async function cli(args: readonly string[], input?: Uint8Array): Promise<string> {
  const words = ["timeout", "20", "redis-cli", "-p", `${dkv.port}`, ...args];
  const result = await runCommand(words, input === undefined ? {} : { input });
  expect({ args, exitCode: result.exitCode, stderr: result.stderr }).toEqual({
    args,
    exitCode: 0,
    stderr: "",
  });
  return result.stdout;
}

const withCli = test.skipIf(!HAS_CLI);
const noCli = whySkipped(HAS_CLI, "redis-cli");

withCli(
  `redis-cli asks one command, in RESP2 and RESP3${noCli}`,
  async () => {
    expect(await cli(["SET", "k", "a b"])).toBe("OK\n");
    expect(await cli(["GET", "k"])).toBe("a b\n");
    expect(await cli(["-3", "GET", "k"])).toBe("a b\n");
    expect(await cli(["-3", "GET", "none"])).toBe("\n");
    expect(await cli(["INCR", "n"])).toBe("1\n");
    expect(await cli(["NOSUCH"])).toContain("ERR unknown command 'NOSUCH'");
    expect(await cli(["-3", "HELLO"])).toContain("proto 3");
  },
  TIMEOUT_MS,
);

withCli(
  `redis-cli -x and --pipe bring values of any bytes${noCli}`,
  async () => {
    const value = Buffer.alloc(3_000_000);
    for (let i = 0; i < value.length; i++) value[i] = (i * 131 + (i >>> 9)) & 0xff;
    expect(await cli(["-x", "SET", "binary"], value)).toBe("OK\n");
    expect(await cli(["STRLEN", "binary"])).toBe(`${value.length}\n`);
    const requests = Array.from({ length: 20_000 }, (_, i) => [
      "SET",
      `pipe:${i}`,
      `${"v".repeat(i % 90)}\r\n`,
    ]);
    const stream = Buffer.concat([...requests.map(encodeRequest), encodeRequest(["NOSUCH"])]);
    const { stdout } = await runCommand(
      ["timeout", "20", "redis-cli", "-p", `${dkv.port}`, "--pipe"],
      { input: stream },
    );
    expect(stdout).toContain("errors: 1, replies: 20001");
    expect(await cli(["STRLEN", "pipe:89"])).toBe("91\n");
    expect((await cli(["--scan", "--pattern", "pipe:1999*"])).trim().split("\n").length).toBe(11);
  },
  TIMEOUT_MS,
);

withCli(
  `redis-cli reads its commands from standard input${noCli}`,
  async () => {
    const input = Buffer.from("MULTI\nSET t 1\nINCR t\nEXEC\nGET t\n");
    expect(await cli([], input)).toBe("OK\nQUEUED\nQUEUED\nOK\n2\n2\n");
  },
  TIMEOUT_MS,
);

test.skipIf(!HAS_BENCHMARK)(
  `redis-benchmark runs its string tests without an error${whySkipped(HAS_BENCHMARK, "redis-benchmark")}`,
  async () => {
    for (const pipeline of [1, 16]) {
      const { exitCode, stdout, stderr } = await runCommand(
        [
          ...`timeout 40 redis-benchmark -p ${dkv.port} -n 20000 -r 1000 --csv -P ${pipeline}`.split(
            " ",
          ),
          ...["-t", "ping_inline,ping_mbulk,set,get,incr,mset"],
        ],
        { msMax: TIMEOUT_MS },
      );
      expect({ exitCode, errors: /rror/.test(stdout + stderr) }).toEqual({
        exitCode: 0,
        errors: false,
      });
      const rates = stdout.split("\n").filter((line) => /^"[A-Z]/.test(line));
      expect(rates.length).toBe(6);
    }
  },
  TIMEOUT_MS,
);
