/** Commands that wait while the server stops, and large values in transactions that delete all keys. */
import { afterEach, expect, test } from "bun:test";
import { ManagedDkv } from "../support/managed-dkv.ts";
import { encodeRequest, RawConnection } from "../support/raw-connection.ts";

const TIMEOUT_MS = 60_000;
/** More than moves within a unit, and three of them fit a segment. */
const LARGE_BYTES = 1_200_000;
/** Takes many turns to copy. */
const COPIED_BYTES = 24_000_000;
let dkv: ManagedDkv;
afterEach(() => dkv.dispose());

async function ask(connection: RawConnection, ...words: string[]): Promise<string> {
  connection.send(encodeRequest(words));
  return Buffer.from((await connection.reply()) ?? "(closed)")
    .toString("latin1")
    .trimEnd();
}

test(
  "SIGTERM: a command that waits is answered",
  async () => {
    dkv = await ManagedDkv.start(["--maxmemory", "256mb", "--appendfsync", "no"]);
    const large = await RawConnection.open(dkv.port);
    expect(await ask(large, "SET", "large", "x".repeat(COPIED_BYTES))).toBe("+OK");
    // The answer to PING leaves when COPY waits.
    large.send(Buffer.concat([["PING"], ["COPY", "large", "copy"]].map(encodeRequest)));
    expect(`${await large.reply()}`).toBe("+PONG\r\n");
    const exit = dkv.terminate();
    expect(`${await large.reply()}`).toBe(":1\r\n");
    expect(await exit).toBe(0);
    await dkv.restart();
    const again = await RawConnection.open(dkv.port);
    expect(await ask(again, "STRLEN", "copy")).toBe(`:${COPIED_BYTES}`);
    again.close();
  },
  TIMEOUT_MS,
);

test(
  "a transaction that deletes all keys writes large values behind that",
  async () => {
    dkv = await ManagedDkv.start(["--maxmemory", "256mb", "--appendfsync", "no"]);
    const connection = await RawConnection.open(dkv.port);
    expect(await ask(connection, "SET", "before", "x".repeat(LARGE_BYTES))).toBe("+OK");
    for (const [command, reply] of [
      [["SET", "large", "y".repeat(LARGE_BYTES)], "+OK"],
      [["COPY", "large", "copy"], ":1"],
      [["RENAME", "copy", "renamed"], "+OK"],
    ] as const) {
      expect(await ask(connection, "MULTI")).toBe("+OK");
      await ask(connection, "FLUSHALL");
      await ask(connection, "SETRANGE", "large", `${LARGE_BYTES - 1}`, "x");
      await ask(connection, "COPY", "large", "copy");
      await ask(connection, "DEL", command[0] === "COPY" ? "copy" : "other");
      expect(await ask(connection, ...command)).toBe("+QUEUED");
      expect(await ask(connection, "EXEC")).toEndWith(`\r\n${reply}`);
      const target = command[0] === "SET" ? "large" : command[2];
      expect(await ask(connection, "STRLEN", target)).toBe(`:${LARGE_BYTES}`);
      expect(await ask(connection, "EXISTS", "before")).toBe(":0");
    }
    connection.close();
  },
  TIMEOUT_MS,
);
