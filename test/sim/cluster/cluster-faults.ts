/**
 * What can go wrong with a cluster beyond its machines and network: the ways to the coordinator, machines that never
 * come back, and what operators do.
 *
 * A machine is lost for good only where the set promises to survive it: while all other members are there, and as many
 * as the write quorum needs without it. How often that is, is the cluster's doing.
 */
import type { MemoryCoordinator } from "../../../src/cluster/coordination/memory-coordinator.ts";
import type { Fault } from "../faults.ts";
import type { Network } from "../network.ts";
import type { SimRandom } from "../random.ts";
import type { Swarm } from "../swarm.ts";
import type { ClusterNodes } from "./cluster-nodes.ts";

export const CLUSTER_FAULT_KINDS = [
  "coordinator cut",
  "coordinator silent",
  "coordinator stale",
  "coordinator gone",
  "session expired",
  "reply lost",
  "cut off",
  "handover",
  "lost node",
  "wiped disk",
  "unsynced power",
] as const;
export type ClusterFaultKind = (typeof CLUSTER_FAULT_KINDS)[number];

/** Whether a cluster like this one has an answer to it. */
export function isAllowed(kind: ClusterFaultKind, { syncPolicy }: Swarm): boolean {
  return kind !== "unsynced power" || syncPolicy !== "always";
}

const NOTHING = (): void => undefined;
/** A wiped machine is back after so long. */
const REPAIR_MICROS = 200_000;

type Begins = Record<ClusterFaultKind, Fault["begin"]>;

export function clusterFaults(
  nodes: ClusterNodes,
  network: Network,
  weights: Partial<Record<ClusterFaultKind, number>>,
): Fault[] {
  const begins: Begins = {
    ...coordinatorFaults(nodes),
    "cut off": (random) => cutOff(nodes, network, random),
    handover: () => {
      const writer = [...nodes.servers.values()].find(({ member }) => member?.isServing);
      writer?.handOver();
      return writer && NOTHING;
    },
    ...lossFaults(nodes),
  };
  return CLUSTER_FAULT_KINDS.map((kind) => ({
    kind,
    weight: weights[kind] ?? 0,
    begin: begins[kind],
  }));
}

type CoordinatorKind =
  | "coordinator cut"
  | "coordinator silent"
  | "coordinator stale"
  | "coordinator gone"
  | "session expired"
  | "reply lost";

function coordinatorFaults(nodes: ClusterNodes): Pick<Begins, CoordinatorKind> {
  type Act = (coordinator: MemoryCoordinator, random: SimRandom) => () => void;
  const one =
    (act: Act): Fault["begin"] =>
    (random) => {
      const up = nodes.up;
      return up.length === 0 ? undefined : act(random.pick(up).coordinator, random);
    };
  const fate = (random: SimRandom) => (random.chance(0.5) ? "lost" : "arrives");
  return {
    "coordinator cut": one((each, random) => {
      each.suspend(fate(random));
      return () => each.resume();
    }),
    "coordinator silent": one((each, random) => {
      each.stall(fate(random));
      return () => each.resume();
    }),
    "coordinator stale": one((each) => {
      each.freezeReads();
      return () => each.thawReads();
    }),
    "coordinator gone": (random) => {
      const all = nodes.up.map(({ coordinator }) => coordinator);
      for (const each of all) each.suspend(fate(random));
      return () => {
        for (const each of all) each.resume();
      };
    },
    "session expired": one((each) => {
      each.expire();
      return NOTHING;
    }),
    "reply lost": one((each, random) => {
      each.loseReply(random.chance(0.5));
      return NOTHING;
    }),
  };
}

/** A node's clients still reach it, and nobody else does: the case that leases are for. */
function cutOff(nodes: ClusterNodes, network: Network, random: SimRandom): () => void {
  const writers = nodes.up.filter(({ member }) => member?.isServing).map(({ name }) => name);
  const isWriter = writers.length > 0 && random.chance(0.5);
  const name = random.pick(isWriter ? writers : nodes.names);
  const coordinator = nodes.servers.get(name)?.coordinator;
  const others = nodes.names.filter((other) => other !== name);
  const heal = network.partition([name], others);
  coordinator?.suspend();
  return () => {
    heal();
    coordinator?.resume();
  };
}

function lossFaults(
  nodes: ClusterNodes,
): Pick<Begins, "lost node" | "wiped disk" | "unsynced power"> {
  const oneOf = (random: SimRandom) => {
    const expendable = nodes.expendable;
    return expendable.length === 0 ? undefined : random.pick(expendable);
  };
  return {
    "lost node": (random) => {
      const process = oneOf(random);
      process?.destroy();
      return process && NOTHING;
    },
    "wiped disk": (random) => {
      const process = oneOf(random);
      if (process === undefined) return undefined;
      process.crash("power");
      process.disk.wipe();
      nodes.bootLater(process, REPAIR_MICROS);
      return NOTHING;
    },
    "unsynced power": (random) => {
      const process = oneOf(random);
      process?.crash("power");
      if (process === undefined) return undefined;
      return () => {
        if (!process.isUp) process.boot();
      };
    },
  };
}
