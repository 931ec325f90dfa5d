import { expect, test } from "bun:test";
import fc from "fast-check";
import {
  type SourceAction,
  type SourceEvent,
  SourceMove,
} from "../../../src/cluster/resharding/source-move.ts";
import { NO_CHAIN, pieceChain, type ResumePoint } from "../../../src/store/slot-moves.ts";

const ID = "a".repeat(40);
const KEYS: ResumePoint = { phase: "keys", slot: 1, cursor: 5, index: 10 };
const LOG: ResumePoint = { phase: "log", index: 12, skip: 0 };
const RECORDS = Buffer.from("records");
const FREEZE = { index: 20, clockMs: 1000 };

function start(freeze?: typeof FREEZE): SourceMove {
  return new SourceMove({ id: ID, freeze, retryMs: 100, frozenMsMax: 1000 });
}

function types(actions: readonly SourceAction[]): string[] {
  return actions.map(({ type }) => type);
}

function importing(pieces: number, chain: string, resume?: ResumePoint): SourceEvent {
  return { type: "status", status: { state: "importing", pieces, chain, resume } };
}

function piece(resume: ResumePoint, isCaughtUp = false, isLast = false): SourceEvent {
  return { type: "read", piece: { records: RECORDS, resume, isCaughtUp, isLast } };
}

test("a move goes from its document to the next owner", () => {
  const move = start();
  expect(types(move.step({ type: "tick" }, 0))).toEqual(["send"]);
  expect(move.step(importing(0, NO_CHAIN), 1)).toEqual([
    { type: "read", resume: undefined, until: undefined, goesOn: false },
  ]);
  expect(types(move.step(piece(KEYS), 2))).toEqual(["send-piece"]);
  const first = pieceChain(NO_CHAIN, RECORDS, KEYS);
  expect(move.step(importing(1, first, KEYS), 3)).toEqual([
    { type: "read", resume: KEYS, until: undefined, goesOn: true },
  ]);
  move.step(piece(LOG, true), 4);
  const second = pieceChain(first, RECORDS, LOG);
  expect(types(move.step(importing(2, second, LOG), 5))).toEqual(["announce"]);
  expect(types(move.step({ type: "announced", isDone: true }, 6))).toEqual(["freeze"]);
  expect(move.step({ type: "frozen", freeze: FREEZE }, 7)).toEqual([
    { type: "read", resume: LOG, until: FREEZE.index, goesOn: true },
  ]);
  const end: ResumePoint = { phase: "log", index: 20, skip: 0 };
  const [last] = move.step(piece(end, true, true), 8);
  expect(last).toMatchObject({ message: { sourceClockMs: FREEZE.clockMs } });
  const whole = pieceChain(second, RECORDS, end);
  const complete = { state: "complete", pieces: 3, chain: whole, resume: end } as const;
  expect(types(move.step({ type: "status", status: complete }, 9))).toEqual(["flip"]);
  const flipped = { state: "FLIPPED", owns: false } as const;
  const dropping = move.step({ type: "document", view: flipped }, 10);
  expect(dropping[0]).toEqual({ type: "end", removes: true });
  expect(types(move.step({ type: "ended" }, 11))).toEqual(["send"]);
  const over = { state: "over", pieces: 0, chain: NO_CHAIN } as const;
  expect(types(move.step({ type: "status", status: over }, 12))).toEqual(["remove-document"]);
  move.step({ type: "removed" }, 13);
  expect(move.phase).toBe("done");
});

test("a writer that finds the slot frozen goes on from what the destination has", () => {
  const move = start(FREEZE);
  move.step({ type: "tick" }, 0);
  expect(move.step(importing(7, "c", LOG), 1)).toEqual([
    { type: "read", resume: LOG, until: FREEZE.index, goesOn: false },
  ]);
});

test("what is lost is asked for, and what is half read is begun anew", () => {
  const move = start();
  move.step({ type: "tick" }, 0);
  move.step(importing(0, NO_CHAIN), 1);
  move.step(piece(KEYS), 2);
  expect(move.step({ type: "tick" }, 50)).toEqual([]);
  expect(types(move.step({ type: "tick" }, 200))).toEqual(["send"]);
  const [read] = move.step(importing(1, pieceChain(NO_CHAIN, RECORDS, KEYS), KEYS), 201);
  expect(read).toMatchObject({ type: "read", goesOn: false });
});

test("a log that no longer goes back so far makes the destination begin anew, if it is still there", () => {
  const move = start();
  move.step({ type: "tick" }, 0);
  move.step(importing(4, "f0", LOG), 1);
  expect(move.step({ type: "read", piece: undefined }, 2)).toEqual([
    { type: "send", message: { type: "ask", move: ID, restart: "f0" } },
  ]);
});

test("a move that is aborted thaws what may be frozen, and a set that does not own the slots aborts", () => {
  const aborted = { type: "document", view: { state: "ABORTED", owns: true } } as const;
  expect(start(FREEZE).step(aborted, 0)[0]).toEqual({ type: "end", removes: false });
  const foreign = { type: "document", view: { state: "MIGRATING", owns: false } } as const;
  expect(types(start().step(foreign, 0))).toEqual(["abort"]);
});

test("a move that is aborted waits for nobody once it has thawed: its destination may never answer again", () => {
  const aborted = { type: "document", view: { state: "ABORTED", owns: true } } as const;
  expect(types(start().step(aborted, 0))).toEqual(["send", "remove-document"]);
  const frozen = start(FREEZE);
  expect(types(frozen.step(aborted, 0))).not.toContain("remove-document");
  expect(types(frozen.step({ type: "ended" }, 1))).toEqual(["send", "remove-document"]);
  // The coordinator could not be reached.
  expect(types(frozen.step({ type: "tick" }, 200))).toEqual(["send", "remove-document"]);
  frozen.step({ type: "removed" }, 201);
  expect(frozen.phase).toBe("done");
});

test("a destination that takes nothing more while the slot is frozen has the move called off, and nothing thaws by that", () => {
  const move = start(FREEZE);
  expect(types(move.step({ type: "tick" }, 0))).toEqual(["send"]);
  move.step(importing(7, "c", LOG), 500);
  move.step(piece(LOG), 501);
  expect(types(move.step({ type: "tick" }, 1400))).toEqual(["send"]);
  // It answers, and has what it had: its disk may be full.
  move.step(importing(7, "c", LOG), 1401);
  move.step(piece(LOG), 1402);
  expect(types(move.step({ type: "tick" }, 1510))).toEqual(["send", "abort"]);
  // As long as the documents say nothing, once in a while.
  expect(types(move.step({ type: "tick" }, 1700))).toEqual(["send"]);
  expect(types(move.step({ type: "tick" }, 2520))).toEqual(["send", "abort"]);
  const aborted = { type: "document", view: { state: "ABORTED", owns: true } } as const;
  expect(move.step(aborted, 2530)[0]).toEqual({ type: "end", removes: false });
});

test("a destination that takes nothing while nobody waits is asked for ever", () => {
  const move = start();
  for (let ms = 0; ms < 10_000; ms += 200)
    expect(types(move.step({ type: "tick" }, ms))).toEqual(["send"]);
});

test("the document of slots that have moved stays until their destination serves them", () => {
  const move = start(FREEZE);
  move.step({ type: "document", view: { state: "FLIPPED", owns: false } }, 0);
  expect(types(move.step({ type: "ended" }, 1))).toEqual(["send"]);
  expect(types(move.step({ type: "tick" }, 200))).toEqual(["send"]);
});

const anyEvent: fc.Arbitrary<SourceEvent> = fc.oneof(
  fc.constant<SourceEvent>({ type: "tick" }),
  fc
    .record({
      state: fc.constantFrom("importing" as const, "complete" as const, "over" as const),
      pieces: fc.integer({ min: 0, max: 3 }),
      chain: fc.constantFrom(NO_CHAIN, "1", pieceChain(NO_CHAIN, RECORDS, LOG)),
      resume: fc.constantFrom(undefined, KEYS, LOG),
    })
    .map((status): SourceEvent => ({ type: "status", status })),
  fc.boolean().chain((isLast) => fc.boolean().map((isCaughtUp) => piece(LOG, isCaughtUp, isLast))),
  fc.constant<SourceEvent>({ type: "read", piece: undefined }),
  fc
    .record({
      state: fc.constantFrom("MIGRATING" as const, "FREEZING" as const),
      owns: fc.constant(true),
    })
    .map((view): SourceEvent => ({ type: "document", view })),
  fc.boolean().map((isDone): SourceEvent => ({ type: "announced", isDone })),
  fc.constant<SourceEvent>({ type: "frozen", freeze: FREEZE }),
);

test("whatever happens in whatever order: without a decision nothing thaws or is dropped, and only what is complete flips", () => {
  const property = fc.property(
    fc.boolean(),
    fc.array(anyEvent, { maxLength: 60 }),
    (wasFrozen, events) => {
      const move = start(wasFrozen ? FREEZE : undefined);
      let isFrozen = wasFrozen;
      let isComplete = false;
      for (const [at, event] of events.entries()) {
        if (event.type === "frozen") isFrozen = true;
        if (event.type === "status" && event.status.state === "complete") isComplete = true;
        for (const action of move.step(event, at * 60)) {
          expect(action.type).not.toBe("end");
          if (action.type === "flip") expect([isFrozen, isComplete]).toEqual([true, true]);
        }
      }
    },
  );
  fc.assert(property, { numRuns: 2000 });
});
