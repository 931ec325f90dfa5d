/** The memory budget's default under control groups of both versions. */
import { expect, test } from "bun:test";
import { defaultBudgetBytes, memoryLimitBytes } from "../../src/config/memory-limit.ts";

const MIB = 1024 ** 2;

function machine(files: Record<string, string>) {
  return { read: (file: string) => files[file], totalBytes: 8192 * MIB };
}

test("memoryLimitBytes takes the machine's memory where there is no limit", () => {
  expect(memoryLimitBytes(machine({}))).toBe(8192 * MIB);
  const unlimited = machine({
    "/proc/self/cgroup": "0::/a\n",
    "/sys/fs/cgroup/a/memory.max": "max\n",
  });
  expect(memoryLimitBytes(unlimited)).toBe(8192 * MIB);
});

test("memoryLimitBytes takes the lowest limit of all levels of version 2", () => {
  const view = machine({
    "/proc/self/cgroup": "0::/a/b\n",
    "/sys/fs/cgroup/a/b/memory.max": "max\n",
    "/sys/fs/cgroup/a/memory.max": `${512 * MIB}\n`,
    "/sys/fs/cgroup/memory.max": `${1024 * MIB}\n`,
  });
  expect(memoryLimitBytes(view)).toBe(512 * MIB);
});

test("memoryLimitBytes reads version 1", () => {
  const view = machine({
    "/proc/self/cgroup": "5:cpu,cpuacct:/x\n4:memory:/docker/x\n",
    "/sys/fs/cgroup/memory/docker/x/memory.limit_in_bytes": `${300 * MIB}\n`,
    "/sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
  });
  expect(memoryLimitBytes(view)).toBe(300 * MIB);
});

test("defaultBudgetBytes is 60 % of the limit, at least 128 MiB", () => {
  expect(defaultBudgetBytes(machine({}))).toBe(Math.floor(8192 * MIB * 0.6));
  const small = machine({
    "/proc/self/cgroup": "0::/\n",
    "/sys/fs/cgroup/memory.max": `${64 * MIB}\n`,
  });
  expect(defaultBudgetBytes(small)).toBe(128 * MIB);
});
