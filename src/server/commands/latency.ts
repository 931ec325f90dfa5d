/** LATENCY (https://redis.io/docs/latest/commands/?group=server); latency-monitor.ts keeps the events. */
import { COMMANDS, type CommandSpec, commandNamed } from "../command-table.ts";
import { echoed } from "../error-text.ts";
import type { CommandContext, Handlers } from "../handler.ts";
import type { LatencyEvent } from "../latency-monitor.ts";
import { sparkline } from "./latency-graph.ts";

function latest({ server, reply }: CommandContext): void {
  const { events } = server.latency;
  reply.array(events.length);
  for (const event of events) {
    reply.array(4);
    reply.bulkString(event.name);
    reply.integer(event.latest.time);
    reply.integer(event.latest.ms);
    reply.integer(event.maxMs);
  }
}

function history({ server, request, reply }: CommandContext): void {
  const samples = server.latency.get(request.text(2))?.samples ?? [];
  reply.array(samples.length);
  for (const { time, ms } of samples) {
    reply.array(2);
    reply.integer(time);
    reply.integer(ms);
  }
}

function reset({ server, request, reply }: CommandContext): void {
  const names: string[] = [];
  for (let at = 2; at < request.count; at++) names.push(request.text(at));
  const all = server.latency.events.map((event) => event.name);
  const wanted = request.count === 2 ? all : names;
  reply.integer(wanted.filter((name) => server.latency.reset(name)).length);
}

function graph({ server, store, request, reply }: CommandContext): void {
  const event = server.latency.get(request.text(2));
  if (event === undefined) {
    reply.error(`ERR No samples available for event '${echoed(request, 2)}'`);
    return;
  }
  reply.verbatim(sparkline(event, Math.floor(store.nowMs / 1000)));
}

/** The commands that HISTOGRAM is asked about: a container stands for its subcommands. */
function histogramSpecs({ request }: CommandContext): readonly CommandSpec[] {
  if (request.count === 2) return COMMANDS;
  const specs: CommandSpec[] = [];
  for (let at = 2; at < request.count; at++) {
    const spec = commandNamed(request.latin1(at));
    if (spec === undefined) continue;
    specs.push(spec, ...spec.subcommands);
  }
  return specs;
}

function histogram(context: CommandContext): void {
  const { server, reply } = context;
  const specs = histogramSpecs(context).filter(
    (spec) => server.statistics.histogram(spec.id) !== undefined,
  );
  reply.map(specs.length);
  for (const spec of specs) {
    const durations = server.statistics.histogram(spec.id)!;
    const steps = durations.cumulative();
    reply.bulkString(spec.name);
    reply.map(2);
    reply.bulkString("calls");
    reply.integer(durations.count);
    reply.bulkString("histogram_usec");
    reply.map(steps.length);
    for (const [micros, calls] of steps) {
      reply.integer(micros);
      reply.integer(calls);
    }
  }
}

function describe(event: LatencyEvent): string {
  const { samples } = event;
  const sum = samples.reduce((total, sample) => total + sample.ms, 0);
  const average = Math.round(sum / samples.length);
  const span = Math.max(1, event.latest.time - samples[0]!.time);
  return (
    `${event.name}: ${samples.length} latency spikes, average ${average} ms, ` +
    `one every ${(span / samples.length).toFixed(2)} seconds. Worst all time event ${event.maxMs} ms.`
  );
}

const ADVICE =
  "A command's time is its own work: waits for the disk and for synced writes are not in it. " +
  "Look at SLOWLOG GET for commands over many keys or large values, and at INFO dkv for stalls and compaction.";

function doctor({ server, reply }: CommandContext): void {
  const { events, thresholdMs } = server.latency;
  if (thresholdMs === 0) {
    reply.verbatim(
      'Latency monitoring is disabled. Enable it with "CONFIG SET latency-monitor-threshold <milliseconds>".\n',
    );
  } else if (events.length === 0) {
    reply.verbatim(`No latency spike of ${thresholdMs} ms or more has been observed.\n`);
  } else {
    reply.verbatim(`${events.map(describe).join("\n")}\n\n${ADVICE}\n`);
  }
}

export const LATENCY_HANDLERS: Handlers = {
  "latency|doctor": doctor,
  "latency|graph": graph,
  "latency|histogram": histogram,
  "latency|history": history,
  "latency|latest": latest,
  "latency|reset": reset,
};
