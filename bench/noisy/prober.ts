/**
 * The probing client of `bench noisy`: a SET or a GET of a small key every few milliseconds, on one connection.
 *
 * Open loop, as bench/load/prober.ts: the next command is sent on time even while earlier ones wait. Replies come in
 * order, so each GET must answer what this connection has written last. How late its own timer ran is recorded too.
 * Started with a ProberSpec as its argument; runs until its parent sends any message, then reports.
 */

import { build } from "hdr-histogram-js";
import { encodeCommand } from "../client.ts";
import { REPLY_ERROR, REPLY_NULL, ReplyScanner } from "../load/reply-scanner.ts";
import type { Miss, ProberReport, ProberSpec, Ready } from "./protocol.ts";

const HIGHEST_MICROS = 600_000_000;
const VALUE_BYTES = 32;

interface Probe {
  key: number;
  /** For a GET the stamp that it must find; 0 for a SET, and while the key has not been written. */
  stamp: number;
  /** When what a GET must find was sent; epoch ms. */
  writtenAt: number;
  sentAt: number;
}

class Probing {
  readonly #spec: ProberSpec;
  readonly #latencies = build({ highestTrackableValue: HIGHEST_MICROS });
  readonly #lags = build({ highestTrackableValue: HIGHEST_MICROS });
  readonly #inFlight: Probe[] = [];
  readonly #stamps: Uint32Array;
  readonly #writtenAt: Float64Array;
  readonly #misses: Miss[] = [];
  readonly #wrong: string[] = [];
  #sent = 0;

  constructor(spec: ProberSpec) {
    this.#spec = spec;
    this.#stamps = new Uint32Array(spec.keys);
    this.#writtenAt = new Float64Array(spec.keys);
  }

  noteLag(lateMs: number): void {
    this.#lags.recordValue(Math.max(0, Math.round(lateMs * 1000)));
  }

  /** Every second command reads the key that was written half a round before. */
  next(): Buffer {
    const number = this.#sent++;
    const { keys } = this.#spec;
    const isWrite = number % 2 === 0;
    const key = ((number >>> 1) + (isWrite ? 0 : keys >>> 1)) % keys;
    this.#inFlight.push({
      key,
      stamp: isWrite ? 0 : this.#stamps[key]!,
      writtenAt: this.#writtenAt[key]!,
      sentAt: performance.now(),
    });
    if (!isWrite) return encodeCommand(["GET", keyName(key)]);
    this.#stamps[key] = number + 1;
    this.#writtenAt[key] = Date.now();
    const value = Buffer.alloc(VALUE_BYTES, key & 0xff);
    value.writeUInt32LE(number + 1, 0);
    return encodeCommand(["SET", keyName(key), value]);
  }

  onReply(kind: number, stamp: number, text: string): void {
    const probe = this.#inFlight.shift()!;
    const elapsedMs = performance.now() - probe.sentAt;
    this.#latencies.recordValue(Math.min(HIGHEST_MICROS, Math.round(elapsedMs * 1000)));
    const key = keyName(probe.key);
    if (kind === REPLY_ERROR) {
      this.#wrong.push(`${key} answered ${text}`);
    } else if (probe.stamp !== 0 && kind === REPLY_NULL) {
      this.#misses.push({ key, writtenAt: probe.writtenAt, answeredAt: Date.now() });
    } else if (probe.stamp !== 0 && stamp !== probe.stamp) {
      this.#wrong.push(`${key} held ${stamp} instead of ${probe.stamp}`);
    }
  }

  report(): ProberReport {
    // A probe still waiting has waited at least this long.
    const oldest = this.#inFlight[0];
    if (oldest !== undefined) {
      this.#latencies.recordValue(Math.round((performance.now() - oldest.sentAt) * 1000));
    }
    const at = (percentile: number) => this.#latencies.getValueAtPercentile(percentile) / 1000;
    return {
      type: "report",
      count: this.#latencies.totalCount,
      p50Ms: at(50),
      p99Ms: at(99),
      p999Ms: at(99.9),
      maxMs: this.#latencies.maxValue / 1000,
      lagP99Ms: this.#lags.getValueAtPercentile(99) / 1000,
      lagMaxMs: this.#lags.maxValue / 1000,
      misses: this.#misses,
      wrong: this.#wrong,
    };
  }
}

function keyName(key: number): string {
  return `probe:${String(key).padStart(6, "0")}`;
}

async function main(): Promise<void> {
  const spec = JSON.parse(process.argv[2]!) as ProberSpec;
  const probing = new Probing(spec);
  let isStopping = false;
  // The benchmark is gone: nobody will ask for the report.
  process.on("disconnect", () => process.exit(1));
  const scanner = new ReplyScanner(probing);
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
    probing.noteLag(now - lastTickAt - spec.intervalMs);
    lastTickAt = now;
    socket.write(probing.next());
  }, spec.intervalMs);
  process.on("message", () => {
    isStopping = true;
    clearInterval(timer);
    process.send!(probing.report(), () => process.exit(0));
  });
  const ready: Ready = { type: "ready" };
  process.send!(ready);
}

await main();
