/**
 * Sessions that go on when replies of theirs have left must not run in the middle of another session's batch: the
 * batch of parsed requests, the store's tag and its clock are shared.
 */
import { afterEach, expect, test } from "bun:test";
import { ManagedDkv } from "../support/managed-dkv.ts";
import { encodeRequest, RawConnection } from "../support/raw-connection.ts";

const TIMEOUT_MS = 60_000;
let dkv: ManagedDkv;
afterEach(() => dkv.dispose());

/** Sends `requests` in one piece and expects exactly `replies`. */
async function exchange(connection: RawConnection, requests: string[][], replies: string[]) {
  connection.send(Buffer.concat(requests.map(encodeRequest)));
  for (let i = 0; i < replies.length; i++) {
    const reply = await connection.reply();
    const text = reply === undefined ? "(closed)" : Buffer.from(reply).toString("latin1");
    if (text !== replies[i])
      expect({ i, text: text.slice(0, 80) }).toEqual({ i, text: replies[i]!.slice(0, 80) });
  }
}

test(
  "clients that get large values in pipelines get no others' replies",
  async () => {
    dkv = await ManagedDkv.start(["--maxmemory", "512mb", "--appendfsync", "always"]);
    const client = async (name: string) => {
      const connection = await RawConnection.open(dkv.port);
      const value = name.repeat(200_000);
      await exchange(connection, [["SET", name, value]], ["+OK\r\n"]);
      const requests: string[][] = [];
      const replies: string[] = [];
      for (let i = 0; i < 14; i++) {
        requests.push(["GET", name], ["ECHO", `${name}:${i}`]);
        replies.push(
          `$${value.length}\r\n${value}\r\n`,
          `$${name.length + 1 + `${i}`.length}\r\n${name}:${i}\r\n`,
        );
      }
      for (let round = 0; round < 40; round++) await exchange(connection, requests, replies);
    };
    await Promise.all(Array.from({ length: 16 }, (_, i) => client(String(i).padStart(3, "0"))));
  },
  TIMEOUT_MS,
);

test(
  "a write that moves to the next segment lets no other session into its batch",
  async () => {
    dkv = await ManagedDkv.start([
      "--maxmemory",
      "512mb",
      "--appendfsync",
      "everysec",
      "--engine-segment-bytes",
      "1mb",
    ]);
    const value = "v".repeat(1000);
    const reader = async (key: string) => {
      const connection = await RawConnection.open(dkv.port);
      const requests = [["SET", key, value], ...new Array<string[]>(2500).fill(["GET", key])];
      const replies = ["+OK\r\n", ...new Array<string>(2500).fill(`$1000\r\n${value}\r\n`)];
      for (let round = 0; round < 20; round++) await exchange(connection, requests, replies);
    };
    const writer = async (name: string) => {
      const connection = await RawConnection.open(dkv.port);
      const keys = Array.from({ length: 200 }, (_, i) => `${name}:${i}`);
      const requests = [
        ...keys.map((key) => ["SET", key, "w".repeat(700)]),
        ...keys.map((key) => ["STRLEN", key]),
      ];
      const replies = [...keys.map(() => "+OK\r\n"), ...keys.map(() => ":700\r\n")];
      for (let round = 0; round < 200; round++) await exchange(connection, requests, replies);
    };
    await Promise.all(["x0", "x1", "x2"].map(reader).concat(["w0", "w1", "w2"].map(writer)));
  },
  TIMEOUT_MS,
);
