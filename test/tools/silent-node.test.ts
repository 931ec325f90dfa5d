/** A node whose process is stopped: the kernel accepts connections for it, and nobody answers. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import type { TCPSocketListener } from "bun";
import { SystemClock } from "../../src/base/clock.ts";
import { ClusterCamera } from "../../src/tools/cluster-picture.ts";
import { RespClient } from "../../src/tools/resp-client.ts";

const clock = new SystemClock();
let listener: TCPSocketListener;
beforeAll(() => {
  listener = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data: () => undefined } });
});
afterAll(() => listener.stop(true));

const address = () => ({ host: "127.0.0.1", port: listener.port });

test("a request ends when its time has passed, and the connection with it", async () => {
  const client = await RespClient.open(address(), { clock, password: "" });
  const both = [client.request(["PING"], 50), client.request(["PING"])];
  const problem = `127.0.0.1:${listener.port} has not answered for 0.05 s`;
  for (const outcome of await Promise.allSettled(both))
    expect(outcome).toMatchObject({ status: "rejected", reason: { message: problem } });
  expect(client.isClosed).toBe(true);
});

test("a password that nobody looks at is waited for no longer than a connection", async () => {
  const options = { clock, password: "secret", connectMs: 50 };
  await expect(RespClient.open(address(), options)).rejects.toThrow("has not answered");
});

test("a picture of a cluster is not waited for for ever", async () => {
  const camera = new ClusterCamera(address(), { clock, password: "" });
  await expect(camera.take()).rejects.toThrow("has not answered for 5 s");
  camera.close();
}, 20_000);
