/** A server as a process of its own, for tests over a socket: dkv, or redis-server to learn what it answers. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { RawConnection } from "./raw-connection.ts";

export const START_TIMEOUT_MS = 60_000;

export interface ServerProcess {
  readonly port: number;
  /** Kills the process and removes its directory. */
  stop(): Promise<void>;
}

/** DKV_TEST_PORT, or any port that is free now. */
function choosePort(): number {
  const fixed = process.env["DKV_TEST_PORT"];
  if (fixed !== undefined) return Number(fixed);
  const probe = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  probe.stop(true);
  return probe.port;
}

async function connects(port: number): Promise<boolean> {
  try {
    (await RawConnection.open(port)).close();
    return true;
  } catch {
    return false;
  }
}

/** How to start redis-server without persistence. */
export function redisCommand(port: number, directory: string): string[] {
  return ["redis-server", "--port", `${port}`, "--dir", directory, "--save", ""];
}

/** Starts `command(port, directory)` with an empty directory; resolves once it takes connections. */
export async function startServer(
  command: (port: number, directory: string) => string[],
): Promise<ServerProcess> {
  const directory = mkdtempSync(join(tmpdir(), "dkv-test-"));
  const port = choosePort();
  const words = command(port, directory);
  const child = Bun.spawn(words, { stdout: "ignore", stderr: "inherit" });
  const stop = async (): Promise<void> => {
    child.kill("SIGKILL");
    await child.exited;
    rmSync(directory, { recursive: true, force: true });
  };
  const deadline = performance.now() + START_TIMEOUT_MS;
  while (!(await connects(port))) {
    if (performance.now() > deadline || child.exitCode !== null) {
      await stop();
      throw new Error(`${words.join(" ")} does not answer on port ${port}`);
    }
    await Bun.sleep(20);
  }
  return { port, stop };
}
