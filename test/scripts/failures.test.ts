import { describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

interface Failures {
  add(text: string): void;
  report(hasFailed: boolean): string[];
}

// A plain module of Node without declarations.
const { Failures } = (await import("../../scripts/failures.mjs" as string)) as {
  Failures: new () => Failures;
};

/** The report of an output, whole or in pieces of `bytes`. */
function reportOf(output: string, bytes = output.length): string[] {
  const failures = new Failures();
  for (let i = 0; i < output.length; i += bytes) failures.add(output.slice(i, i + bytes));
  return failures.report(true);
}

const MIXED = `
test/a.test.ts:
noise of a test that passes
(pass) A > passes [0.03ms]
12 |   expect(1).toBe(2);
                 ^
error: expect(received).toBe(expected)

Expected: 2
Received: 1

      at <anonymous> (test/a.test.ts:12:13)
(fail) A > fails [0.16ms]
(fail) A > is slow [100.15ms]
  ^ this test timed out after 100ms.
(skip) A > skipped

test/b.test.ts:

# Unhandled error between tests
-------------------------------
error: Cannot find module './c.ts' from 'test/b.test.ts'
-------------------------------


3 tests failed:
(fail) A > fails [0.16ms]

 1 pass
 3 fail
Ran 4 tests across 2 files. [112.00ms]
`;

describe("Failures", () => {
  test("repeats what failed with its file and output, and nothing else", () => {
    const expected = `
FAILED: 3

test/a.test.ts:
12 |   expect(1).toBe(2);
                 ^
error: expect(received).toBe(expected)

Expected: 2
Received: 1

      at <anonymous> (test/a.test.ts:12:13)
(fail) A > fails [0.16ms]

test/a.test.ts:
(fail) A > is slow [100.15ms]
  ^ this test timed out after 100ms.

test/b.test.ts:
error: Cannot find module './c.ts' from 'test/b.test.ts'
(fail) outside of tests
`.split("\n");
    expect(reportOf(MIXED)).toEqual(expected);
    expect(reportOf(MIXED, 7)).toEqual(expected);
  });

  test("says nothing when nothing failed", () => {
    const failures = new Failures();
    failures.add("\ntest/a.test.ts:\n(pass) a\n\n 1 pass\n 0 fail\nRan 1 test across 1 file.\n");
    expect(failures.report(false)).toEqual([]);
  });

  test("shows the last output of a run that ended in the middle", () => {
    const report = reportOf("\ntest/a.test.ts:\n(pass) a\npanic: Segmentation fault\nat 0x1");
    expect(report.slice(3, 7)).toEqual([
      "test/a.test.ts:",
      "panic: Segmentation fault",
      "at 0x1",
      "the run ended here",
    ]);
  });

  test("keeps the start and the end of a long difference, and not the noise before it", () => {
    const noise = Array.from({ length: 3000 }, (_, i) => `noise ${i}`);
    const difference = Array.from({ length: 3000 }, (_, i) => `+ ${i}`);
    const long = reportOf(`\nt.test.ts:\n${noise.join("\n")}\n(fail) t\n`);
    expect(long.length).toBeLessThan(75);
    expect(long).toContain("noise 2999");
    const block = [...noise, "error: not equal", ...difference.slice(0, 200), "    at t.test.ts:1"];
    const report = reportOf(`\nt.test.ts:\n${block.join("\n")}\n(fail) t\n`);
    expect(report.length).toBeLessThan(75);
    for (const line of ["error: not equal", "+ 0", "+ 199", "    at t.test.ts:1", "(fail) t"])
      expect(report).toContain(line);
  });

  test("bounds all failures together", () => {
    const one = `${"error: x\n".repeat(50)}(fail) t\n`;
    const report = reportOf(`\nt.test.ts:\n${one.repeat(40)}`);
    expect(report.length).toBeLessThan(620);
    expect(report.at(-2)).toMatch(/^… and \d+ more: see above$/);
  });

  test("reads what bun prints", () => {
    const directory = mkdtempSync(join(tmpdir(), "dkv-failures-"));
    try {
      const body =
        'import { expect, test } from "bun:test";\ntest("right", () => {});\n' +
        'test("wrong", () => expect({ a: 1 }).toEqual({ a: 2 }));\n' +
        'test("late", async () => await Bun.sleep(60_000), 1);\n';
      writeFileSync(join(directory, "some.test.ts"), body);
      const run = Bun.spawnSync([process.execPath, "test"], { cwd: directory, stderr: "pipe" });
      const report = reportOf(run.stderr.toString()).join("\n");
      expect(report).toContain("FAILED: 2\n\nsome.test.ts:\n");
      expect(report).toMatch(/error: expect\(received\)\.toEqual[\s\S]*\(fail\) wrong/);
      expect(report).toMatch(/\(fail\) late .*\n {2}\^ this test timed out/);
      expect(report).not.toContain("right [");
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
});
