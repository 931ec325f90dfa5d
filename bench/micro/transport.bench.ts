/**
 * Two processes joined by the peer port (src/cluster/transport): small messages in turns of 100, messages of a frame of
 * the log, and large ones. Frames and MB a second, CPU of each side per message and per MB. `--smoke` runs it small.
 *
 *     this process ── messages ──► child: counts and sums, replies when it has them all, with its CPU time
 */
import { SystemClock } from "../../src/base/clock.ts";
import type { Logger } from "../../src/base/logger.ts";
import { SocketTransport } from "../../src/cluster/transport/socket-transport.ts";
import type { Link, LinkHandlers } from "../../src/cluster/transport/transport.ts";

const smoke = process.argv.includes("--smoke");
const CHILD = "b".repeat(40);
const PARENT = "a".repeat(40);
const TURN_MESSAGES = 100;
const DATA = 1;
const END = 2;

interface Load {
  readonly name: string;
  readonly bytes: number;
  readonly count: number;
}

const LOADS: readonly Load[] = [
  { name: "64 B", bytes: 64, count: smoke ? 2000 : 1_000_000 },
  { name: "1 KiB", bytes: 1024, count: smoke ? 1000 : 500_000 },
  { name: "16 KiB", bytes: 16 * 1024, count: smoke ? 200 : 100_000 },
  { name: "256 KiB", bytes: 256 * 1024, count: smoke ? 20 : 8000 },
  { name: "16 MiB", bytes: 16 << 20, count: smoke ? 1 : 100 },
];

const silent: Logger = {
  child: () => silent,
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
};

function createTransport(nodeId: string): SocketTransport {
  return new SocketTransport({
    identity: { clusterId: "c".repeat(40), nodeId, incarnation: 1 },
    secret: Buffer.from("benchmark"),
    address: { host: "127.0.0.1", port: 0 },
    clock: new SystemClock(),
    logger: silent,
    random: {
      bytes: (count) => crypto.getRandomValues(new Uint8Array(count)),
      fraction: () => Math.random(),
    },
    onFatal: (error) => {
      throw error;
    },
  });
}

const cpuMicros = () => {
  const { user, system } = process.cpuUsage();
  return user + system;
};

const idle: LinkHandlers = {
  onMessage: () => undefined,
  onUp: () => undefined,
  onDown: () => undefined,
  onDrain: () => undefined,
};

/** The child: sums the lengths, and at an END tells what it got and what it cost. */
function receive(): void {
  const transport = createTransport(CHILD);
  let messages = 0;
  let bytes = 0;
  let cpuBefore = cpuMicros();
  transport.handle("replication", {
    ...idle,
    onMessage: ({ link, channel, parts }) => {
      if (channel === DATA) {
        messages++;
        bytes += parts[0]!.length;
        return;
      }
      const cpu = cpuMicros();
      const report = { messages, bytes, cpuMicros: cpu - cpuBefore };
      link.send(END, [Buffer.from(JSON.stringify(report))]);
      cpuBefore = cpu;
      messages = 0;
      bytes = 0;
    },
    onDown: () => process.exit(0),
  });
  transport.listen();
  console.log(transport.port);
}

async function send(): Promise<void> {
  const script = import.meta.path;
  const child = Bun.spawn([process.execPath, script, "--child"], { stdout: "pipe" });
  const { value } = await child.stdout.getReader().read();
  const port = Number(Buffer.from(value!).toString());
  const transport = createTransport(PARENT);
  let onDrain = (): void => undefined;
  let onReport = (_text: string): void => undefined;
  const up = Promise.withResolvers<Link>();
  transport.handle("replication", {
    onMessage: ({ parts }) => onReport(Buffer.from(parts[0]!).toString()),
    onUp: (link) => up.resolve(link),
    onDown: () => undefined,
    onDrain: () => onDrain(),
  });
  transport.setPeers(new Map([[CHILD, { host: "127.0.0.1", port, purposes: ["replication"] }]]));
  const link = await up.promise;
  for (const load of LOADS) {
    const payload = [new Uint8Array(new SharedArrayBuffer(load.bytes)).fill(7)];
    const started = performance.now();
    const cpuBefore = cpuMicros();
    for (let sent = 0; sent < load.count; ) {
      let isFull = false;
      for (let i = 0; i < TURN_MESSAGES && sent < load.count && !isFull; i++) {
        if (link.send(DATA, payload)) sent++;
        else isFull = true;
      }
      if (isFull) await new Promise<void>((resolve) => (onDrain = resolve));
      else await new Promise<void>((resolve) => setImmediate(resolve));
    }
    const text = await new Promise<string>((resolve) => {
      onReport = resolve;
      const end = () => link.send(END, []) || setImmediate(end);
      end();
    });
    const seconds = (performance.now() - started) / 1000;
    const report = JSON.parse(text) as { messages: number; bytes: number; cpuMicros: number };
    const perMessage = (micros: number) => (micros / load.count).toFixed(2);
    console.log(
      `${load.name.padEnd(8)} ${Math.round(load.count / seconds)} messages/s, ` +
        `${Math.round((load.count * load.bytes) / seconds / 1e6)} MB/s; CPU µs a message: ` +
        `sender ${perMessage(cpuMicros() - cpuBefore)}, receiver ${perMessage(report.cpuMicros)}; ` +
        `received ${report.messages} messages of ${report.bytes} bytes`,
    );
  }
  transport.stop();
  await child.exited;
}

if (process.argv.includes("--child")) receive();
else await send();
