/**
 * What must be true when all moves of slots have ended: each slot is in one set's document, no move has a document, all
 * nodes show the same owners, and no writer has a key that is not its own.
 */
import { SystemClock } from "../../src/base/clock.ts";
import { createLogger } from "../../src/base/logger.ts";
import { SLOT_COUNT } from "../../src/base/slot.ts";
import { slotsOf } from "../../src/base/slot-ranges.ts";
import { replicaSetDocument } from "../../src/cluster/coordination/documents.ts";
import { idsOf, MOVES_PATH, SETS_PATH, setPath } from "../../src/cluster/coordination/paths.ts";
import { parseZookeeperAddress } from "../../src/cluster/coordination/zookeeper-address.ts";
import { ZookeeperCoordinator } from "../../src/cluster/coordination/zookeeper-coordinator.ts";
import { command } from "./cluster-view.ts";
import { AUDITOR } from "./findings.ts";
import type { Lab } from "./lab.ts";
import type { RecordedHistory } from "./recorded-history.ts";

const SESSION_MS = 10_000;
const CONNECT_MS_MAX = 20_000;

/** Complaints about the documents at `address`. */
export async function auditDocuments(address: string): Promise<string[]> {
  const coordinator = new ZookeeperCoordinator({
    ...{ address: parseZookeeperAddress(address), sessionTimeoutMs: SESSION_MS },
    ...{ clock: new SystemClock(), random: Math.random },
    logger: createLogger({ level: "nothing", file: "" }),
  });
  try {
    const deadline = performance.now() + CONNECT_MS_MAX;
    while (coordinator.session.state !== "connected") {
      if (performance.now() > deadline) return ["the documents cannot be read"];
      await Bun.sleep(50);
    }
    const moves = await coordinator.list(MOVES_PATH);
    const left = moves.kind === "ok" ? idsOf(moves.names) : ["unknown"];
    const complaints = left.map((id) => `move ${id} has a document still`);
    return [...complaints, ...complaintsAboutOwners(await ownersOf(coordinator))];
  } finally {
    await coordinator.close();
  }
}

/** Sets by slot, as their documents say. */
async function ownersOf(coordinator: ZookeeperCoordinator): Promise<string[][]> {
  const owners: string[][] = Array.from({ length: SLOT_COUNT }, () => []);
  const sets = await coordinator.list(SETS_PATH);
  for (const id of sets.kind === "ok" ? idsOf(sets.names) : []) {
    const read = await coordinator.read(setPath(id));
    if (read.kind !== "ok") continue;
    const { slots } = replicaSetDocument.parse(setPath(id), read.data);
    for (const slot of slotsOf(slots)) owners[slot]!.push(id);
  }
  return owners;
}

export function complaintsAboutOwners(owners: readonly (readonly string[])[]): string[] {
  return owners.flatMap((ids, slot) =>
    ids.length === 1 ? [] : [`slot ${slot} has ${ids.length} owners: ${ids.join()}`],
  );
}

/** Whether the writers have as many keys as the last reads of the auditor found. REQUIRES: all keys were read; nobody writes. */
export async function auditCounts(lab: Lab, history: RecordedHistory): Promise<string[]> {
  const found = [...history.keys.values()].filter(({ operations }) => {
    const last = operations.findLast(({ client }) => client === AUDITOR);
    return last !== undefined && last.result !== null;
  }).length;
  let sum = 0;
  for (const set of lab.sets) {
    const { writer } = await lab.membersOf(set);
    sum += Number(await command(writer, "DBSIZE"));
  }
  return sum === found ? [] : [`the writers have ${sum} keys, of which ${found} can be read`];
}
