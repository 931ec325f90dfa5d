/** Events of LATENCY and how GRAPH draws them; the picture is what Redis 7.0 drew of the same samples. */
import { describe, expect, test } from "bun:test";
import { sparkline } from "../../src/server/commands/latency-graph.ts";
import { LatencyMonitor } from "../../src/server/latency-monitor.ts";

function monitorOf(samples: readonly (readonly [time: number, ms: number])[]): LatencyMonitor {
  const monitor = new LatencyMonitor();
  monitor.thresholdMs = 1;
  for (const [time, ms] of samples) monitor.add("command", ms, time);
  return monitor;
}

describe("LatencyMonitor", () => {
  test("add() keeps the worst of each second, and nothing below the threshold", () => {
    const monitor = monitorOf([
      [10, 5],
      [10, 9],
      [10, 7],
      [12, 0],
      [13, 3],
    ]);
    const event = monitor.get("command")!;
    expect(event.samples).toEqual([
      { time: 10, ms: 9 },
      { time: 13, ms: 3 },
    ]);
    expect(event.maxMs).toBe(9);
    monitor.thresholdMs = 0;
    monitor.add("command", 1000, 14);
    expect(event.latest.time).toBe(13);
  });

  test("keeps the last 160 samples and the worst of all", () => {
    const event = monitorOf(
      Array.from({ length: 200 }, (_, i) => [i, i === 0 ? 500 : 2] as const),
    ).get("command")!;
    expect(event.samples.length).toBe(160);
    expect(event.samples[0]!.time).toBe(40);
    expect(event.maxMs).toBe(500);
  });

  test("reset() forgets an event and says whether there was one", () => {
    const monitor = monitorOf([[1, 2]]);
    expect(monitor.reset("command")).toBe(true);
    expect(monitor.reset("command")).toBe(false);
    expect(monitor.events).toEqual([]);
  });
});

describe("sparkline", () => {
  test("draws samples as Redis does", () => {
    const event = monitorOf([
      [100, 111],
      [102, 359],
      [103, 50],
      [104, 227],
    ]).get("command")!;
    expect(sparkline(event, 106)).toBe(
      [
        "command - high 359 ms, low 50 ms (all time high 359 ms)",
        "-".repeat(80),
        " #  ",
        " | _",
        " | |",
        "#|_|",
        "    ",
        "6432",
        "ssss",
        "",
      ].join("\n"),
    );
  });

  test("starts another picture after 80 samples", () => {
    const event = monitorOf(Array.from({ length: 81 }, (_, i) => [i, 1 + i] as const)).get(
      "command",
    )!;
    const lines = sparkline(event, 81).split("\n");
    expect(lines.filter((line) => line.startsWith("#")).length).toBe(1);
    expect(lines[2]!.length).toBe(80);
    expect(lines.at(-2)!.length).toBe(1);
  });
});
