/** Values over HTTP, as curl and scripts use them, against a real server; what RESP shows of the same keys. */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import * as net from "node:net";
import fc from "fast-check";
import { decodeKey } from "../../src/http/kv-interface.ts";
import { HttpServer } from "./http-server.ts";

setDefaultTimeout(60_000);

const MIB = 1024 * 1024;
let server: HttpServer;

beforeAll(async () => {
  server = await HttpServer.start();
});
afterAll(() => server?.stop());

const encode = (key: Uint8Array) =>
  [...key].map((byte) => `%${byte.toString(16).padStart(2, "0")}`).join("");

/** Sends bytes as they are; what comes back until the server ends the connection, or `waitMs` have passed. */
function raw(bytes: string, waitMs = 3000): Promise<string> {
  return new Promise((resolve) => {
    let answer = "";
    const socket = net.connect(server.httpPort, "127.0.0.1", () => socket.write(bytes, "latin1"));
    const timer = setTimeout(() => socket.destroy(), waitMs);
    socket.on("data", (chunk: Buffer) => {
      answer += chunk.toString("latin1");
    });
    socket.on("error", () => undefined);
    socket.on("close", () => {
      clearTimeout(timer);
      resolve(answer);
    });
  });
}

describe("PUT, GET, HEAD and DELETE of /kv/<key>", () => {
  test("a value is what RESP sees, and the other way round", async () => {
    const put = await server.fetch("/kv/greeting", { method: "PUT", body: "hello" });
    expect([put.status, await put.text()]).toEqual([204, ""]);
    expect(await server.ask("GET", "greeting")).toBe("hello");
    await server.ask("SET", "greeting", "hi");
    const got = await server.fetch("/kv/greeting");
    expect([got.status, await got.text()]).toEqual([200, "hi"]);
    expect(got.headers.get("content-type")).toBe("application/octet-stream");
    expect(got.headers.get("x-ttl-milliseconds")).toBeNull();
    const removed = await server.fetch("/kv/greeting", { method: "DELETE" });
    expect(removed.status).toBe(204);
    expect((await server.fetch("/kv/greeting", { method: "DELETE" })).status).toBe(404);
    const missing = await server.fetch("/kv/greeting");
    expect([missing.status, await missing.text()]).toEqual([404, "ERR no such key\n"]);
  });

  test("keys and bodies hold any byte, empty ones too", async () => {
    const key = Uint8Array.from({ length: 256 }, (_, byte) => byte);
    await server.fetch(`/kv/${encode(key)}`, { method: "PUT", body: key });
    const got = await server.fetch(`/kv/${encode(key)}`);
    expect(new Uint8Array(await got.arrayBuffer())).toEqual(key);
    const name = Buffer.from(key).toString("latin1");
    expect(await server.ask("STRLEN", name)).toBe(256);
    await server.fetch("/kv/", { method: "PUT" });
    expect(await server.ask("EXISTS", "")).toBe(1);
    await server.fetch("/kv/a/b%2F..%2Fc", { method: "PUT", body: "path" });
    expect(await server.ask("GET", "a/b/../c")).toBe("path");
    await server.fetch("/kv/caf%C3%A9", { method: "PUT", body: "utf-8" });
    expect(await server.text("/kv/café")).toBe("utf-8");
  });

  test("X-TTL-Seconds and X-TTL-Milliseconds make a key expire, and GET and HEAD say when", async () => {
    await server.fetch("/kv/ttl", {
      method: "PUT",
      body: "x",
      headers: { "x-ttl-seconds": "100" },
    });
    const ttl = Number(await server.ask("PTTL", "ttl"));
    expect(ttl).toBeGreaterThan(90_000);
    expect(ttl).toBeLessThanOrEqual(100_000);
    const shown = Number((await server.fetch("/kv/ttl")).headers.get("x-ttl-milliseconds"));
    expect(shown).toBeGreaterThan(90_000);
    const head = await server.fetch("/kv/ttl", { method: "HEAD" });
    expect([head.status, head.headers.get("content-length")]).toEqual([200, "1"]);
    expect(Number(head.headers.get("x-ttl-milliseconds"))).toBeGreaterThan(90_000);
    const headers = { "x-ttl-milliseconds": "30" };
    await server.fetch("/kv/ttl", { method: "PUT", body: "x", headers });
    await Bun.sleep(60);
    expect((await server.fetch("/kv/ttl")).status).toBe(404);
    expect((await server.fetch("/kv/ttl", { method: "HEAD" })).status).toBe(404);
    for (const bad of ["0", "-1", "x", "1.5", "99999999999999999999"]) {
      const refused = await server.fetch("/kv/ttl", {
        ...{ method: "PUT", body: "x", headers: { "x-ttl-seconds": bad } },
      });
      expect([bad, refused.status, (await refused.text()).slice(0, 4)]).toEqual([bad, 400, "ERR "]);
    }
    expect(await server.ask("EXISTS", "ttl")).toBe(0);
  });

  test("If-None-Match and If-Match make a PUT conditional", async () => {
    const put = async (headers: Record<string, string>) =>
      (await server.fetch("/kv/once", { method: "PUT", body: "x", headers })).status;
    expect(await put({ "if-match": "*" })).toBe(412);
    expect(await put({ "if-none-match": "*" })).toBe(204);
    expect(await put({ "if-none-match": "*" })).toBe(412);
    expect(await put({ "if-match": "*" })).toBe(204);
    expect(await put({ "if-match": '"tag"' })).toBe(400);
    expect(await put({ "if-match": "*", "if-none-match": "*" })).toBe(400);
  });

  test("what cannot be done says so, with Redis's error word", async () => {
    const post = await server.fetch("/kv/k", { method: "POST", body: "x" });
    expect([post.status, post.headers.get("allow")]).toEqual([405, "GET, HEAD, PUT, DELETE"]);
    expect((await server.fetch("/kv/k?x=1")).status).toBe(400);
    expect((await server.fetch("/kv/%zz")).status).toBe(400);
    expect((await server.fetch("/nowhere")).status).toBe(404);
    const body = new ReadableStream({
      start(controller) {
        controller.enqueue(new TextEncoder().encode("chunked"));
        controller.close();
      },
    });
    const chunked = await server.fetch("/kv/k", { method: "PUT", body });
    expect([chunked.status, (await chunked.text()).slice(0, 3)]).toEqual([411, "ERR"]);
    expect(await server.ask("EXISTS", "k")).toBe(0);
  });

  test("decodeKey undoes percent-encoding of any bytes and refuses what is not well formed", () => {
    fc.assert(
      fc.property(fc.uint8Array(), (key) => {
        expect(decodeKey(encode(key))).toEqual(Buffer.from(key));
      }),
    );
    for (const bad of ["%", "%1", "a%", "%g0", "%%41", "%0x"])
      expect(decodeKey(bad)).toBeUndefined();
  });
});

describe("large bodies", () => {
  test("pass through in both directions, bounded by proto-max-bulk-len and maxmemory", async () => {
    const value = Buffer.alloc(20 * MIB);
    for (let at = 0; at < value.length; at += 4096) value.writeUInt32LE(at, at);
    const put = await server.fetch("/kv/large", { method: "PUT", body: value });
    expect(put.status).toBe(204);
    const got = await server.fetch("/kv/large");
    expect(Buffer.from(await got.arrayBuffer()).equals(value)).toBe(true);
    // An eighth of maxmemory.
    const limit = 32 * MIB;
    const refused = await raw(
      `PUT /kv/large HTTP/1.1\r\nHost: x\r\nContent-Length: ${limit + 1}\r\n\r\nabc`,
    );
    expect(refused).toStartWith("HTTP/1.1 413 ");
    expect(refused).toEndWith(`ERR the value is longer than ${limit} bytes\n`);
    expect(await server.ask("STRLEN", "large")).toBe(value.length);
  });

  test("a body that breaks off leaves nothing, and gives its memory back", async () => {
    const part = "x".repeat(100_000);
    for (let round = 0; round < 8; round++) {
      const length = 20 * MIB;
      await raw(
        `PUT /kv/broken HTTP/1.1\r\nHost: x\r\nContent-Length: ${length}\r\n\r\n${part}`,
        100,
      );
    }
    expect(await server.ask("EXISTS", "broken")).toBe(0);
    const put = await server.fetch("/kv/whole", { method: "PUT", body: Buffer.alloc(20 * MIB) });
    expect(put.status).toBe(204);
  });

  test("a client that does not read holds up nobody, and no more memory than a window", async () => {
    await server.fetch("/kv/large", { method: "PUT", body: Buffer.alloc(30 * MIB, "v") });
    const before = Number(
      /used_memory_rss:(\d+)/.exec(`${await server.ask("INFO", "memory")}`)![1],
    );
    const slow = Array.from({ length: 2 }, () => {
      const socket = net.connect(server.httpPort, "127.0.0.1");
      socket.pause();
      socket.write("GET /kv/large HTTP/1.1\r\nHost: x\r\n\r\n");
      return socket;
    });
    await Bun.sleep(300);
    await server.fetch("/kv/other", { method: "PUT", body: "x" });
    expect(await server.text("/kv/other")).toBe("x");
    const after = Number(/used_memory_rss:(\d+)/.exec(`${await server.ask("INFO", "memory")}`)![1]);
    expect(after - before).toBeLessThan(100 * MIB);
    for (const socket of slow) socket.destroy();
    await Bun.sleep(100);
    expect((await (await server.fetch("/kv/large")).arrayBuffer()).byteLength).toBe(30 * MIB);
  });
});

describe("whatever is sent", () => {
  test("paths and headers of any bytes get an answer or an end, and the server goes on", async () => {
    const piece = fc.string({ unit: "binary-ascii", maxLength: 40 });
    const header = fc.tuple(
      fc.constantFrom(
        "X-TTL-Seconds",
        "Authorization",
        "If-Match",
        "Content-Length",
        "Expect",
        "X",
      ),
      piece,
    );
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom("GET", "PUT", "DELETE", "HEAD", "OPTIONS", "BREW"),
        fc.constantFrom("/kv/", "/cluster", "/metrics", "/", "", "//", "/kv"),
        piece,
        fc.array(header, { maxLength: 3 }),
        async (method, start, path, headers) => {
          const lines = headers.map(([name, value]) => `${name}: ${value}\r\n`).join("");
          await raw(`${method} ${start}${path} HTTP/1.1\r\nHost: x\r\n${lines}\r\n`, 40);
        },
      ),
      { numRuns: Number(process.env["DKV_FUZZ_RUNS"] ?? 60) },
    );
    expect(await server.text("/livez")).toBe("ok\n");
    expect(await server.ask("PING")).toBe("PONG");
  });

  test("many at once are all answered", async () => {
    const all = Array.from({ length: 200 }, async (_, index) => {
      await server.fetch(`/kv/many:${index}`, { method: "PUT", body: `value ${index}` });
      return await server.text(`/kv/many:${index}`);
    });
    expect(await Promise.all(all)).toEqual(all.map((_, index) => `value ${index}`));
  });
});
