/**
 * What is done to moves of slots while they are under way: one side's writer dies, or the coordination stops, one server
 * of it or all.
 *
 *     a random moment ─► a pair of sets with a move that its source's writer is busy with, MIGRATING or FREEZING ─► harm ─►
 *     was it still so? ─► hold
 *
 * After a kill the documents tell what the move was in: the one who could have changed them is dead, or, of a
 * destination, the document would say FLIPPED. When all of the coordination is away, they cannot change; the writer tells that
 * it is still busy with it.
 */
import type { Fault } from "./faults.ts";
import { FaultImpossible, type Lab } from "./lab.ts";
import { isOpen, type Move, runningAt } from "./slot-moves.ts";
import type { LabNode } from "./target.ts";

interface Caught {
  readonly sourceWriter: LabNode;
  readonly destinationWriter: LabNode;
  /** Under way from one to the other. */
  readonly moves: readonly Move[];
}

/** From the moment that the last fault was over. */
const MOMENT_MS = [0, 700] as const;
const CATCH_MS_MAX = 30_000;
/** After so long any state is welcome. */
const WANTED_MS_MAX = 5000;
const DOWN_MS = [100, 3000] as const;
const COORDINATION_DOWN_MS = [500, 5000] as const;
/** Moments of a move are short: half of the faults wait for one near the freeze. */
const LATE_SHARE = 0.5;
const LATE_PHASES = ["announcing", "freezing", "flipping"];
const DECIDED_PHASES = ["dropping", "thawing", "closing", "done"];

/** Some pair with a move under way, at a moment that is random, or near the freeze. */
async function catchMoves(lab: Lab): Promise<Caught> {
  await lab.hold(...MOMENT_MS);
  const isLateWanted = lab.random.chance(LATE_SHARE);
  const startMs = performance.now();
  for (;;) {
    const elapsedMs = performance.now() - startMs;
    const isAnyWelcome = !isLateWanted || elapsedMs > WANTED_MS_MAX;
    const caught = await catchOnce(lab, isAnyWelcome);
    if (caught !== undefined) return caught;
    if (elapsedMs > CATCH_MS_MAX) throw new FaultImpossible("no move is under way");
    await Bun.sleep(2);
  }
}

async function catchOnce(lab: Lab, isAnyWelcome: boolean): Promise<Caught | undefined> {
  const open = (await lab.moves!.list())?.filter(isOpen) ?? [];
  if (open.length === 0) return undefined;
  const { source, destination } = lab.random.pick(open);
  const sourceWriter = (await lab.membersOf(source)).writer;
  const destinationWriter = (await lab.membersOf(destination)).writer;
  for (let i = 0; i < 100; i++) {
    const busy = (await runningAt(sourceWriter)).filter(({ phase }) => isOpenPhase(phase));
    const isMoment = isAnyWelcome || busy.some(({ phase }) => LATE_PHASES.includes(phase));
    const slots = new Set(busy.map((each) => each.slots));
    const moves = open.filter(
      (each) => each.source === source && each.destination === destination && slots.has(each.slots),
    );
    if (moves.length > 0 && isMoment) return { sourceWriter, destinationWriter, moves };
    if (moves.length === 0) return undefined;
  }
  return undefined;
}

function isOpenPhase(phase: string): boolean {
  return !DECIDED_PHASES.includes(phase);
}

/** Those of the caught moves that nobody has decided, by their documents. */
async function openByDocuments(lab: Lab, { moves }: Caught, dead?: LabNode): Promise<Move[]> {
  const ids = new Set(moves.map(({ id }) => id));
  const now = (await lab.moves!.list(dead)) ?? [];
  return now.filter((move) => ids.has(move.id) && isOpen(move));
}

/** Those that the source's writer is busy with, and has not heard a decision of. */
async function openBySource({ moves, sourceWriter }: Caught): Promise<Move[]> {
  const phases = new Map((await runningAt(sourceWriter)).map((each) => [each.slots, each.phase]));
  return moves.flatMap((move) => {
    const phase = phases.get(move.slots);
    if (phase === undefined || !isOpenPhase(phase)) return [];
    const isLate = LATE_PHASES.slice(1).includes(phase);
    return [isLate ? { ...move, state: "FREEZING" } : move];
  });
}

function note(lab: Lab, kind: string, hit: readonly Move[]): void {
  // The later one is the rarer one.
  const state = hit.some((move) => move.state === "FREEZING") ? "FREEZING" : "MIGRATING";
  if (hit.length > 0) lab.moves!.interruptions.push({ kind, state });
}

async function killSide(lab: Lab, kind: string, side: keyof Omit<Caught, "moves">): Promise<void> {
  const caught = await catchMoves(lab);
  const victim = caught[side];
  await victim.process.kill();
  note(lab, kind, await openByDocuments(lab, caught, victim));
  await lab.hold(...DOWN_MS);
}

async function stopCoordination(
  lab: Lab,
  kind: string,
  harm: () => Promise<void> | void,
): Promise<void> {
  const caught = await catchMoves(lab);
  await harm();
  note(lab, kind, await openBySource(caught));
  await lab.hold(...COORDINATION_DOWN_MS);
  await lab.target.coordination!.restart();
}

function anyServer(lab: Lab): number {
  return lab.random.below(lab.target.coordination!.hosts.length);
}

function fault(name: string, weight: number, run: (lab: Lab) => Promise<void>): Fault {
  return { name, on: ["dkv"], weight, overlaps: false, run };
}

export const MOVE_FAULTS: readonly Fault[] = [
  fault("kill-source", 3, (lab) => killSide(lab, "kill-source", "sourceWriter")),
  fault("kill-destination", 3, (lab) => killSide(lab, "kill-destination", "destinationWriter")),
  fault("kill-coordination", 1, (lab) =>
    stopCoordination(lab, "kill-coordination", () => lab.target.coordination!.kill()),
  ),
  fault("pause-coordination", 1, (lab) =>
    stopCoordination(lab, "pause-coordination", () => {
      const coordination = lab.target.coordination!;
      for (let at = 0; at < coordination.hosts.length; at++) coordination.pauseServer(at);
    }),
  ),
  fault("kill-coordinator", 1, (lab) =>
    stopCoordination(lab, "kill-coordinator", () =>
      lab.target.coordination!.killServer(anyServer(lab)),
    ),
  ),
  fault("pause-coordinator", 1, (lab) =>
    stopCoordination(lab, "pause-coordinator", () =>
      lab.target.coordination!.pauseServer(anyServer(lab)),
    ),
  ),
];
