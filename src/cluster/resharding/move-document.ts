/**
 * What the documents of coordination say of a move, as both of its sides look at them: the move's own, read first, and
 * then that of the side's replica set. So when a move is gone, who has the slots is known.
 */
export interface MoveView {
  readonly state: "MIGRATING" | "FREEZING" | "FLIPPED" | "ABORTED" | "GONE";
  /** Whether this side's replica set owns the slots. */
  readonly owns: boolean;
}

/** Whether a move has begun, or waits, and may end either way; a document that is not there is of none. */
export function isUndecided(move: Pick<MoveView, "state"> | undefined): boolean {
  return move?.state === "MIGRATING" || move?.state === "FREEZING";
}

/** flipped: the slots are the destination's. aborted: they stay the source's. Both for good. */
export type Decision = "flipped" | "aborted";

/** What has been decided, as the documents show it to a side that owns the slots when the decision is `whenOwned`. */
export function decisionOf({ state, owns }: MoveView, whenOwned: Decision): Decision | undefined {
  if (state === "FLIPPED") return "flipped";
  if (state === "ABORTED") return "aborted";
  if (state !== "GONE") return undefined;
  const otherwise = whenOwned === "flipped" ? "aborted" : "flipped";
  return owns ? whenOwned : otherwise;
}
