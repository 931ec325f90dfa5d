/** SystemClock against the runtime's own time. */
import { expect, test } from "bun:test";
import { SystemClock } from "../../src/base/clock.ts";

const clock = new SystemClock();

test("SystemClock tells wall time and a monotonic time in both units", async () => {
  expect(Math.abs(clock.wallMs() - Date.now())).toBeLessThan(60_000);
  const startMs = clock.monotonicMs();
  const startMicros = clock.monotonicMicros();
  await Bun.sleep(20);
  expect(clock.monotonicMs() - startMs).toBeGreaterThanOrEqual(15);
  expect(clock.monotonicMicros() - startMicros).toBeGreaterThanOrEqual(15_000);
});

test("SystemClock runs timers until they are cancelled", async () => {
  const events: string[] = [];
  clock.after(1, () => events.push("after"));
  clock.after(1, () => events.push("cancelled")).cancel();
  const every = clock.every(1, () => events.push("every"));
  while (events.filter((event) => event === "every").length < 3) await Bun.sleep(1);
  await Bun.sleep(10);
  every.cancel();
  const count = events.length;
  await Bun.sleep(10);
  expect(events).toHaveLength(count);
  expect(events.filter((event) => event === "after")).toHaveLength(1);
  expect(events).not.toContain("cancelled");
});

test("SystemClock refuses a timer that the runtime would run at once", () => {
  expect(() => clock.after(2 ** 31, () => undefined)).toThrow("timer beyond 24 days");
});

test("SystemClock.immediate runs behind the current turn", async () => {
  const events: string[] = [];
  clock.immediate(() => events.push("immediate"));
  events.push("turn");
  await new Promise<void>((resolve) => clock.immediate(resolve));
  expect(events).toEqual(["turn", "immediate"]);
});
