/**
 * A damaged manifest: cut at every byte it reads as one of the states that were durable; with any byte changed,
 * or junk behind it, it never reads as a state that never was. Each failure prints its seed.
 */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { CorruptionError } from "../../src/base/errors.ts";
import { SLOT_COUNT } from "../../src/base/slot.ts";
import { decodeManifest, encodeManifestRecord } from "../../src/lsm/manifest.ts";
import {
  applyEdit,
  EMPTY_STATE,
  snapshotEdit,
  type TableMeta,
  type VersionEdit,
  type VersionState,
} from "../../src/lsm/version-edit.ts";

function tableOf(id: number): TableMeta {
  return {
    id,
    bytes: 1000 + id,
    recordCount: 10,
    tombstoneCount: id % 3,
    minPosition: id * 1000,
    maxPosition: id * 1000 + 500,
    minSequence: id * 10,
    maxSequence: id * 10 + 9,
    cleanSequence: 0,
    expiringCount: 0,
    expiryQuantiles: [],
  };
}

/** Edits as a short life makes them: flushes, merges of the two oldest flushes, range deletions. */
function life(choices: readonly number[]): { edits: VersionEdit[]; states: VersionState[] } {
  const edits: VersionEdit[] = [snapshotEdit(EMPTY_STATE)];
  const states: VersionState[] = [EMPTY_STATE];
  let nextTableId = 1;
  for (const choice of choices) {
    const state = states.at(-1)!;
    const id = nextTableId++;
    let edit: VersionEdit = {
      added: [{ level: 0, table: tableOf(id) }],
      removed: [],
      flushedSequence: id * 10 + 10,
      counts: new Array<number>(SLOT_COUNT).fill(choice),
      nextTableId,
    };
    const flushed = state.levels[0]!;
    if (choice % 3 === 1 && flushed.length > 1) {
      edit = {
        added: [{ level: 6, table: tableOf(id) }],
        removed: flushed.slice(-2).map((table) => table.id),
        nextTableId,
      };
    } else if (choice % 3 === 2) {
      const deletion = { sequence: id, startSlot: choice % 1000, endSlot: 1024 };
      edit = { added: [], removed: [], rangeDeletions: [deletion], nextTableId };
    }
    const next = applyEdit(state, edit);
    if (typeof next === "string") throw new Error(next);
    edits.push(edit);
    states.push(next);
  }
  return { edits, states };
}

function concat(parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

function decode(bytes: Uint8Array): VersionState | CorruptionError {
  try {
    return decodeManifest(bytes, "/MANIFEST-000001");
  } catch (error) {
    if (error instanceof CorruptionError) return error;
    throw error;
  }
}

const choices = fc.array(fc.nat(1000), { minLength: 1, maxLength: 8, size: "max" });
const RUNS = Number(process.env["DKV_FUZZ_RUNS"] ?? 25);

test("decodeManifest of a prefix answers the last whole state", () => {
  fc.assert(
    fc.property(choices, fc.nat(), (life_, seed) => {
      const { edits, states } = life(life_);
      const parts = edits.map(encodeManifestRecord);
      const bytes = concat(parts);
      // All cuts near the ends of records, and some between.
      const cuts = new Set([seed % bytes.length, (seed * 7) % bytes.length]);
      let end = 0;
      for (const part of parts) {
        for (let i = -20; i <= 20; i++) cuts.add(Math.min(bytes.length, Math.max(0, end + i)));
        end += part.length;
      }
      for (const cut of cuts) {
        let whole = 0;
        let covered = 0;
        while (whole < parts.length && covered + parts[whole]!.length <= cut) {
          covered += parts[whole++]!.length;
        }
        const decoded = decode(bytes.subarray(0, cut));
        if (whole === 0) expect(decoded).toBeInstanceOf(CorruptionError);
        else expect(decoded).toEqual(states[whole - 1]!);
      }
    }),
    { numRuns: RUNS },
  );
});

test("decodeManifest reports a changed byte unless it is in the last edit", () => {
  fc.assert(
    fc.property(
      choices,
      fc.array(fc.tuple(fc.nat(), fc.integer({ min: 1, max: 255 })), {
        minLength: 20,
        maxLength: 20,
      }),
      (life_, flips) => {
        const { edits, states } = life(life_);
        const parts = edits.map(encodeManifestRecord);
        const bytes = concat(parts);
        const lastStart = bytes.length - parts.at(-1)!.length;
        const headers = parts.map((_, i) =>
          parts.slice(0, i).reduce((sum, part) => sum + part.length, 0),
        );
        for (const [place, change] of flips) {
          // Every other flip hits a record's length or checksum.
          const at =
            place % 2 === 0
              ? headers[place % headers.length]! + (place % 12)
              : place % bytes.length;
          const damaged = bytes.slice();
          damaged[at]! ^= change;
          const decoded = decode(damaged);
          // A last edit that is not whole is a write that was cut short, as far as anyone can tell.
          if (at >= lastStart) expect(decoded).toEqual(states.at(-2)!);
          else expect(decoded).toBeInstanceOf(CorruptionError);
        }
      },
    ),
    { numRuns: RUNS },
  );
});

test("decodeManifest takes junk behind the last edit for a torn write", () => {
  fc.assert(
    fc.property(choices, fc.uint8Array({ minLength: 1, maxLength: 200 }), (life_, junk) => {
      const { edits, states } = life(life_);
      const bytes = concat([...edits.map(encodeManifestRecord), junk]);
      expect(decode(bytes)).toEqual(states.at(-1)!);
    }),
    { numRuns: RUNS },
  );
});

test("decodeManifest refuses edits that contradict the state", () => {
  const { edits } = life([3, 3, 3]);
  const bad: [string, VersionEdit | object][] = [
    ["removes a table that is not there", { added: [], removed: [99] }],
    ["adds a table twice", { added: [{ level: 6, table: tableOf(1) }], removed: [] }],
    ["is above the next table id", { added: [{ level: 6, table: tableOf(50) }], removed: [] }],
    ["moves the flushed sequence back", { added: [], removed: [], flushedSequence: 1 }],
    ["retires what is not there", { added: [], removed: [], retired: [7] }],
    ["knows no such field", { added: [], removed: [], surprise: 1 }],
    [
      "overlaps within a level",
      {
        added: [
          { level: 6, table: { ...tableOf(4), minPosition: 5, maxPosition: 9 } },
          { level: 6, table: { ...tableOf(5), minPosition: 9, maxPosition: 20 } },
        ],
        removed: [],
        nextTableId: 6,
      },
    ],
  ];
  for (const [name, edit] of bad) {
    const bytes = concat([...edits, edit as VersionEdit].map(encodeManifestRecord));
    // Something follows, so that it cannot pass for a torn write.
    expect({ name, decoded: decode(bytes) }).toEqual({
      name,
      decoded: expect.any(CorruptionError),
    });
  }
});
