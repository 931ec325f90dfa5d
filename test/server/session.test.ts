/**
 * Sessions of a running server: the order of replies around commands that wait, and clients that do not read. The
 * server is a process, so that its memory can be measured.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { ManagedDkv } from "../support/managed-dkv.ts";
import { encodeRequest, RawConnection } from "../support/raw-connection.ts";

const TIMEOUT_MS = 150_000;
const MIB = 1024 * 1024;
let dkv: ManagedDkv;

beforeAll(async () => {
  dkv = await ManagedDkv.start(["--maxmemory", "256mb", "--appendfsync", "always"]);
}, TIMEOUT_MS);
afterAll(() => dkv.dispose());

function pipeline(...commands: string[][]): Buffer {
  return Buffer.concat(commands.map(encodeRequest));
}

async function replies(connection: RawConnection, count: number): Promise<string[]> {
  const out: string[] = [];
  for (let i = 0; i < count; i++) {
    const reply = await connection.reply();
    out.push(reply === undefined ? "(closed)" : Buffer.from(reply).toString("latin1").trimEnd());
  }
  return out;
}

test(
  "replies keep the order of requests when one in the middle of a batch waits",
  async () => {
    const connection = await RawConnection.open(dkv.port);
    const large = "x".repeat(3 * MIB);
    connection.send(pipeline(["SET", "large", large]));
    expect(await replies(connection, 1)).toEqual(["+OK"]);
    // A large value is copied over several turns, and the requests behind it come in chunks of every length.
    for (const cut of [1, 20, 33, 60, 61, 100]) {
      const bytes = pipeline(
        ["SET", "n", "1"],
        ["STRLEN", "large"],
        ["APPEND", "n", "2"],
        ["GETRANGE", "large", "5", "2500000"],
        ["INCR", "n"],
        ["COPY", "large", "copy", "REPLACE"],
        ["GET", "n"],
        ["STRLEN", "copy"],
        ["ECHO", "end"],
      );
      connection.send(bytes.subarray(0, cut));
      await Bun.sleep(5);
      connection.send(bytes.subarray(cut));
      const answers = await replies(connection, 9);
      answers[3] = `${answers[3]!.length}`;
      expect({ cut, answers }).toEqual({
        cut,
        answers: [
          "+OK",
          ":3145728",
          ":2",
          "2500006",
          ":13",
          ":1",
          "$2\r\n13",
          ":3145728",
          "$3\r\nend",
        ],
      });
    }
    connection.close();
  },
  TIMEOUT_MS,
);

test(
  "two clients whose requests arrive in pieces do not mix",
  async () => {
    const [one, other] = await Promise.all([
      RawConnection.open(dkv.port),
      RawConnection.open(dkv.port),
    ]);
    for (let cut = 1; cut < 40; cut++) {
      const mine = pipeline(["PING"], ["SET", "mine", `m${cut}`], ["GET", "mine"]);
      const yours = pipeline(
        ["DEL", "a", "b", "c", "d"],
        ["SET", "yours", `yy${cut}`],
        ["GET", "yours"],
      );
      one.send(mine.subarray(0, cut));
      other.send(yours.subarray(0, cut));
      await Bun.sleep(1);
      one.send(mine.subarray(cut));
      other.send(yours.subarray(cut));
      expect((await replies(one, 3))[2]).toMatch(new RegExp(`\\r\\nm${cut}$`));
      expect((await replies(other, 3))[2]).toMatch(new RegExp(`\\r\\nyy${cut}$`));
    }
    one.close();
    other.close();
  },
  TIMEOUT_MS,
);

test(
  "what stands behind QUIT is not run",
  async () => {
    const connection = await RawConnection.open(dkv.port);
    connection.send(pipeline(["SET", "q", "1"], ["QUIT"], ["SET", "q", "2"]));
    expect(await replies(connection, 3)).toEqual(["+OK", "+OK", "(closed)"]);
    const other = await RawConnection.open(dkv.port);
    other.send(pipeline(["GET", "q"]));
    expect(await replies(other, 1)).toEqual(["$1\r\n1"]);
    other.close();
  },
  TIMEOUT_MS,
);

test(
  "a malformed request is answered behind the replies that came before, and ends the connection",
  async () => {
    const connection = await RawConnection.open(dkv.port);
    connection.send(
      Buffer.concat([pipeline(["SET", "p", "1"], ["GET", "p"]), Buffer.from("*1\r\n:1\r\n")]),
    );
    expect(await replies(connection, 4)).toEqual([
      "+OK",
      "$1\r\n1",
      "-ERR Protocol error: expected '$', got ':'",
      "(closed)",
    ]);
  },
  TIMEOUT_MS,
);

test(
  "a client that has closed its sending side still gets all answers",
  async () => {
    let text = "";
    const closed = Promise.withResolvers<void>();
    const socket = await Bun.connect({
      hostname: "127.0.0.1",
      port: dkv.port,
      allowHalfOpen: true,
      socket: {
        data: (_, chunk) => {
          text += chunk.toString("latin1");
        },
        end: (each) => {
          each.end();
          closed.resolve();
        },
        close: () => closed.resolve(),
      },
    });
    socket.write(pipeline(["SET", "half", "1"], ["INCR", "half"]));
    socket.shutdown();
    await Promise.race([closed.promise, Bun.sleep(30_000)]);
    expect(text).toBe("+OK\r\n:2\r\n");
  },
  TIMEOUT_MS,
);

/** Memory that the server has gained after a client asked for `requests` and reads nothing. */
async function gainFrom(requests: Buffer, value: string): Promise<number> {
  const setter = await RawConnection.open(dkv.port);
  setter.send(pipeline(["SET", "wanted", value]));
  expect(await replies(setter, 1)).toEqual(["+OK"]);
  const before = await dkv.residentBytes();
  const socket = await Bun.connect({
    hostname: "127.0.0.1",
    port: dkv.port,
    socket: { data() {} },
  });
  socket.pause();
  let sent = 0;
  for (let i = 0; i < 100 && sent < requests.length; i++) {
    sent += Math.max(0, socket.write(requests.subarray(sent)));
    await Bun.sleep(10);
  }
  await Bun.sleep(500);
  const gained = (await dkv.residentBytes()) - before;
  // Others are served meanwhile.
  setter.send(pipeline(["STRLEN", "wanted"]));
  expect(await replies(setter, 1)).toEqual([`:${value.length}`]);
  socket.terminate();
  setter.close();
  return gained;
}

for (const length of [100, 10_000, 60_000, 1_000_000, 2_000_000]) {
  test(
    `a client that does not read costs little memory: values of ${length} bytes`,
    async () => {
      const count = Math.min(100_000, Math.ceil((400 * MIB) / length));
      const request = encodeRequest(["GET", "wanted"]);
      const requests = Buffer.concat(new Array<Uint8Array>(count).fill(request));
      expect(await gainFrom(requests, "v".repeat(length))).toBeLessThan(64 * MIB);
    },
    TIMEOUT_MS,
  );
}
