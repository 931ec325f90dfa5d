/**
 * A process with one ClusterNode on real sockets, a real disk and a real ZooKeeper, for tests that kill it. In the
 * place of the RESP server it answers HTTP: each request is one unit of the store, answered when it is committed.
 *
 *     bun node-process.ts <directory> <peer port> <zookeeper> <bytes of log to keep>      prints the HTTP port
 *     PUT /key → 200 committed │ 409 not the writer │ 503 nobody knows yet;   GET /key → 200 │ 404 │ 409 │ 503
 *     GET /key?local: whatever the role is;   GET /?report: how the node stands
 */
import { ByteBudget } from "../../../src/base/byte-budget.ts";
import { SystemClock } from "../../../src/base/clock.ts";
import { DiskFileSystem } from "../../../src/base/file-system.ts";
import { createLogger } from "../../../src/base/logger.ts";
import { parseZookeeperAddress } from "../../../src/cluster/coordination/zookeeper-address.ts";
import { ZookeeperCoordinator } from "../../../src/cluster/coordination/zookeeper-coordinator.ts";
import { ClusterNode } from "../../../src/cluster/node/cluster-node.ts";
import { TransportPeers } from "../../../src/cluster/node/transport-peers.ts";
import { DEFAULT_REPLICATION_OPTIONS } from "../../../src/cluster/replication/options.ts";
import { SocketTransport } from "../../../src/cluster/transport/socket-transport.ts";
import { InlineExecutor } from "../../../src/lsm/storage-executor.ts";
import { Refusal, UnitWork } from "../../../src/store/interrupt.ts";

const MIB = 1024 * 1024;
const SESSION_MS = 2000;

interface Gated {
  readonly tag: number;
  answer(status: number): void;
}

const [directory, peerPort, zookeeper, retainBytes] = process.argv.slice(2);
const clock = new SystemClock();
const logger = createLogger({ level: "verbose", file: `${directory}/log` });
const fileSystem = new DiskFileSystem();
const random = (count: number) => crypto.getRandomValues(new Uint8Array(count));
const onFatal = (error: Error) => {
  logger.error({ error }, "cannot go on");
  process.exit(1);
};
let gated: Gated[] = [];
/** Changes with every step-down. */
let term = 0;
/** Units under way, and who waits for their end. */
let running = 0;
const whenQuiet: (() => void)[] = [];

function release(): void {
  const { committed } = node.store;
  const free = gated.filter(({ tag }) => tag <= committed);
  gated = gated.filter(({ tag }) => tag > committed);
  for (const each of free) each.answer(200);
}

const address = { host: "127.0.0.1", port: Number(peerPort) };
const node: ClusterNode = await ClusterNode.start({
  ...{ fileSystem, clock, logger, random, directory: directory! },
  coordinator: new ZookeeperCoordinator({
    address: parseZookeeperAddress(zookeeper!),
    ...{ sessionTimeoutMs: SESSION_MS, clock, logger, random: Math.random },
  }),
  store: {
    executor: new InlineExecutor(fileSystem),
    syncPolicy: "always",
    ...{ segmentBytes: MIB, segmentPoolBytes: 8 * MIB, tuning: {}, valueBytesMax: MIB },
    ...{ minFreeDiskBytes: () => 0, largeBytes: new ByteBudget(MIB) },
    ...{ onFatal, onCommitted: release, onRecovering: () => undefined },
  },
  retainBytesMax: Number(retainBytes),
  shape: { initialSets: 1, replicationFactor: 3, writeQuorum: 2 },
  replication: DEFAULT_REPLICATION_OPTIONS,
  address: { host: address.host, port: 1, peerPort: address.port, hostname: "", version: "1" },
  bootId: "00000000-0000-4000-8000-000000000000",
  events: {
    onServe: () => undefined,
    onPause: () => undefined,
    onResume: () => undefined,
    onStepDown: () => {
      term++;
      for (const each of gated.splice(0)) each.answer(503);
      return running === 0 ? Promise.resolve() : new Promise((resolve) => whenQuiet.push(resolve));
    },
    onFollow: () => undefined,
    onDocument: () => undefined,
    onFatal,
  },
  checkpoints: { bytesPerSecond: () => 0 },
  moves: { bytesPerSecond: () => 0, rebalances: () => false },
  openPeerPort: (identity) => {
    const transport = new SocketTransport({
      ...{ identity, address, clock, logger, onFatal, secret: Buffer.from("secret") },
      random: { bytes: random, fraction: Math.random },
    });
    const peers = new TransportPeers(transport, logger, { ofSet: [], ofAll: [] });
    transport.listen();
    return peers;
  },
});

type Ran = { readonly tag: number; readonly found: string | undefined } | "refused";

async function resolve(work: UnitWork, error: unknown): Promise<void> {
  if (work.pending === undefined) return node.store.resolve(error);
  work.results.push(await work.pending);
  work.pending = undefined;
}

/** As often as interrupts demand; "refused": it had no effect. */
async function run(key: Buffer, value: Buffer | undefined): Promise<Ran> {
  const begun = term;
  const { store } = node;
  const work = new UnitWork();
  running++;
  try {
    while (begun === term) {
      store.beginBatch();
      store.beginUnit(work);
      try {
        let found: string | undefined;
        store.select(key, 0, key.length);
        if (value !== undefined) store.put(value, 0, value.length, 0);
        else if (store.find()) found = store.copyValue().toString();
        store.endUnit();
        return { tag: store.tag, found };
      } catch (error) {
        store.abortUnit();
        if (error instanceof Refusal) break;
        if (!store.isInterrupt(error)) throw error;
        await resolve(work, error);
      }
    }
    return "refused";
  } finally {
    running--;
    if (running === 0) for (const resolve of whenQuiet.splice(0)) resolve();
  }
}

const reply = (status: number, text = "") => new Response(text, { status });

function report() {
  const { member, document, store, identity } = node;
  const isMember = document?.members.some(({ nodeId }) => nodeId === identity.nodeId) ?? false;
  const { role, commitIndex: commit = 0, lastIndex: last = 0 } = member ?? {};
  const { firstIndex } = store.internals.log;
  return { nodeId: identity.nodeId, role, isMember, firstIndex, commit, last };
}

async function readLocal(key: Buffer): Promise<Response> {
  const ran = await run(key, undefined);
  if (ran === "refused") return reply(409);
  return reply(ran.found === undefined ? 404 : 200, ran.found);
}

async function answer(request: Request): Promise<Response> {
  const url = new URL(request.url);
  const key = Buffer.from(url.pathname.slice(1));
  if (url.search === "?report") return reply(200, JSON.stringify(report()));
  if (url.search === "?local") return await readLocal(key);
  const value = request.method === "PUT" ? Buffer.from(await request.arrayBuffer()) : undefined;
  const { member } = node;
  const isRead = value === undefined;
  if (isRead ? member?.isServing !== true : member?.admission !== "accept") return reply(409);
  const begun = term;
  const ran = await run(key, value);
  if (ran === "refused") return reply(409);
  if (isRead && !member!.isLeaseValid && !(await member!.confirm())) return reply(409);
  if (begun !== term) return reply(503);
  const { tag, found } = ran;
  if (tag <= node.store.committed) return reply(isRead && found === undefined ? 404 : 200, found);
  return new Promise((resolve) => {
    gated.push({ tag, answer: (status) => resolve(reply(status, found)) });
  });
}

const server = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: answer, development: false });
process.on("SIGTERM", () => {
  node
    .handOver()
    .then(() => server.stop(true))
    .then(() => node.stop())
    .then(() => process.exit(0), onFatal);
});
console.log(server.port);
