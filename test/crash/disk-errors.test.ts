/**
 * A dkv process whose disk fails: after the failure nothing more is acknowledged, the process says why and ends,
 * and what had been acknowledged is there when it starts on a good disk.
 *
 * strace injects the errors into the system calls of the log; a small tmpfs is a disk that fills up.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DkvProcess } from "../support/dkv-process.ts";
import {
  decodeReply,
  encodeRequest,
  RawConnection,
  type ReplyValue,
} from "../support/raw-connection.ts";

const TIMEOUT_MS = 150_000;
const EXIT_MS_MAX = 60_000;
const WRITES_MAX = 5000;
const LOG = "wal/000000000001.log";
/** The one that the second start makes. */
const MANIFEST = "tables/MANIFEST-000002";

let parent: string;
beforeAll(() => {
  parent = mkdtempSync(join(tmpdir(), "dkv-disk-"));
});
afterAll(() => rmSync(parent, { recursive: true, force: true }));

async function ask(connection: RawConnection, ...parts: string[]): Promise<ReplyValue | undefined> {
  connection.send(encodeRequest(parts));
  const reply = await connection.reply();
  return reply === undefined ? undefined : decodeReply(reply, 0)[0];
}

function canTrace(): boolean {
  if (Bun.which("strace") === null) return false;
  return Bun.spawnSync(["strace", "-f", "-e", "trace=none", "true"]).exitCode === 0;
}

const whyNoTrace = canTrace() ? "" : " (skipped: strace is missing or may not trace)";

/** Sets key after key, one at a time, until the connection ends; the number of answered ones. */
async function writeUntilDeath(port: number): Promise<number> {
  const connection = await RawConnection.open(port);
  for (let i = 0; i < WRITES_MAX; i++) {
    const reply = await ask(connection, "SET", `key-${i}`, `value-${i}`.padEnd(2000, "."));
    if (reply === undefined) return i;
    expect(reply).toBe("OK");
  }
  throw new Error("the injected error never came");
}

async function expectAll(directory: string, policy: string, count: number): Promise<void> {
  const options = ["--appendfsync", policy, "--min-free-disk", "0"];
  const server = await DkvProcess.start({ directory, arguments: options });
  try {
    const connection = await RawConnection.open(server.port);
    for (let i = 0; i < count; i++) {
      const value = await ask(connection, "GET", `key-${i}`);
      if (value !== `value-${i}`.padEnd(2000, "."))
        throw new Error(`key-${i} of ${count} is ${value}`);
    }
    expect(await ask(connection, "SET", "after", "1")).toBe("OK");
    connection.close();
  } finally {
    await server.kill();
  }
}

describe.skipIf(whyNoTrace !== "")(`a failing disk${whyNoTrace}`, () => {
  const faults = [
    ["always", "fdatasync:error=EIO:when=40", LOG],
    ["everysec", "fdatasync:error=EIO:when=1", LOG],
    ["always", "pwrite64:error=ENOSPC:when=60", LOG],
    ["everysec", "pwrite64:error=EIO:when=60", LOG],
    // Its first sync is part of the start, the second one of the first flush.
    ["everysec", "fdatasync:error=EIO:when=2", MANIFEST],
  ] as const;
  for (const [policy, fault, file] of faults) {
    test(
      `dkv ends at ${fault} of ${file}, appendfsync ${policy}`,
      async () => {
        const directory = join(parent, `${policy}-${fault}-${file}`.replaceAll(/\W/g, "-"));
        // Made by a healthy run, so that the fault hits the log and not the making of the directory.
        await (await DkvProcess.start({ directory, arguments: ["--appendfsync", policy] })).kill();
        const only = ["-P", join(directory, file)];
        const server = new DkvProcess({
          directory,
          arguments: ["--appendfsync", policy],
          under: ["strace", "-f", "-qq", "-o", "/dev/null", ...only, "-e", `inject=${fault}`],
        });
        try {
          await server.ready();
          const answered = await writeUntilDeath(server.port);
          expect(await server.exitCode(EXIT_MS_MAX)).toBe(1);
          const last = server.output.trim().split("\n").at(-1)!;
          expect(JSON.parse(last)).toMatchObject({ level: "error" });
          expect(last).toContain(file);
          expect(answered).toBeGreaterThan(0);
          await expectAll(directory, policy, answered);
        } finally {
          await server.kill();
        }
      },
      TIMEOUT_MS,
    );
  }
});

const DISK_BYTES = 48 * 1024 * 1024;
const FILL_BYTES = 38 * 1024 * 1024;
const LOG_ROOM_BYTES = 512 * 1024;
const MERGE_BALLAST_BYTES = 20 * 1024 * 1024;

function mountSmallDisk(at: string): boolean {
  Bun.spawnSync(["mkdir", "-p", at]);
  const options = `size=${DISK_BYTES}`;
  return Bun.spawnSync(["mount", "-t", "tmpfs", "-o", options, "tmpfs", at]).exitCode === 0;
}

function canMount(): boolean {
  if (process.getuid?.() !== 0) return false;
  const at = mkdtempSync(join(tmpdir(), "dkv-mount-"));
  const can = mountSmallDisk(at);
  if (can) Bun.spawnSync(["umount", at]);
  rmSync(at, { recursive: true, force: true });
  return can;
}

const whyNoMount = canMount() ? "" : " (skipped: only root may mount a small disk)";

async function until(what: () => Promise<boolean>, waitMs: number): Promise<boolean> {
  const deadline = performance.now() + waitMs;
  while (performance.now() < deadline) {
    if (await what()) return true;
    await Bun.sleep(100);
  }
  return false;
}

describe.skipIf(whyNoMount !== "")(`a full disk${whyNoMount}`, () => {
  let disk: string;
  beforeAll(() => {
    disk = join(parent, "small");
    if (!mountSmallDisk(disk)) throw new Error("cannot mount");
  });
  afterAll(() => {
    Bun.spawnSync(["umount", "-l", disk]);
  });

  test(
    "writes are refused below min-free-disk, reads go on, and writes again once there is room",
    async () => {
      const directory = join(disk, "data");
      const server = await DkvProcess.start({ directory, arguments: ["--min-free-disk", "16mb"] });
      const connection = await RawConnection.open(server.port);
      try {
        expect(await ask(connection, "SET", "key", "before")).toBe("OK");
        const ballast = join(disk, "ballast");
        writeFileSync(ballast, Buffer.alloc(FILL_BYTES));
        const set = (value: string) => ask(connection, "SET", "key", value);
        const isRefused = async () => String(await set("while")).startsWith("-MISCONF");
        expect(await until(isRefused, 60_000)).toBe(true);
        const held = String(await ask(connection, "GET", "key"));
        expect(["before", "while"]).toContain(held);
        expect(await set("refused")).toStartWith("-MISCONF");
        expect(await ask(connection, "GET", "key")).toBe(held);
        rmSync(ballast);
        expect(await until(async () => (await set("after")) === "OK", 60_000)).toBe(true);
        expect(await ask(connection, "GET", "key")).toBe("after");
      } finally {
        connection.close();
        await server.kill();
      }
    },
    TIMEOUT_MS,
  );

  test(
    "merges without room wait for it: dkv lives, is started again, and answers what it has",
    async () => {
      const directory = join(disk, "merges");
      const options = { directory, arguments: ["--appendfsync", "no", "--min-free-disk", "12mb"] };
      const ballast = join(disk, "ballast");
      let server = await DkvProcess.start(options);
      let connection = await RawConnection.open(server.port);
      try {
        writeFileSync(ballast, Buffer.alloc(MERGE_BALLAST_BYTES));
        const value = (i: number) => `${i}`.padEnd(10_000, String(Math.sin(i)));
        let count = 0;
        const isRefused = async () => {
          const reply = await ask(connection, "SET", `key-${count}`, value(count));
          if (reply === "OK") count++;
          else expect(reply).toStartWith("-MISCONF");
          return reply !== "OK";
        };
        // Free space is looked at once a second.
        while (count < WRITES_MAX && !(await isRefused())) await Bun.sleep(2);
        expect(count).toBeLessThan(WRITES_MAX);
        connection.close();
        await server.kill();
        server = await DkvProcess.start(options);
        connection = await RawConnection.open(server.port);
        expect(await ask(connection, "GET", `key-${count - 1}`)).toBe(value(count - 1));
        rmSync(ballast);
        expect(await until(async () => !(await isRefused()), 60_000)).toBe(true);
        for (let i = 0; i < count; i++)
          expect(await ask(connection, "GET", `key-${i}`)).toBe(value(i));
      } finally {
        connection.close();
        await server.kill();
        rmSync(directory, { recursive: true, force: true });
        rmSync(ballast, { force: true });
      }
    },
    TIMEOUT_MS,
  );

  test(
    "a disk without any room ends dkv, and nothing that it answered is lost",
    async () => {
      const directory = join(disk, "full");
      const policy = "always";
      const server = await DkvProcess.start({
        directory,
        arguments: ["--appendfsync", policy, "--min-free-disk", "0"],
      });
      const ballast = join(disk, "ballast");
      try {
        // Less room than a segment of the log takes: a flush without room would end nothing.
        const { bavail, bsize } = statfsSync(disk);
        writeFileSync(ballast, Buffer.alloc(bavail * bsize - LOG_ROOM_BYTES));
        const answered = await writeUntilDeath(server.port);
        expect(await server.exitCode(EXIT_MS_MAX)).toBe(1);
        expect(server.output).toContain("ENOSPC");
        rmSync(ballast);
        await expectAll(directory, policy, answered);
      } finally {
        await server.kill();
      }
    },
    TIMEOUT_MS,
  );
});
