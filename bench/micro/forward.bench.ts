/**
 * What a forwarded command costs: two nodes in one process, joined by the peer port over loopback, and clients in
 * another that ask the first node for its own keys and for the second one's. CPU of both nodes together per command;
 * the difference is what forwarding costs at both ends. `--smoke` runs it small.
 *
 *     this process ── 50 connections ──► child: node A ══ peer port ══ node B
 */
import type { Socket } from "bun";
import { SocketLinks } from "../../test/support/socket-links.ts";
import { StaticCluster } from "../../test/support/static-cluster.ts";

const smoke = process.argv.includes("--smoke");
const CLIENTS = 50;
const COMMANDS = smoke ? 5000 : 500_000;
const KEYS = 1000;
const VALUE = "v".repeat(64);
const NAMING = "CLIENT SETINFO LIB-NAME bench\r\n";

interface Ready {
  readonly port: number;
  readonly keys: readonly (readonly string[])[];
}

async function serve(): Promise<void> {
  const links = new SocketLinks();
  const cluster = await StaticCluster.start({ sets: [1, 1], links });
  const keys = [0, 1].map((set) => {
    const found: string[] = [];
    for (let number = 0; found.length < KEYS; number++) {
      const key = `key:${number}`.padEnd(16, "x");
      if (cluster.ownerOf(key) === cluster.writer(set)) found.push(key);
    }
    return found;
  });
  console.log(JSON.stringify({ port: cluster.writer(0).port, keys } satisfies Ready));
  process.on("message", () => process.send!(process.cpuUsage()));
  process.on("disconnect", () => process.exit(0));
}

const encode = (...words: string[]) =>
  `*${words.length}\r\n${words.map((word) => `$${word.length}\r\n${word}\r\n`).join("")}`;

interface Load {
  readonly port: number;
  readonly keys: readonly string[];
  readonly pipeline: number;
  readonly isWrite: boolean;
}

/** All clients at once, each with one pipeline on its way; bytes of replies are counted, not read. */
async function run({ port, keys, pipeline, isWrite }: Load): Promise<void> {
  const replyBytes = isWrite ? 5 : VALUE.length + 7;
  const rounds = Math.ceil(COMMANDS / CLIENTS / pipeline);
  const clients = Array.from({ length: CLIENTS }, async (_, client) => {
    const batches = Array.from({ length: 8 }, (_, batch) =>
      Buffer.from(
        Array.from({ length: pipeline }, (_, i) => {
          const key = keys[(client * 131 + batch * 17 + i) % keys.length]!;
          return isWrite ? encode("SET", key, VALUE) : encode("GET", key);
        }).join(""),
      ),
    );
    const done = Promise.withResolvers<void>();
    let left = 5;
    let round = -1;
    const send = (socket: Socket): void => {
      round++;
      left = pipeline * replyBytes;
      socket.write(batches[round % batches.length]!);
    };
    const socket = await Bun.connect({
      hostname: "127.0.0.1",
      port,
      socket: {
        data: (socket, chunk) => {
          left -= chunk.length;
          if (left < 0) throw new Error(`unexpected reply: ${chunk}`);
          if (left > 0) return;
          if (round < rounds) send(socket);
          else done.resolve();
        },
      },
    });
    socket.write(NAMING);
    await done.promise;
    socket.end();
  });
  await Promise.all(clients);
}

async function measure(): Promise<void> {
  const ready = Promise.withResolvers<Ready>();
  let onCpu = (_micros: number): void => undefined;
  const child = Bun.spawn([process.execPath, import.meta.path, "--child"], {
    stdout: "pipe",
    ipc: ({ user, system }: NodeJS.CpuUsage) => onCpu(user + system),
  });
  const { value } = await child.stdout.getReader().read();
  ready.resolve(JSON.parse(Buffer.from(value!).toString()) as Ready);
  const { port, keys } = await ready.promise;
  const cpu = () =>
    new Promise<number>((resolve) => {
      onCpu = resolve;
      child.send("cpu");
    });
  for (const pipeline of [1, 16, 64]) {
    for (const isWrite of [true, false]) {
      const cost: number[] = [];
      const rate: number[] = [];
      for (const set of [0, 1]) {
        const load = { port, keys: keys[set]!, pipeline, isWrite };
        if (!smoke) await run(load);
        const before = await cpu();
        const started = performance.now();
        await run(load);
        rate.push(COMMANDS / ((performance.now() - started) / 1000));
        cost.push(((await cpu()) - before) / COMMANDS);
      }
      const figures = ["own", "forwarded"].map(
        (what, i) => `${what} ${cost[i]!.toFixed(2)} µs, ${Math.round(rate[i]! / 1000)} k/s`,
      );
      const name = `${isWrite ? "SET" : "GET"} pipeline ${pipeline}`;
      console.log(`${name.padEnd(16)} CPU a command: ${figures.join("; ")}`);
    }
  }
  child.disconnect();
  await child.exited;
}

if (process.argv.includes("--child")) await serve();
else await measure();
