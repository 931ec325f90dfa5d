/**
 * What happens between connections: MONITOR, blocking and unblocking, limits, passwords that stay secret; over
 * sockets, with the server as a process.
 */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { join } from "node:path";
import {
  decodeReply,
  encodeRequest,
  RawConnection,
  type ReplyValue,
} from "../support/raw-connection.ts";
import { type ServerProcess, START_TIMEOUT_MS, startServer } from "../support/server-process.ts";

const MAIN = join(import.meta.dir, "../../src/main.ts");

let server: ServerProcess;
const opened: RawConnection[] = [];

async function open(): Promise<RawConnection> {
  const connection = await RawConnection.open(server.port);
  opened.push(connection);
  return connection;
}

async function next(connection: RawConnection): Promise<ReplyValue> {
  const reply = await connection.reply();
  return reply === undefined ? "(closed)" : decodeReply(reply, 0)[0];
}

function ask(connection: RawConnection, ...words: string[]): Promise<ReplyValue> {
  connection.send(encodeRequest(words));
  return next(connection);
}

/** A field of CLIENT LIST's line of a client. */
async function fieldOf(asker: RawConnection, id: ReplyValue, name: string): Promise<string> {
  const line = String(await ask(asker, "CLIENT", "LIST", "ID", String(id)));
  return new RegExp(` ${name}=(\\S*)`).exec(line)?.[1] ?? "";
}

beforeAll(async () => {
  server = await startServer((port, directory) => [
    ...["bun", MAIN, "--port", `${port}`, "--dir", directory, "--loglevel", "nothing"],
    ...["--maxmemory", "512mb"],
  ]);
}, START_TIMEOUT_MS + 1000);

afterAll(() => server.stop());

beforeEach(() => {
  for (const connection of opened.splice(0)) connection.close();
});

describe("MONITOR", () => {
  test("shows commands of EXEC one by one, and nothing of administration", async () => {
    const [watcher, client] = [await open(), await open()];
    expect(await ask(watcher, "MONITOR")).toBe("OK");
    await ask(client, "MULTI");
    await ask(client, "SET", "k", "v");
    await ask(client, "EXEC");
    await ask(client, "CONFIG", "GET", "port");
    await ask(client, "NOSUCH");
    await ask(client, "PING");
    const lines: string[] = [];
    for (let i = 0; i < 4; i++) lines.push(String(await next(watcher)).replace(/^.*?\] /, ""));
    expect(lines).toEqual(['"MULTI"', '"SET" "k" "v"', '"EXEC"', '"PING"']);
  });

  test("does not show passwords", async () => {
    const [watcher, client] = [await open(), await open()];
    await ask(watcher, "MONITOR");
    await ask(client, "AUTH", "default", "hush");
    await ask(client, "HELLO", "2", "AUTH", "default", "hush", "SETNAME", "seen");
    expect(String(await next(watcher))).toEndWith('"AUTH" "(redacted)" "(redacted)"');
    expect(String(await next(watcher))).toEndWith(
      '"HELLO" "2" "AUTH" "(redacted)" "(redacted)" "SETNAME" "seen"',
    );
  });

  test("ends with RESET", async () => {
    const [watcher, client] = [await open(), await open()];
    await ask(watcher, "MONITOR");
    await ask(client, "PING");
    expect(String(await next(watcher))).toEndWith('"PING"');
    expect(await ask(watcher, "RESET")).toBe("RESET");
    await ask(client, "PING");
    expect(await ask(watcher, "PING")).toBe("PONG");
  });

  test("a monitor that does not read is disconnected at the hard limit", async () => {
    const admin = await open();
    await ask(admin, "CONFIG", "RESETSTAT");
    await ask(admin, "CONFIG", "SET", "client-output-buffer-limit", "normal 1mb 0 0");
    const deaf = await Bun.connect({
      hostname: "127.0.0.1",
      port: server.port,
      socket: { data() {}, open: (socket) => socket.pause() },
    });
    deaf.write("CLIENT SETNAME deaf\r\nMONITOR\r\n");
    const isThere = async () => String(await ask(admin, "CLIENT", "LIST")).includes("name=deaf");
    while (!(await isThere())) await Bun.sleep(2);
    const echo = encodeRequest(["ECHO", "x".repeat(4000)]);
    for (let round = 0; round < 50 && (await isThere()); round++) {
      for (let i = 0; i < 200; i++) admin.send(echo);
      for (let i = 0; i < 200; i++) await next(admin);
    }
    expect(await isThere()).toBe(false);
    deaf.terminate();
    const stats = String(await ask(admin, "INFO", "stats"));
    expect(stats).toContain("client_output_buffer_limit_disconnections:1");
    await ask(admin, "CONFIG", "SET", "client-output-buffer-limit", "normal 64mb 16mb 60");
  }, 20_000);
});

describe("SLOWLOG", () => {
  test("keeps commands of EXEC and no passwords", async () => {
    const client = await open();
    await ask(client, "CONFIG", "SET", "slowlog-log-slower-than", "0");
    await ask(client, "SLOWLOG", "RESET");
    await ask(client, "CONFIG", "SET", "masterauth", "hush");
    await ask(client, "MULTI");
    await ask(client, "SET", "k", "v");
    await ask(client, "EXEC");
    await ask(client, "CONFIG", "SET", "slowlog-log-slower-than", "10000");
    const entries = (await ask(client, "SLOWLOG", "GET", "-1")) as ReplyValue[][];
    const commands = entries.map((entry) => (entry[3] as string[]).join(" "));
    expect(commands).toContain("CONFIG SET masterauth (redacted)");
    expect(commands).toContain("SET k v");
    expect(commands.join()).not.toContain("hush");
  });
});

describe("blocking", () => {
  test("WAIT for replicas ends with its timeout, or with CLIENT UNBLOCK", async () => {
    const [waiter, other] = [await open(), await open()];
    const id = await ask(waiter, "CLIENT", "ID");
    expect(await ask(waiter, "WAIT", "1", "20")).toBe(0);
    for (const [reason, reply] of [
      ["TIMEOUT", 0],
      ["ERROR", "-UNBLOCKED client unblocked via CLIENT UNBLOCK"],
    ] as const) {
      waiter.send(encodeRequest(["WAIT", "1", "0"]));
      while ((await fieldOf(other, id, "flags")) !== "b") await Bun.sleep(2);
      expect(String(await ask(other, "INFO", "clients"))).toContain("blocked_clients:1");
      expect(await ask(other, "CLIENT", "UNBLOCK", String(id), reason)).toBe(1);
      expect(await next(waiter)).toBe(reply);
    }
    expect(await ask(other, "CLIENT", "UNBLOCK", String(id))).toBe(0);
  });

  test("a client that leaves while it waits is forgotten", async () => {
    const [waiter, other] = [await open(), await open()];
    const id = await ask(waiter, "CLIENT", "ID");
    waiter.send(encodeRequest(["WAIT", "1", "0"]));
    while ((await fieldOf(other, id, "flags")) !== "b") await Bun.sleep(2);
    waiter.close();
    while ((await ask(other, "CLIENT", "LIST", "ID", String(id))) !== "") await Bun.sleep(2);
    expect(String(await ask(other, "INFO", "clients"))).toContain("blocked_clients:0");
  });

  test("WAITAOF syncs whatever appendfsync says", async () => {
    const client = await open();
    for (const policy of ["no", "everysec", "always"]) {
      await ask(client, "CONFIG", "SET", "appendfsync", policy);
      await ask(client, "SET", "k", policy);
      expect(await ask(client, "WAITAOF", "1", "0", "2000")).toEqual([1, 0]);
      const fields = String(await ask(client, "INFO", "persistence"));
      expect(fields).toContain("rdb_changes_since_last_save:0");
    }
  });

  test("SAVE answers when all is synced, and LASTSAVE tells", async () => {
    const client = await open();
    await ask(client, "CONFIG", "SET", "appendfsync", "no");
    await ask(client, "SET", "k", "v");
    expect(await ask(client, "SAVE")).toBe("OK");
    expect(String(await ask(client, "INFO", "dkv"))).toMatch(
      /log_written_frame:(\d+)\r\nlog_durable_frame:\1\r/,
    );
    expect(Date.now() / 1000 - Number(await ask(client, "LASTSAVE"))).toBeLessThan(5);
    await ask(client, "CONFIG", "SET", "appendfsync", "always");
  });

  test("CLIENT PAUSE WRITE holds writes and EXEC with writes, not reads", async () => {
    const [admin, writer] = [await open(), await open()];
    await ask(writer, "MULTI");
    await ask(writer, "GET", "k");
    await ask(admin, "CLIENT", "PAUSE", "10000", "WRITE");
    expect(Array.isArray(await ask(writer, "EXEC"))).toBe(true);
    writer.send(encodeRequest(["SET", "k", "paused"]));
    expect(await writer.closes(50)).toBe(false);
    expect(await ask(admin, "GET", "k")).not.toBe("paused");
    await ask(admin, "CLIENT", "UNPAUSE");
    expect(await next(writer)).toBe("OK");
  });

  test("DEBUG SLEEP holds up nobody else", async () => {
    const [sleeper, other] = [await open(), await open()];
    const start = performance.now();
    sleeper.send(encodeRequest(["DEBUG", "SLEEP", "1"]));
    const slept = next(sleeper);
    expect(await Promise.race([ask(other, "PING"), slept])).toBe("PONG");
    expect(await slept).toBe("OK");
    expect(performance.now() - start).toBeGreaterThan(990);
  });
});

describe("connections", () => {
  test("CLIENT REPLY keeps back replies of errors and of queued commands too", async () => {
    const client = await open();
    for (const words of [
      ["CLIENT", "REPLY", "OFF"],
      ["NOSUCH"],
      ["MULTI"],
      ["SET", "k", "v"],
      ["EXEC"],
    ])
      client.send(encodeRequest(words));
    expect(await ask(client, "CLIENT", "REPLY", "ON")).toBe("OK");
    client.send(encodeRequest(["CLIENT", "REPLY", "SKIP"]));
    client.send(encodeRequest(["GET"]));
    expect(await ask(client, "GET", "k")).toBe("v");
  });

  test("an idle client is disconnected after `timeout`, a monitor is not", async () => {
    const [admin, idle, watcher] = [await open(), await open(), await open()];
    await ask(watcher, "MONITOR");
    await ask(admin, "CONFIG", "SET", "timeout", "1");
    const deadline = performance.now() + 60_000;
    while (!(await idle.closes(100)) && performance.now() < deadline) await ask(admin, "PING");
    expect(await idle.closes(0)).toBe(true);
    await ask(admin, "CONFIG", "SET", "timeout", "0");
    expect(await watcher.closes(10)).toBe(false);
  }, 150_000);

  test("CLIENT KILL ADDR ends that connection only", async () => {
    const [admin, victim] = [await open(), await open()];
    const address = await fieldOf(admin, await ask(victim, "CLIENT", "ID"), "addr");
    expect(await ask(admin, "CLIENT", "KILL", "ADDR", address, "TYPE", "normal")).toBe(1);
    expect(await victim.closes(30_000)).toBe(true);
    expect(await ask(admin, "PING")).toBe("PONG");
  });
});
