/**
 * Drives one DestinationMove: writes what comes through this set's own log, and answers when it is committed.
 *
 * It belongs to one term of the writer, as MoveSource does.
 */

import { hasNone, slotsOf } from "../../base/slot-ranges.ts";
import type { ImportingSlots } from "../../store/slot-moves.ts";
import { areRecords, recordBytesOf } from "../../store/slot-records.ts";
import type { Store } from "../../store/store.ts";
import type { SlotRange } from "../coordination/documents.ts";
import {
  type DestinationAction,
  type DestinationEvent,
  DestinationMove,
} from "../resharding/destination-move.ts";
import type { PieceMessage } from "../resharding/move-message.ts";
import type { MoveShell } from "./move-shell.ts";

/** A full disk is looked at about every second. */
const REFUSED_MS = 500;

export interface MoveDestinationOptions {
  readonly id: string;
  readonly setId: string;
  readonly store: Store;
  readonly shell: MoveShell;
}

export class MoveDestination {
  readonly id: string;
  readonly #setId: string;
  readonly #store: Store;
  readonly #shell: MoveShell;
  readonly #machine: DestinationMove;
  #slots: readonly SlotRange[];
  /** Who has asked last. */
  #peer = "";
  #work: Promise<void> = Promise.resolve();
  #pending = 0;
  #isStopped = false;
  /** The documents are about to be looked at. */
  #isLooking = false;
  /** Slots whose opening is in the log and not committed. */
  opening: readonly SlotRange[] = [];

  constructor({ id, setId, store, shell }: MoveDestinationOptions) {
    this.id = id;
    this.#setId = setId;
    this.#store = store;
    this.#shell = shell;
    this.#slots = this.#importing?.slots ?? [];
    this.#machine = new DestinationMove(this.#importing);
  }

  /** Nothing is under way: the next message may as well meet a new one. */
  get isIdle(): boolean {
    return this.#machine.phase === "idle" && this.#pending === 0;
  }

  get #importing(): ImportingSlots | undefined {
    return this.#store.slots.moves.importing(this.id);
  }

  stop(): void {
    this.#isStopped = true;
  }

  onAsk(peer: string, restart: string | undefined): void {
    this.#peer = peer;
    this.#deliver({ type: "ask", restart });
  }

  onPiece(peer: string, message: PieceMessage, records: Uint8Array): void {
    this.#peer = peer;
    this.#deliver({ type: "piece", message, records });
  }

  /** The documents may say something else now. */
  lookAgain(): void {
    if (this.#machine.phase === "importing") this.#look();
  }

  #deliver(event: DestinationEvent): void {
    if (this.#isStopped) return;
    for (const action of this.#machine.step(event, this.#importing)) this.#carryOut(action);
  }

  #carryOut(action: DestinationAction): void {
    switch (action.type) {
      case "read-document":
        this.#look();
        break;
      case "begin":
        this.#write(() => this.#store.slots.begin(this.id, this.#slots));
        break;
      case "import":
        this.#import(action.message, action.records);
        break;
      case "end":
        this.#write(() => this.#end(action.removes));
        break;
      case "status": {
        const { state, pieces, chain, resume } = action.status;
        const at = resume === undefined ? {} : { resume };
        const status = { type: "status", move: this.id, state, pieces, chain, ...at } as const;
        if (this.#peer !== "") this.#shell.reply(this.#peer, status);
        break;
      }
    }
  }

  #import({ number, before, resume, sourceClockMs }: PieceMessage, bytes: Uint8Array): void {
    const records = recordBytesOf(bytes.slice());
    const { slots, housekeeping } = this.#store;
    this.#write(async () => {
      await housekeeping.throttled;
      await housekeeping.logRoom();
      // Without room, or with records that nobody could have read: it is asked for again, but not at once.
      if (housekeeping.refusal !== undefined || !areRecords(records, this.#slots)) {
        await new Promise<void>((resolve) => this.#shell.clock.after(REFUSED_MS, resolve));
        return 0;
      }
      const piece = { number, before, resume, records, sourceClockMs };
      return (await slots.importPiece(this.id, piece)) ?? 0;
    });
  }

  async #end(removes: boolean): Promise<number> {
    if (!removes) this.opening = this.#slots;
    return await this.#store.slots.end(this.id, removes);
  }

  #write(work: () => Promise<number>): void {
    this.#add(async () => {
      const index = await work();
      if (!(await this.#shell.committed(index))) return;
      if (this.opening.length > 0) this.#store.slots.moves.letGo();
      this.opening = [];
      this.#deliver({ type: "written" });
    });
  }

  #add(work: () => Promise<void>): void {
    this.#pending++;
    this.#work = this.#work.then(async () => {
      if (!this.#isStopped) await this.#shell.attempt(work);
      this.#pending--;
    });
  }

  #look(): void {
    if (this.#isLooking) return;
    this.#isLooking = true;
    this.#add(() => this.#readDocument());
  }

  async #readDocument(): Promise<void> {
    this.#isLooking = false;
    const seen = await this.#shell.documents.see(this.id, this.#slots);
    if (seen === undefined || this.#isStopped) return;
    const document = seen.move?.document;
    if (document !== undefined && document.destination !== this.#setId) return;
    if (document !== undefined) this.#slots = document.slots;
    this.#shell.noteSets(seen.sets);
    const { moves } = this.#store.slots;
    const isMoving = slotsOf(this.#slots).some((slot) => moves.isMoving(slot));
    const owned = seen.sets[0]!.document.slots;
    const isFree = !isMoving && hasNone(owned, this.#slots);
    this.#deliver({ type: "document", view: seen.view, isFree });
  }
}
