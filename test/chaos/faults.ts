/**
 * What is done to a cluster. Each fault does harm, lets it last, and undoes it, at least as far as Lab.heal() does not.
 * Three of
 * them, isolate-with-client, lagging-failover and unsynced-failover, are made to show what asynchronous replication loses.
 */

import { diskError } from "./disk-faults.ts";
import type { Lab } from "./lab.ts";
import { CLIENT_HOSTS } from "./lab-clients.ts";
import { between, type Cut } from "./lab-network.ts";
import type { LabNode, TargetName } from "./target.ts";

export interface Fault {
  readonly name: string;
  readonly on: readonly TargetName[];
  /** How often it is chosen, relative to others. */
  readonly weight: number;
  /** It may come while another one lasts: no copy is thrown away, and no node started. */
  readonly overlaps: boolean;
  run(lab: Lab): Promise<void>;
}

const BOTH = ["dkv", "redis"] as const;
const DKV = ["dkv"] as const;

/** Longer than lease and session. */
const PAUSE_MS = [4500, 8000] as const;
const PARTITION_MS = [3000, 9000] as const;
/** Long enough for any target to replace a writer. */
const REPLACED_MS = [7000, 10_000] as const;
const RESTART_MS = [100, 4000] as const;

async function killWriter(lab: Lab): Promise<void> {
  const { writer } = await lab.membersOf(lab.anySet());
  await writer.process.kill();
  await lab.hold(...RESTART_MS);
}

async function killReplica(lab: Lab): Promise<void> {
  const { replicas } = await lab.membersOf(lab.anySet());
  await lab.random.pick(replicas).process.kill();
  await lab.hold(...RESTART_MS);
}

async function pause(lab: Lab, node: LabNode): Promise<void> {
  node.process.pause();
  await lab.hold(...PAUSE_MS);
  node.process.resume();
}

async function pauseWriter(lab: Lab): Promise<void> {
  await pause(lab, (await lab.membersOf(lab.anySet())).writer);
}

async function pauseReplica(lab: Lab): Promise<void> {
  await pause(lab, lab.random.pick((await lab.membersOf(lab.anySet())).replicas));
}

async function holdCut(lab: Lab, cuts: readonly Cut[]): Promise<void> {
  await lab.whileCut(cuts, () => lab.hold(...PARTITION_MS));
}

async function anyNode(lab: Lab): Promise<LabNode> {
  const { writer, replicas } = await lab.membersOf(lab.anySet());
  return lab.random.chance(0.6) ? writer : lab.random.pick(replicas);
}

async function isolateNode(lab: Lab): Promise<void> {
  const { host } = await anyNode(lab);
  await holdCut(lab, between([host], lab.othersThan([host])));
}

/** Either it is not heard, or it does not hear. */
async function isolateOneWay(lab: Lab): Promise<void> {
  const { host } = await anyNode(lab);
  const isDeaf = lab.random.chance(0.5);
  const others = lab.othersThan([host]);
  await holdCut(
    lab,
    others.map((other) => (isDeaf ? { from: other, to: host } : { from: host, to: other })),
  );
}

async function cutReplication(lab: Lab): Promise<void> {
  const { writer, replicas } = await lab.membersOf(lab.anySet());
  const hosts = replicas.map(({ host }) => host);
  const some = lab.random.chance(0.5) ? hosts : [lab.random.pick(hosts)];
  await holdCut(lab, between([writer.host], some, lab.target.replicationPort));
}

async function cutCoordination(lab: Lab): Promise<void> {
  const { host } = await anyNode(lab);
  await holdCut(lab, between([host], lab.target.coordination!.hosts));
}

/** A writer and a client that talks to it are alone together; everybody else is on the other side. */
async function isolateWithClient(lab: Lab): Promise<void> {
  const { writer } = await lab.membersOf(lab.anySet());
  const side = [writer.host, lab.random.pick(CLIENT_HOSTS)];
  const cuts = between(side, lab.othersThan(side));
  await lab.whileCut(cuts, () => lab.hold(...REPLACED_MS));
}

async function stopCoordination(lab: Lab): Promise<void> {
  await lab.target.coordination!.kill();
  await lab.hold(2000, 12_000);
  await lab.target.coordination!.restart();
}

async function powerOff(lab: Lab): Promise<void> {
  await Promise.all([lab.killAll(), lab.target.coordination?.kill()]);
  await lab.hold(...RESTART_MS);
}

async function handOver(lab: Lab): Promise<void> {
  const { replicas } = await lab.membersOf(lab.anySet());
  await lab.handOver(lab.random.pick(replicas));
  await lab.hold(500, 2000);
}

async function terminateWriter(lab: Lab): Promise<void> {
  const { writer } = await lab.membersOf(lab.anySet());
  const hasEnded = await lab.terminate(writer);
  if (!hasEnded) throw new Error(`${writer.host} does not end at SIGTERM`);
  await lab.hold(...RESTART_MS);
}

async function wipeReplica(lab: Lab): Promise<void> {
  const { writer, replicas } = await lab.membersOf(lab.anySet());
  const replica = lab.random.pick(replicas);
  await replica.process.kill();
  lab.wipe(replica);
  await lab.hold(...RESTART_MS);
  lab.target.startNode(replica);
  await lab.target.readmit(replica, writer);
}

/**
 * The writer dies while a replica is behind. What the replica has not got stays in the dead writer's kernel, so the cut
 * stays until the failover is over.
 */
async function laggingFailover(lab: Lab): Promise<void> {
  const { writer, replicas } = await lab.membersOf(lab.anySet());
  const replica = lab.random.pick(replicas);
  const link = between([replica.host], [writer.host], lab.target.replicationPort);
  await lab.whileCut(link, async () => {
    await lab.hold(700, 1500);
    await writer.process.kill();
    await lab.hold(...REPLACED_MS);
  });
}

/** The writer dies while a new replica has nothing yet. */
async function unsyncedFailover(lab: Lab): Promise<void> {
  const { writer, replicas } = await lab.membersOf(lab.anySet());
  const replica = lab.random.pick(replicas);
  await replica.process.kill();
  lab.wipe(replica);
  const link = between([replica.host], [writer.host], lab.target.replicationPort);
  await lab.whileCut(link, async () => {
    lab.target.startNode(replica);
    await lab.target.readmit(replica, writer);
    await lab.hold(500, 1500);
    await writer.process.kill();
    await lab.hold(...REPLACED_MS);
  });
}

export const FAULTS: readonly Fault[] = [
  { name: "kill-writer", on: BOTH, weight: 4, overlaps: true, run: killWriter },
  { name: "kill-replica", on: BOTH, weight: 2, overlaps: true, run: killReplica },
  { name: "pause-writer", on: BOTH, weight: 3, overlaps: true, run: pauseWriter },
  { name: "pause-replica", on: BOTH, weight: 1, overlaps: true, run: pauseReplica },
  { name: "isolate-node", on: BOTH, weight: 3, overlaps: true, run: isolateNode },
  { name: "isolate-one-way", on: BOTH, weight: 2, overlaps: true, run: isolateOneWay },
  { name: "isolate-with-client", on: BOTH, weight: 3, overlaps: true, run: isolateWithClient },
  { name: "cut-replication", on: BOTH, weight: 2, overlaps: true, run: cutReplication },
  { name: "cut-coordination", on: DKV, weight: 2, overlaps: true, run: cutCoordination },
  { name: "stop-coordination", on: DKV, weight: 2, overlaps: true, run: stopCoordination },
  { name: "power-off", on: BOTH, weight: 2, overlaps: false, run: powerOff },
  { name: "hand-over", on: BOTH, weight: 3, overlaps: true, run: handOver },
  { name: "terminate-writer", on: BOTH, weight: 2, overlaps: true, run: terminateWriter },
  { name: "wipe-replica", on: BOTH, weight: 2, overlaps: false, run: wipeReplica },
  { name: "lagging-failover", on: BOTH, weight: 2, overlaps: true, run: laggingFailover },
  { name: "unsynced-failover", on: BOTH, weight: 1, overlaps: false, run: unsyncedFailover },
  { name: "disk-error", on: DKV, weight: 1, overlaps: false, run: diskError },
];
