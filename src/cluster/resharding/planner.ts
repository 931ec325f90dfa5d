/**
 * Which slots should move, so that each replica set has its share: a function of what there is. It moves as few slots as
 * that takes: only from sets that have more than their share, only to sets that have less.
 *
 *     shares: by weight, 1 unless said otherwise; weight 0 drains a set. What does not divide goes to those who have it.
 */
import { rangesOfSlots, type SlotRange, slotsOf } from "../../base/slot-ranges.ts";

export interface PlannedSet {
  readonly id: string;
  readonly slots: readonly SlotRange[];
  readonly weight: number;
}

export interface PlannedMove {
  readonly source: string;
  readonly destination: string;
  readonly slots: readonly SlotRange[];
}

interface Share {
  readonly id: string;
  readonly slots: number[];
  readonly target: number;
}

/** Undefined: no set could have the slots, since all weights are 0. */
export function planShares(sets: readonly PlannedSet[]): PlannedMove[] | undefined {
  const shares = sharesOf(sets);
  if (shares === undefined) return undefined;
  const takers = shares.filter(({ slots, target }) => slots.length < target);
  const moves: PlannedMove[] = [];
  let taker = 0;
  for (const { id, slots, target } of shares) {
    // From the end, so that what stays is one range if it was one.
    let spare = slots.splice(Math.min(target, slots.length));
    while (spare.length > 0) {
      const to = takers[taker]!;
      const room = to.target - to.slots.length;
      const given = spare.slice(0, room);
      spare = spare.slice(room);
      to.slots.push(...given);
      if (to.slots.length === to.target) taker++;
      moves.push({ source: id, destination: to.id, slots: rangesOfSlots(given) });
    }
  }
  return moves;
}

/** Moves of single slots or ranges to one set; slots that it has, or that nobody has, are left out. */
export function planMove(
  sets: readonly Omit<PlannedSet, "weight">[],
  slots: readonly SlotRange[],
  destination: string,
): PlannedMove[] {
  const wanted = new Set(slotsOf(slots));
  return sets
    .filter(({ id }) => id !== destination)
    .map(({ id, slots: owned }) => ({
      ...{ source: id, destination },
      slots: rangesOfSlots(slotsOf(owned).filter((slot) => wanted.has(slot))),
    }))
    .filter(({ slots: found }) => found.length > 0);
}

function sharesOf(sets: readonly PlannedSet[]): Share[] | undefined {
  const sorted = [...sets].sort((a, b) => (a.id < b.id ? -1 : 1));
  const weights = sorted.reduce((sum, { weight }) => sum + weight, 0);
  if (weights === 0) return undefined;
  const owned = sorted.map(({ slots }) => slotsOf(slots));
  const total = owned.reduce((sum, slots) => sum + slots.length, 0);
  const exact = sorted.map(({ weight }) => (total * weight) / weights);
  const targets = exact.map(Math.floor);
  let rest = total - targets.reduce((sum, target) => sum + target, 0);
  // A slot more is for whoever has it already, and then for whoever the rounding cost most; not where it cost nothing.
  const order = sorted
    .map((_, index) => index)
    .filter((index) => exact[index]! > targets[index]!)
    .sort((a, b) => {
      const excess = (index: number) => (owned[index]!.length > targets[index]! ? 1 : 0);
      const lost = (index: number) => exact[index]! - targets[index]!;
      return excess(b) - excess(a) || lost(b) - lost(a) || a - b;
    });
  for (let at = 0; rest > 0; at = (at + 1) % order.length, rest--) targets[order[at]!]!++;
  return sorted.map(({ id }, index) => ({ id, slots: owned[index]!, target: targets[index]! }));
}
