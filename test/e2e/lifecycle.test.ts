/** The life of a dkv process: started, signalled, killed; what it says and how it ends. */
import { afterEach, expect, test } from "bun:test";
import { ManagedDkv, runDkv } from "../support/managed-dkv.ts";
import { encodeRequest, RawConnection } from "../support/raw-connection.ts";

const TIMEOUT_MS = 150_000;
const SMALL = ["--maxmemory", "256mb"];
const started: ManagedDkv[] = [];

afterEach(async () => {
  for (const dkv of started.splice(0)) await dkv.dispose();
});

async function start(args: readonly string[] = SMALL): Promise<ManagedDkv> {
  const dkv = await ManagedDkv.start(args);
  started.push(dkv);
  return dkv;
}

async function ask(connection: RawConnection, ...words: string[]): Promise<string> {
  connection.send(encodeRequest(words));
  return Buffer.from((await connection.reply()) ?? "").toString("latin1");
}

for (const policy of ["always", "everysec", "no"]) {
  test(
    `SIGTERM with appendfsync ${policy}: what is in flight is answered, the exit code is 0, the data stays`,
    async () => {
      const dkv = await start([...SMALL, "--appendfsync", policy]);
      const connection = await RawConnection.open(dkv.port);
      const count = 2000;
      const requests = Array.from({ length: count }, (_, i) =>
        encodeRequest(["SET", `k${i}`, `v${i}`]),
      );
      connection.send(Buffer.concat(requests));
      // The first answer shows that the server has the requests.
      let answered = 0;
      if ((await connection.reply()) !== undefined) answered++;
      const exit = dkv.terminate();
      while ((await connection.reply()) !== undefined) answered++;
      expect(await exit).toBe(0);
      expect(answered).toBe(count);
      await dkv.restart();
      const again = await RawConnection.open(dkv.port);
      expect(await ask(again, "DBSIZE")).toBe(`:${count}\r\n`);
      expect(await ask(again, "GET", `k${count - 1}`)).toBe(`$5\r\nv${count - 1}\r\n`);
      again.close();
    },
    TIMEOUT_MS,
  );
}

test(
  "kill -9: everything that was answered is there after a restart, large values too",
  async () => {
    const dkv = await start();
    const connection = await RawConnection.open(dkv.port);
    const large = "L".repeat(3_000_000);
    for (let i = 0; i < 50; i++)
      expect(await ask(connection, "SET", `k${i}`, `v${i}`)).toBe("+OK\r\n");
    expect(await ask(connection, "SET", "gone", "x", "PX", "1")).toBe("+OK\r\n");
    expect(await ask(connection, "SET", "large", large)).toBe("+OK\r\n");
    expect(await ask(connection, "SETRANGE", "large", "2999999", "!")).toBe(":3000000\r\n");
    await dkv.kill();
    await dkv.restart();
    const again = await RawConnection.open(dkv.port);
    expect(await ask(again, "GET", "k49")).toBe("$3\r\nv49\r\n");
    expect(await ask(again, "GET", "gone")).toBe("$-1\r\n");
    expect(await ask(again, "GETRANGE", "large", "2999998", "-1")).toBe("$2\r\nL!\r\n");
    expect(await ask(again, "STRLEN", "large")).toBe(":3000000\r\n");
    again.close();
  },
  TIMEOUT_MS,
);

test(
  "a second process on the same directory says who has it and ends with an error",
  async () => {
    const dkv = await start();
    const result = await runDkv(["--port", "0", "--dir", dkv.directory, ...SMALL]);
    expect(result.exitCode).not.toBe(0);
    expect(result.stderr).toContain(`is in use by process ${dkv.pid}`);
  },
  TIMEOUT_MS,
);

test(
  "a port in use is named, with an exit code that is not 0",
  async () => {
    const dkv = await start();
    const directory = `${dkv.directory}/other`;
    const result = await runDkv([
      "--bind",
      "127.0.0.1",
      "--port",
      `${dkv.port}`,
      "--dir",
      directory,
      ...SMALL,
    ]);
    expect(result.exitCode).not.toBe(0);
    expect(result.stderr).toContain(`cannot listen on 127.0.0.1:${dkv.port}`);
  },
  TIMEOUT_MS,
);

test(
  "a node of a cluster that contradicts itself does not start, and says why",
  async () => {
    const node = ["--cluster-enabled", "yes", "--port", "7000"];
    const nowhere = await runDkv(node);
    expect(nowhere.exitCode).toBe(1);
    expect(nowhere.stderr).toContain("cluster-enabled yes needs zookeeper host:port");
    const quorum = ["--zookeeper", "127.0.0.1:1", "--write-quorum", "4"];
    const { exitCode, stderr } = await runDkv([...node, ...quorum]);
    expect(exitCode).toBe(1);
    expect(stderr).toContain("write-quorum 4 is more than replication-factor 3");
  },
  TIMEOUT_MS,
);

test(
  "an unknown directive is refused with the nearest known one",
  async () => {
    const result = await runDkv(["--maxclient", "5"]);
    expect(result.exitCode).not.toBe(0);
    expect(result.stderr).toContain("Did you mean 'maxclients'?");
    expect(result.stdout).toBe("");
  },
  TIMEOUT_MS,
);

test(
  "--help and --version answer on standard output",
  async () => {
    const help = await runDkv(["--help"]);
    expect({ exitCode: help.exitCode, stderr: help.stderr }).toEqual({ exitCode: 0, stderr: "" });
    expect(help.stdout).toContain("--appendfsync");
    const version = await runDkv(["--version"]);
    expect(version.exitCode).toBe(0);
    expect(version.stdout).toMatch(/\d+\.\d+\.\d+/);
  },
  TIMEOUT_MS,
);
