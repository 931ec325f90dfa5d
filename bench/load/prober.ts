/**
 * The prober process: one GET of a random key every few milliseconds on its own connection, to see stalls as a client would.
 *
 * Open loop: the next probe is sent on time even while earlier ones wait, so one long stall is seen by all the probes it
 * held up. It runs until its parent sends any message, then reports. Started with a ProbeSpec as its argument.
 */

import { build } from "hdr-histogram-js";
import { encodeCommand } from "../client.ts";
import type { ProbeReady, ProbeReport, ProbeSpec } from "./protocol.ts";
import { Random } from "./random.ts";
import { REPLY_ERROR, ReplyScanner } from "./reply-scanner.ts";

const HIGHEST_LATENCY_MICROS = 600_000_000;

async function main(): Promise<void> {
  const spec = JSON.parse(process.argv[2]!) as ProbeSpec;
  const histogram = build({ highestTrackableValue: HIGHEST_LATENCY_MICROS });
  const random = new Random(3);
  const sentAt: number[] = [];
  let ownLagMaxMs = 0;
  let isStopping = false;
  // The benchmark is gone: nobody will ask for the report.
  process.on("disconnect", () => process.exit(1));
  const scanner = new ReplyScanner({
    onReply: (kind, _stamp, text) => {
      if (kind === REPLY_ERROR) throw new Error(`probe answered ${text}`);
      const elapsedMs = performance.now() - sentAt.shift()!;
      histogram.recordValue(Math.min(HIGHEST_LATENCY_MICROS, Math.round(elapsedMs * 1000)));
    },
  });
  const socket = await Bun.connect({
    hostname: "127.0.0.1",
    port: spec.port,
    socket: {
      data: (_socket, chunk) => scanner.feed(chunk),
      close: () => {
        if (!isStopping) process.exit(1);
      },
    },
  });
  let lastTickAt = performance.now();
  const timer = setInterval(() => {
    const now = performance.now();
    ownLagMaxMs = Math.max(ownLagMaxMs, now - lastTickAt - spec.intervalMs);
    lastTickAt = now;
    const key = spec.keyPrefix + String(random.below(spec.keys)).padStart(12, "0");
    sentAt.push(now);
    socket.write(encodeCommand(["GET", key]));
  }, spec.intervalMs);

  process.on("message", () => {
    isStopping = true;
    clearInterval(timer);
    // A probe still waiting has waited at least this long.
    const oldest = sentAt[0];
    if (oldest !== undefined) histogram.recordValue((performance.now() - oldest) * 1000);
    const report: ProbeReport = {
      type: "report",
      count: histogram.totalCount,
      p50Ms: histogram.getValueAtPercentile(50) / 1000,
      p99Ms: histogram.getValueAtPercentile(99) / 1000,
      maxMs: histogram.maxValue / 1000,
      ownLagMaxMs,
    };
    process.send!(report, () => process.exit(0));
  });
  const ready: ProbeReady = { type: "ready" };
  process.send!(ready);
}

await main();
