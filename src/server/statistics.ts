/**
 * Counters of the running server, in typed arrays by command id: counting costs a few nanoseconds a command.
 *
 * Reading the clock around every command would cost more than parsing it, so of a fast and frequent command one
 * call in SAMPLE_INTERVAL is timed and counts for all; slow commands, rare ones, and every command while a
 * threshold below a millisecond is set, are timed each.
 */
import { COMMAND_COUNT } from "./command-table.ts";
import { LatencyHistogram } from "./latency-histogram.ts";

export const SAMPLE_INTERVAL = 16;
/** Calls of a command that are all timed before sampling starts. */
const SAMPLED_FROM_CALLS = 256;

export class Statistics {
  readonly calls = new Float64Array(COMMAND_COUNT);
  readonly micros = new Float64Array(COMMAND_COUNT);
  /** Refused before they ran: arity, authentication, disk full. */
  readonly rejected = new Float64Array(COMMAND_COUNT);
  /** Ran and answered an error. */
  readonly failed = new Float64Array(COMMAND_COUNT);
  /** Error replies by their first word. */
  readonly errors = new Map<string, number>();
  readonly #histograms: (LatencyHistogram | undefined)[] = new Array(COMMAND_COUNT);
  /** Time every command: a threshold is low enough for a fast command to reach it. */
  timesAll = false;
  tracksLatency = true;
  commands = 0;
  connections = 0;
  rejectedConnections = 0;
  netInputBytes = 0;
  netOutputBytes = 0;
  /** Chunks received from sockets, and writes to them. */
  reads = 0;
  writes = 0;
  keyspaceHits = 0;
  keyspaceMisses = 0;
  expiredKeys = 0;
  errorReplies = 0;
  /** AUTH and HELLO with a wrong password. */
  authFailures = 0;
  /** Clients disconnected for the limits of their buffers. */
  queryBufferDisconnections = 0;
  outputBufferDisconnections = 0;
  /** When SAVE or BGSAVE last found everything on disk, or the start; milliseconds since the epoch. */
  lastSaveMs: number;
  saves = 0;
  /** Commands of the last second. */
  commandsPerSecond = 0;
  inputBytesPerSecond = 0;
  outputBytesPerSecond = 0;
  #secondCommands = 0;
  #secondInput = 0;
  #secondOutput = 0;

  constructor(startMs: number) {
    this.lastSaveMs = startMs;
  }

  noteSave(nowMs: number): void {
    this.lastSaveMs = nowMs;
    this.saves++;
  }

  /** Counts a call; true when it is to be timed. Hot. */
  beginCall(id: number, isSlow: boolean): boolean {
    const calls = ++this.calls[id]!;
    this.commands++;
    return isSlow || this.timesAll || calls <= SAMPLED_FROM_CALLS || calls % SAMPLE_INTERVAL === 0;
  }

  /** Notes how long a timed call took, for itself and for the untimed ones it stands for. */
  endCall(id: number, isSlow: boolean, micros: number): void {
    const isSampled = !isSlow && !this.timesAll && this.calls[id]! > SAMPLED_FROM_CALLS;
    const weight = isSampled ? SAMPLE_INTERVAL : 1;
    this.micros[id]! += micros * weight;
    if (!this.tracksLatency) return;
    let histogram = this.#histograms[id];
    if (histogram === undefined) {
      histogram = new LatencyHistogram();
      this.#histograms[id] = histogram;
    }
    histogram.record(micros, weight);
  }

  /** Durations of the timed calls of a command; undefined before the first. */
  histogram(id: number): LatencyHistogram | undefined {
    return this.#histograms[id];
  }

  countError(code: string): void {
    this.errorReplies++;
    this.errors.set(code, (this.errors.get(code) ?? 0) + 1);
  }

  /** Once a second: rates over the last one. */
  tick(): void {
    this.commandsPerSecond = this.commands - this.#secondCommands;
    this.inputBytesPerSecond = this.netInputBytes - this.#secondInput;
    this.outputBytesPerSecond = this.netOutputBytes - this.#secondOutput;
    this.#secondCommands = this.commands;
    this.#secondInput = this.netInputBytes;
    this.#secondOutput = this.netOutputBytes;
  }

  /** CONFIG RESETSTAT. */
  reset(): void {
    for (const counts of [this.calls, this.micros, this.rejected, this.failed]) counts.fill(0);
    this.#histograms.fill(undefined);
    this.errors.clear();
    this.commands = 0;
    this.connections = 0;
    this.rejectedConnections = 0;
    this.netInputBytes = 0;
    this.netOutputBytes = 0;
    this.reads = 0;
    this.writes = 0;
    this.queryBufferDisconnections = 0;
    this.outputBufferDisconnections = 0;
    this.keyspaceHits = 0;
    this.keyspaceMisses = 0;
    this.expiredKeys = 0;
    this.errorReplies = 0;
    this.authFailures = 0;
    this.#secondCommands = 0;
    this.#secondInput = 0;
    this.#secondOutput = 0;
  }
}
