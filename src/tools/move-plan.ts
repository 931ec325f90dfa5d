/** Slots that are to move, as CLUSTER MOVE, REBALANCE and DRAIN plan it, and those on the move, as CLUSTER MOVES says. */
import { type SlotRange, slotCount } from "../base/slot-ranges.ts";
import { idsLike, setName, shortId, writerOf } from "./cluster-names.ts";
import type { ClusterPicture } from "./cluster-picture.ts";
import { bytesText } from "./figures.ts";
import { decodeReply, listOf, mapOf, type ReplyValue } from "./reply-value.ts";
import { formatAddress } from "./resp-client.ts";
import { parseSpans, spansJson, spansText } from "./slot-spans.ts";
import { type Style, textTable } from "./text-table.ts";
import { EXIT_FAILED, ToolError } from "./tool-error.ts";

/** Sets by their ids. */
export interface Pair {
  readonly source: string;
  readonly destination: string;
}

export interface PlannedMove extends Pair {
  readonly slots: readonly SlotRange[];
}

export type Plan = readonly PlannedMove[];

/** One that has not ended; each has a document of its own. */
export interface OpenMove extends PlannedMove {
  readonly id: string;
  /** MIGRATING, FREEZING: not decided. FLIPPED, ABORTED: decided, and about to be cleared away. */
  readonly state: string;
}

/** What a source's writer says of a move that it carries out now. */
export interface RunningMove {
  readonly slots: readonly SlotRange[];
  readonly destination: string;
  readonly phase: string;
  readonly sentBytes: number;
}

const AGAIN =
  "Moves that have begun go on: `cluster moves` shows them. The same command again plans what is left.";

/** Throws ToolError with the error that came in its place. */
export function planOf(reply: Buffer): Plan {
  const value = decodeReply(reply);
  if (value instanceof Error) {
    throw new ToolError(`the cluster refuses: ${value.message}`, {
      ...{ hint: AGAIN, exitCode: EXIT_FAILED },
    });
  }
  return (value as readonly ReplyValue[]).map((row) => {
    const [source, destination, slots] = row as readonly ReplyValue[];
    return { source: `${source}`, destination: `${destination}`, slots: parseSpans(`${slots}`) };
  });
}

export function openMovesOf(reply: Buffer): OpenMove[] {
  return listOf(reply).map((each) => {
    const fields = mapOf(each);
    const text = (name: string) => `${fields.get(name)}`;
    return {
      ...{ id: text("id"), source: text("source"), destination: text("destination") },
      ...{ slots: parseSpans(text("slots")), state: text("state") },
    };
  });
}

export function isUndecided({ state }: OpenMove): boolean {
  return state === "MIGRATING" || state === "FREEZING";
}

/** From the lines of INFO dkv: `cluster_move0:slots=5-5,to=…,phase=sending,bytes=1024`. */
export function runningMovesOf(info: ReadonlyMap<string, string>): RunningMove[] {
  const lines = [...info].filter(([name]) => /^cluster_move\d+$/.test(name));
  return lines.map(([, line]) => {
    const fields = new Map(line.split(",").map((pair) => pair.split("=") as [string, string]));
    return {
      slots: parseSpans(fields.get("slots") ?? ""),
      destination: fields.get("to") ?? "",
      phase: fields.get("phase") ?? "",
      sentBytes: Number(fields.get("bytes") ?? 0),
    };
  });
}

export function countOf(plan: Plan): number {
  return plan.reduce((sum, { slots }) => sum + slotCount(slots), 0);
}

/** `100 slots`, `1 slot`. */
export function slotsPhrase(count: number): string {
  return `${count} slot${count === 1 ? "" : "s"}`;
}

function writerAddress({ sets }: ClusterPicture, id: string): string {
  const set = sets.find((each) => each.id === id);
  const writer = set === undefined ? undefined : writerOf(set);
  return writer === undefined ? "-" : formatAddress(writer);
}

export function planTable(plan: Plan, picture: ClusterPicture, style: Style): string {
  const heads = ["FROM", "WRITER", "TO", "WRITER", ">COUNT", "SLOTS"];
  const rows = plan.map(({ source, destination, slots }) => [
    ...[shortId(source), writerAddress(picture, source)],
    ...[shortId(destination), writerAddress(picture, destination)],
    ...[`${slotCount(slots)}`, spansText(slots)],
  ]);
  return textTable(heads, rows, style);
}

export function planJson(plan: Plan) {
  return plan.map(({ source, destination, slots }) => ({
    ...{ source, destination, slots: spansJson(slots), count: slotCount(slots) },
  }));
}

function runningOf(move: OpenMove, picture: ClusterPicture): RunningMove | undefined {
  const set = picture.sets.find(({ id }) => id === move.source);
  const info = set === undefined ? undefined : writerOf(set)?.info;
  const slots = spansText(move.slots);
  return runningMovesOf(info ?? new Map()).find(
    (each) => each.destination === move.destination && spansText(each.slots) === slots,
  );
}

/** A row for each; first those that are carried out, then those that wait for their turn. */
export function openMovesTable(
  moves: readonly OpenMove[],
  picture: ClusterPicture,
  style: Style,
): string {
  const heads = ["MOVE", "SLOTS", "FROM", "TO", "STATE", "PHASE", ">SENT"];
  const seen = moves.map((move) => ({ move, running: runningOf(move, picture) }));
  const isWaiting = ({ running }: (typeof seen)[number]) => (running === undefined ? 1 : 0);
  const firstSlot = ({ move }: (typeof seen)[number]) => move.slots[0]?.start ?? 0;
  const sorted = seen.toSorted(
    (a, b) => isWaiting(a) - isWaiting(b) || firstSlot(a) - firstSlot(b),
  );
  const rows = sorted.map(({ move, running }) => {
    return [
      ...[shortId(move.id), spansText(move.slots)],
      ...[setName(picture, move.source), setName(picture, move.destination)],
      ...[move.state.toLowerCase(), running?.phase ?? (isUndecided(move) ? "waiting" : "ending")],
      running === undefined ? "-" : bytesText(running.sentBytes),
    ];
  });
  return textTable(heads, rows, style);
}

export function openMovesJson(moves: readonly OpenMove[], picture: ClusterPicture) {
  return moves.map((move) => {
    const running = runningOf(move, picture);
    return {
      ...{ id: move.id, source: move.source, destination: move.destination },
      ...{ slots: spansJson(move.slots), state: move.state, phase: running?.phase ?? null },
      sentBytes: running?.sentBytes ?? null,
    };
  });
}

/** The one move whose id begins so. Throws ToolError when there is none, or several. */
export function findMove(moves: readonly OpenMove[], name: string): string {
  const found = idsLike(
    moves.map(({ id }) => id),
    name,
  );
  if (found.length === 1) return found[0]!;
  const several = `${name} may be any of ${found.length} moves`;
  const hint = "`cluster moves` lists their ids; `cluster abort all` ends all of them.";
  throw new ToolError(found.length === 0 ? `there is no move ${name}` : several, { hint });
}
