/**
 * Slots that leave a store and come back to it, as two replica sets would do it, one unit a step:
 *
 *     freeze ─► read all keys ─► drop ─► begin ─► piece, piece … ─► open
 *        └─► thaw                          ▲        └─► begin anew, or drop
 *                                          └──────────────┘
 *
 * What to do next follows from what the store's log says, so it goes on after a kill from wherever the log has come to.
 * The state of the moves is part of the history, as MOVES_KEY.
 */
import { SLOT_COUNT } from "../../src/base/slot.ts";
import type { SlotRange } from "../../src/base/slot-ranges.ts";
import type { SlotPiece } from "../../src/store/slot-data.ts";
import { NO_CHAIN, pieceChain, type ResumePoint } from "../../src/store/slot-moves.ts";
import { recordBytesOf } from "../../src/store/slot-records.ts";
import type { Random } from "../support/crash-states.ts";
import { type Entry, MOVES_KEY } from "./history.ts";
import { type StoreSession, slotOfKey } from "./store-session.ts";

const SLOTS = 256;
const PIECE_BYTES = 8 * 1024;
const CHANGE_OF_MIND = 0.1;

type Changes = [string, Entry | undefined][];

/** What is known of the slots while they are away. */
interface Luggage {
  readonly pieces: readonly SlotPiece[];
  readonly entries: readonly [string, Entry][];
}

export class SlotTrip {
  readonly #random: Random;
  readonly #slots: readonly SlotRange[];
  readonly #id: string;
  #luggage: Luggage | undefined = undefined;

  /** `id`: no other trip has had it. */
  constructor(random: Random, id: string) {
    this.#random = random;
    this.#id = id;
    const start = Math.floor(random() * (SLOT_COUNT - SLOTS));
    this.#slots = [{ start, end: start + SLOTS - 1 }];
  }

  /** One unit. False: the trip is over, or cannot go on from what the store says. */
  async step(session: StoreSession): Promise<boolean> {
    const { moves } = session.store.slots;
    if (moves.importing(this.#id) !== undefined) return await this.#arrive(session);
    if (moves.frozen(this.#id) !== undefined) return await this.#leave(session);
    const states = this.#slotNumbers().map((slot) => moves.isHeld(slot));
    if (states.every((isHeld) => isHeld)) return await this.#begin(session);
    if (this.#luggage !== undefined || states.some((isHeld) => isHeld)) return false;
    await this.#note(session, session.store.slots.freeze(this.#id, this.#slots), []);
    return true;
  }

  async #leave(session: StoreSession): Promise<boolean> {
    const { slots } = session.store;
    if (this.#luggage === undefined) {
      this.#luggage = { pieces: await this.#read(session), entries: this.#entriesOf(session) };
      return true;
    }
    if (this.#random() < CHANGE_OF_MIND) {
      await this.#note(session, slots.end(this.#id, false), []);
      return false;
    }
    await this.#note(session, slots.end(this.#id, true), this.#gone());
    return true;
  }

  /** The slots have left. */
  async #begin(session: StoreSession): Promise<boolean> {
    if (this.#luggage === undefined) return false;
    await this.#note(session, session.store.slots.begin(this.#id, this.#slots), []);
    return true;
  }

  async #arrive(session: StoreSession): Promise<boolean> {
    const { slots } = session.store;
    const { pieces, entries } = this.#luggage ?? { pieces: [], entries: [] };
    const isLost = this.#luggage === undefined;
    if (isLost || this.#random() < CHANGE_OF_MIND) {
      await this.#note(session, slots.end(this.#id, true), []);
      return !isLost;
    }
    if (this.#random() < CHANGE_OF_MIND) return await this.#begin(session);
    const piece = pieces[slots.moves.importing(this.#id)!.pieces];
    if (piece !== undefined) {
      const imported = slots.importPiece(this.#id, piece).then((index) => {
        if (index === undefined) throw new Error(`piece ${piece.number} is refused`);
        return index;
      });
      await this.#note(session, imported, []);
      return true;
    }
    await this.#note(session, slots.end(this.#id, false), [...entries]);
    return false;
  }

  /** A unit has run: it has become history. */
  async #note(session: StoreSession, unit: Promise<number>, changes: Changes): Promise<void> {
    const tag = await unit;
    session.note({ changes: [...changes, [MOVES_KEY, session.movesEntry]], tag });
  }

  async #read({ store }: StoreSession): Promise<SlotPiece[]> {
    const snapshot = store.slots.snapshot(this.#slots, undefined);
    const pieces: SlotPiece[] = [];
    let before = NO_CHAIN;
    for (;;) {
      const { records, index, next } = await snapshot.next(PIECE_BYTES);
      const resume: ResumePoint =
        next === undefined ? { phase: "log", index, skip: 0 } : { phase: "keys", index, ...next };
      const sourceClockMs = next === undefined ? store.internals.log.clockMs : undefined;
      const copy = recordBytesOf(Uint8Array.from(records));
      pieces.push({ number: pieces.length, before, records: copy, resume, sourceClockMs });
      if (next === undefined) return pieces;
      before = pieceChain(before, records, resume);
    }
  }

  #entriesOf(session: StoreSession): [string, Entry][] {
    const wanted = new Set(this.#slotNumbers());
    return [...session.contents].filter(([key]) => key !== MOVES_KEY && wanted.has(slotOfKey(key)));
  }

  #gone(): Changes {
    return this.#luggage!.entries.map(([key]) => [key, undefined]);
  }

  #slotNumbers(): number[] {
    const { start, end } = this.#slots[0]!;
    return Array.from({ length: end - start + 1 }, (_, at) => start + at);
  }
}
