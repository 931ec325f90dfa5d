import { expect, test } from "bun:test";
import {
  type DestinationAction,
  type DestinationEvent,
  DestinationMove,
} from "../../../src/cluster/resharding/destination-move.ts";
import {
  decodeMoveMessage,
  encodeMoveMessage,
  type PieceMessage,
} from "../../../src/cluster/resharding/move-message.ts";
import {
  type ImportingSlots,
  NO_CHAIN,
  pieceChain,
  type ResumePoint,
} from "../../../src/store/slot-moves.ts";

const ID = "a".repeat(40);
const RECORDS = Buffer.from("records");
const RESUME = { phase: "log", index: 3, skip: 0 } as const;
const BEGUN: ImportingSlots = {
  ...{ kind: "importing", id: ID, slots: [{ start: 1, end: 1 }] },
  ...{ pieces: 0, chain: NO_CHAIN, versions: [] },
};
const COMPLETE: ImportingSlots = { ...BEGUN, pieces: 4, chain: "4", sourceClockMs: 9 };
const ASK: DestinationEvent = { type: "ask", restart: undefined };

function types(actions: readonly DestinationAction[]): string[] {
  return actions.map(({ type }) => type);
}

function pieceOf(change: Partial<PieceMessage> = {}): DestinationEvent {
  const after = pieceChain(NO_CHAIN, RECORDS, RESUME);
  const message: PieceMessage = {
    ...{ type: "piece", move: ID, number: 0, before: NO_CHAIN, after, resume: RESUME },
    ...change,
  };
  return { type: "piece", message, records: RECORDS };
}

function seen(
  state: "MIGRATING" | "FLIPPED" | "ABORTED" | "GONE",
  owns = false,
  isFree = true,
): DestinationEvent {
  return { type: "document", view: { state, owns }, isFree };
}

test("room is made when the documents say so, and not while the slots are busy", () => {
  const move = new DestinationMove(undefined);
  expect(types(move.step(ASK, undefined))).toEqual(["read-document"]);
  expect(move.step(seen("MIGRATING", false, false), undefined)).toEqual([]);
  move.step(ASK, undefined);
  expect(types(move.step(seen("MIGRATING"), undefined))).toEqual(["begin"]);
  // Whoever asks while something is written asks again.
  expect(move.step(ASK, BEGUN)).toEqual([]);
  expect(move.step({ type: "written" }, BEGUN)).toMatchObject([
    { status: { state: "importing", pieces: 0 } },
  ]);
});

test("a look at the documents without being asked begins nothing", () => {
  expect(new DestinationMove(undefined).step(seen("MIGRATING"), undefined)).toEqual([]);
});

test("the next piece is written, any other one is answered with where the destination is", () => {
  expect(types(new DestinationMove(BEGUN).step(pieceOf(), BEGUN))).toEqual(["import"]);
  for (const wrong of [{ number: 1 }, { before: "1" }, { after: "1" }])
    expect(types(new DestinationMove(BEGUN).step(pieceOf(wrong), BEGUN))).toEqual(["status"]);
  expect(types(new DestinationMove(COMPLETE).step(pieceOf(), COMPLETE))).toEqual(["status"]);
});

test("a piece that came as a message is taken, wherever the source goes on and in whatever order it says so", () => {
  const points: readonly ResumePoint[] = [
    RESUME,
    { skip: 0, index: 3, phase: "log" },
    { phase: "keys", index: 3, slot: 1, cursor: 5 },
  ];
  for (const resume of points) {
    const after = pieceChain(NO_CHAIN, RECORDS, resume);
    const piece = pieceOf({ resume, after }) as Extract<DestinationEvent, { type: "piece" }>;
    const message = decodeMoveMessage(encodeMoveMessage(piece.message)) as PieceMessage;
    const event = { ...piece, message };
    expect(types(new DestinationMove(BEGUN).step(event, BEGUN))).toEqual(["import"]);
  }
});

test("a restart is for the state that it names, and never for what is complete", () => {
  const restart = (chain: string): DestinationEvent => ({ type: "ask", restart: chain });
  expect(types(new DestinationMove(BEGUN).step(restart(NO_CHAIN), BEGUN))).toEqual(["begin"]);
  expect(types(new DestinationMove(BEGUN).step(restart("9"), BEGUN))).toEqual(["status"]);
  expect(types(new DestinationMove(COMPLETE).step(restart("4"), COMPLETE))).toEqual([
    "read-document",
  ]);
});

test("slots open when they are flipped and are dropped when the move is aborted, and nothing else does it", () => {
  const after = (event: DestinationEvent) => new DestinationMove(COMPLETE).step(event, COMPLETE);
  expect(after(seen("FLIPPED", true))).toEqual([{ type: "end", removes: false }]);
  expect(after(seen("ABORTED"))).toEqual([{ type: "end", removes: true }]);
  expect(after(seen("GONE", true))).toEqual([{ type: "end", removes: false }]);
  expect(after(seen("GONE"))).toEqual([{ type: "end", removes: true }]);
  expect(types(after(seen("MIGRATING")))).toEqual(["status"]);
});

test("what is over is said to be over", () => {
  for (const state of ["FLIPPED", "ABORTED", "GONE"] as const) {
    const move = new DestinationMove(undefined);
    move.step(ASK, undefined);
    expect(move.step(seen(state), undefined)).toMatchObject([{ status: { state: "over" } }]);
  }
});

test("whoever waits for the end hears of it as soon as it is written", () => {
  const move = new DestinationMove(COMPLETE);
  move.step(seen("FLIPPED", true), COMPLETE);
  // Asked again meanwhile.
  expect(move.step(ASK, COMPLETE)).toEqual([]);
  expect(move.step({ type: "written" }, undefined)).toMatchObject([{ status: { state: "over" } }]);
  expect(move.phase).toBe("idle");
});
