/**
 * The load generator process: many connections, batches of pre-encoded GET and SET, replies verified as they are counted,
 * with WAIT behind each batch if asked for.
 *
 * Each connection sends a batch and waits for all its replies. Every GET must return the value of its key (the stamp:
 * the key's number in the first four bytes) or nil, every SET +OK, in order: anything else ends the process with an
 * error. Values are random bytes behind the stamp. Latency runs from sending the batch to the read that brought the
 * reply; a read-modify-write counts once, from its GET's batch to its SET's reply.
 *
 * Started by `load-process.ts` with a LoadSpec as its argument; talks by IPC.
 *
 * Hot: about 1 µs an operation.
 */

import { build, type Histogram } from "hdr-histogram-js";
import type { LoadProgress, LoadReport, LoadSpec } from "./protocol.ts";
import { RandomPool } from "./random.ts";
import {
  REPLY_INTEGER,
  REPLY_NULL,
  REPLY_STATUS,
  REPLY_VALUE,
  ReplyScanner,
  type ReplySink,
  STAMP_BYTES,
} from "./reply-scanner.ts";
import {
  createWorkload,
  INSERT,
  READ,
  READ_MODIFY_WRITE,
  type Workload,
  WRITE,
} from "./workloads.ts";

const KEY_DIGITS = 12;
const POOL_BYTES = 8 << 20;
const PROGRESS_INTERVAL_MS = 250;
const HIGHEST_LATENCY_MICROS = 600_000_000;
/** The SET half of a read-modify-write; only inside this file. */
const WRITE_BACK = 4;
/** The WAIT behind a batch; only inside this file. */
const WAIT = 5;

/** Shared by all connections of the process. */
class Load {
  readonly spec: LoadSpec;
  readonly workload: Workload;
  readonly encoder: RequestEncoder;
  readonly histogram: Histogram = build({ highestTrackableValue: HIGHEST_LATENCY_MICROS });
  readonly startedAt: number;
  readonly stopAt: number;
  operations = 0;
  misses = 0;
  lastReplyAt: number;
  longestGapMs = 0;
  nextInsert = 0;

  constructor(spec: LoadSpec) {
    this.spec = spec;
    this.workload = createWorkload(spec.workload);
    this.encoder = new RequestEncoder(spec);
    // Now: preparing the workload and its values takes a while.
    this.startedAt = performance.now();
    this.lastReplyAt = this.startedAt;
    this.stopAt = this.startedAt + (spec.seconds ?? Number.POSITIVE_INFINITY) * 1000;
  }

  sawReplies(now: number): void {
    this.longestGapMs = Math.max(this.longestGapMs, now - this.lastReplyAt);
    this.lastReplyAt = now;
  }
}

/** Writes requests into a buffer from templates. */
class RequestEncoder {
  readonly getBytes: number;
  readonly setBytes: number;
  readonly waitBytes: number;
  readonly #wait: Buffer;
  readonly #get: Buffer;
  readonly #set: Buffer;
  readonly #valueBytes: number;
  readonly #pool = new RandomPool(POOL_BYTES, 7);

  constructor(spec: LoadSpec) {
    const key = `$${spec.keyPrefix.length + KEY_DIGITS}\r\n${spec.keyPrefix}${"0".repeat(KEY_DIGITS)}\r\n`;
    this.#get = Buffer.from(`*2\r\n$3\r\nGET\r\n${key}`);
    this.#set = Buffer.from(`*3\r\n$3\r\nSET\r\n${key}$${spec.valueBytes}\r\n`);
    this.#valueBytes = spec.valueBytes;
    const replicas = String(spec.waitReplicas);
    this.#wait = Buffer.from(
      `*3\r\n$4\r\nWAIT\r\n$${replicas.length}\r\n${replicas}\r\n$1\r\n0\r\n`,
    );
    this.waitBytes = this.#wait.length;
    this.getBytes = this.#get.length;
    this.setBytes = this.#set.length + spec.valueBytes + 2;
  }

  /** Returns where the request ends. */
  get(target: Buffer, at: number, key: number): number {
    this.#get.copy(target, at);
    const end = at + this.#get.length;
    writeDigits(target, end - 3, key);
    return end;
  }

  wait(target: Buffer, at: number): number {
    return at + this.#wait.copy(target, at);
  }

  set(target: Buffer, at: number, key: number): number {
    const header = this.#set;
    header.copy(target, at);
    // Back over CR LF, the length line `$<n>` CR LF and CR LF of the key: the key's last digit.
    const valueStart = at + header.length;
    writeDigits(target, valueStart - String(this.#valueBytes).length - 6, key);
    target.writeUInt32LE(key, valueStart);
    this.#pool.fill(target, valueStart + STAMP_BYTES, this.#valueBytes - STAMP_BYTES);
    const end = valueStart + this.#valueBytes;
    target[end] = 0x0d;
    target[end + 1] = 0x0a;
    return end + 2;
  }
}

/** Writes the digits of `value` so that the last stands at `last`; leading zeros are the template's. */
function writeDigits(target: Buffer, last: number, value: number): void {
  let rest = value;
  for (let at = last; rest > 0; at--) {
    const quotient = Math.floor(rest / 10);
    target[at] = 0x30 + rest - quotient * 10;
    rest = quotient;
  }
}

class Connection implements ReplySink {
  readonly #load: Load;
  readonly #scanner: ReplyScanner;
  readonly #requests: Buffer;
  readonly #actions: Uint8Array;
  readonly #keys: Uint32Array;
  /** Keys read by the last batch whose values this batch writes back. */
  #writeBacks: number[] = [];
  #count = 0;
  #answered = 0;
  /** Replies of this batch that are counted. */
  #recorded = 0;
  #unsentStart = 0;
  #unsentEnd = 0;
  #batchStartedAt = 0;
  #previousBatchStartedAt = 0;
  readonly #finished = Promise.withResolvers<void>();
  isFinished = false;

  constructor(load: Load) {
    this.#load = load;
    this.#scanner = new ReplyScanner(this);
    const { setBytes, waitBytes } = load.encoder;
    this.#requests = Buffer.alloc(load.spec.pipeline * setBytes + waitBytes);
    this.#actions = new Uint8Array(load.spec.pipeline + 1);
    this.#keys = new Uint32Array(load.spec.pipeline + 1);
  }

  get finished(): Promise<void> {
    return this.#finished.promise;
  }

  /** Sends the next batch, or finishes when there is none. */
  next(socket: Bun.Socket): void {
    const now = performance.now();
    this.#fill(now < this.#load.stopAt);
    if (this.#count === 0) {
      this.isFinished = true;
      this.#finished.resolve();
      socket.end();
      return;
    }
    this.#previousBatchStartedAt = this.#batchStartedAt;
    this.#batchStartedAt = now;
    this.send(socket);
  }

  send(socket: Bun.Socket): void {
    if (this.#unsentStart === this.#unsentEnd) return;
    const taken = socket.write(this.#requests.subarray(this.#unsentStart, this.#unsentEnd));
    this.#unsentStart += Math.max(0, taken);
  }

  receive(socket: Bun.Socket, chunk: Buffer): void {
    this.#scanner.feed(chunk);
    const now = performance.now();
    this.#load.sawReplies(now);
    const isWhole = this.#answered === this.#count;
    if (isWhole || this.#load.spec.waitReplicas === 0) this.#record(now);
    if (isWhole) this.next(socket);
  }

  onReply(kind: number, stamp: number, text: string): void {
    const at = this.#answered++;
    if (at >= this.#count) throw new Error("more replies than requests");
    const action = this.#actions[at]!;
    const key = this.#keys[at]!;
    if (action === READ || action === READ_MODIFY_WRITE) {
      if (kind === REPLY_NULL) this.#load.misses++;
      else if (kind !== REPLY_VALUE || (stamp !== key && this.#load.spec.checksStamps)) {
        throw new Error(`GET ${key} answered kind ${kind}, stamp ${stamp} ${text}`);
      }
      if (action === READ_MODIFY_WRITE) this.#writeBacks.push(key);
      return;
    }
    if (action === WAIT) {
      if (kind === REPLY_INTEGER && stamp >= this.#load.spec.waitReplicas) return;
      throw new Error(`WAIT answered kind ${kind}, ${stamp} replicas ${text}`);
    }
    if (kind !== REPLY_STATUS) throw new Error(`SET ${key} answered kind ${kind} ${text}`);
    if (action === INSERT) this.#load.workload.acknowledge(key);
  }

  #fill(mayStart: boolean): void {
    const { workload, spec } = this.#load;
    const writeBacks = this.#writeBacks;
    this.#writeBacks = [];
    this.#count = 0;
    this.#answered = 0;
    this.#recorded = 0;
    let end = 0;
    for (let i = 0; i < writeBacks.length; i++) end = this.#append(end, WRITE_BACK, writeBacks[i]!);
    while (mayStart && this.#count < spec.pipeline && workload.advance()) {
      end = this.#append(end, workload.action, workload.key);
      if (workload.action === INSERT) {
        this.#load.nextInsert = Math.max(this.#load.nextInsert, workload.key + 1);
      }
    }
    if (spec.waitReplicas > 0 && this.#count > 0) {
      this.#actions[this.#count++] = WAIT;
      end = this.#load.encoder.wait(this.#requests, end);
    }
    this.#unsentStart = 0;
    this.#unsentEnd = end;
  }

  #append(at: number, action: number, key: number): number {
    this.#actions[this.#count] = action;
    this.#keys[this.#count] = key;
    this.#count++;
    const { encoder } = this.#load;
    const isRead = action === READ || action === READ_MODIFY_WRITE;
    return isRead ? encoder.get(this.#requests, at, key) : encoder.set(this.#requests, at, key);
  }

  /** Counts the replies that are not counted yet. */
  #record(now: number): void {
    let plain = 0;
    let writeBacks = 0;
    while (this.#recorded < this.#answered) {
      const action = this.#actions[this.#recorded++]!;
      if (action === READ || action === WRITE || action === INSERT) plain++;
      else if (action === WRITE_BACK) writeBacks++;
    }
    this.#load.operations += plain + writeBacks;
    this.#recordLatency(now - this.#batchStartedAt, plain);
    this.#recordLatency(now - this.#previousBatchStartedAt, writeBacks);
  }

  #recordLatency(elapsedMs: number, count: number): void {
    if (count === 0) return;
    const micros = Math.min(HIGHEST_LATENCY_MICROS, Math.round(elapsedMs * 1000));
    this.#load.histogram.recordValueWithCount(micros, count);
  }
}

async function connectAll(load: Load): Promise<void> {
  const finished: Promise<void>[] = [];
  for (let i = 0; i < load.spec.connections; i++) {
    const connection = new Connection(load);
    finished.push(connection.finished);
    await Bun.connect({
      hostname: "127.0.0.1",
      port: load.spec.port,
      socket: {
        open: (socket) => connection.next(socket),
        data: (socket, chunk) => connection.receive(socket, chunk),
        drain: (socket) => connection.send(socket),
        close: () => {
          if (!connection.isFinished) fail(new Error("the server closed a connection"));
        },
        error: (_socket, error) => fail(error),
      },
    });
  }
  await Promise.all(finished);
}

function fail(error: Error): never {
  console.error(`load generator: ${error.message}`);
  process.exit(1);
}

function reportOf(load: Load, cpuMicros: number): LoadReport {
  const seconds = (load.lastReplyAt - load.startedAt) / 1000;
  const percentile = (p: number): number => load.histogram.getValueAtPercentile(p) / 1000;
  return {
    type: "report",
    operations: load.operations,
    seconds,
    misses: load.misses,
    p50Ms: percentile(50),
    p99Ms: percentile(99),
    maxMs: load.histogram.maxValue / 1000,
    longestGapMs: load.longestGapMs,
    generatorCores: cpuMicros / 1e6 / seconds,
    nextInsert: load.nextInsert,
  };
}

async function main(): Promise<void> {
  const load = new Load(JSON.parse(process.argv[2]!) as LoadSpec);
  // The benchmark is gone: stop loading its server.
  process.on("disconnect", () => process.exit(1));
  const cpuBefore = process.cpuUsage();
  const timer = setInterval(() => {
    const seconds = (performance.now() - load.startedAt) / 1000;
    const progress: LoadProgress = { type: "progress", operations: load.operations, seconds };
    process.send!(progress);
  }, PROGRESS_INTERVAL_MS);
  await connectAll(load);
  clearInterval(timer);
  const cpu = process.cpuUsage(cpuBefore);
  process.send!(reportOf(load, cpu.user + cpu.system), () => process.exit(0));
}

await main();
