/**
 * Drives one SourceMove: reads keys and log of the slots, freezes and drops them, and writes the documents.
 *
 *     events ──► SourceMove.step ──► actions ─┬─► messages, throttled by the moves' common rate
 *                                             └─► one at a time: what takes a while, and tells with an event
 *
 * It belongs to one term of the writer: after stop() nothing that comes back counts.
 */

import type { ResumePoint } from "../../store/slot-moves.ts";
import { filterFrames } from "../../store/slot-records.ts";
import type { SlotSnapshot } from "../../store/slot-snapshot.ts";
import type { Store } from "../../store/store.ts";
import type { SlotRange } from "../coordination/documents.ts";
import type { DestinationStatus, MoveMessage } from "../resharding/move-message.ts";
import type { Freeze, ReadPiece, SourceAction, SourceEvent } from "../resharding/source-move.ts";
import { SourceMove } from "../resharding/source-move.ts";
import type { SeenMove } from "./move-documents.ts";
import type { MoveShell } from "./move-shell.ts";

/** So little is left that the slots can be frozen: it is sent in some milliseconds. */
const CAUGHT_UP_BYTES = 64 * 1024;
/** Frames that are looked through in one go. */
const LOG_BYTES_MAX = 1024 * 1024;
/** Frames that one piece looks through when none of their records are of these slots. */
const LOG_ROUNDS_MAX = 64;
const RETRY_MS = 500;
/** Longer than a destination whose writer has failed takes to have another one. */
const FROZEN_MS_MAX = 10_000;

export interface MoveSourceOptions {
  readonly id: string;
  readonly slots: readonly SlotRange[];
  readonly destination: string;
  readonly store: Store;
  readonly shell: MoveShell;
  /** What the log says when this term begins. */
  readonly isFrozen: boolean;
}

export class MoveSource {
  readonly id: string;
  readonly slots: readonly SlotRange[];
  readonly destination: string;
  readonly #store: Store;
  readonly #shell: MoveShell;
  readonly #machine: SourceMove;
  #snapshot: SlotSnapshot | undefined = undefined;
  /** Where the log must be kept from. */
  #neededFrom: number;
  #work: Promise<void> = Promise.resolve();
  /** A piece waits for its turn by the rate. */
  #isThrottled = false;
  #isStopped = false;
  /** The documents are about to be looked at. */
  #isLooking = false;
  /** Nobody else of this set begins to freeze until the move is decided. */
  #hasTurn = false;
  sentBytes = 0;
  readonly startedMs: number;
  /** In this term. */
  #frozenAtMs: number | undefined = undefined;
  /** From the freeze until the destination was known to serve; undefined: this term has not seen both. */
  frozenMs: number | undefined = undefined;

  constructor(options: MoveSourceOptions) {
    const { id, slots, destination, store, shell, isFrozen } = options;
    this.id = id;
    this.slots = slots;
    this.destination = destination;
    this.#store = store;
    this.#shell = shell;
    this.#neededFrom = store.committed;
    this.startedMs = shell.clock.monotonicMs();
    const freeze = isFrozen ? this.#freezeNow(store.committed) : undefined;
    this.#machine = new SourceMove({
      ...{ id, freeze, retryMs: RETRY_MS, frozenMsMax: FROZEN_MS_MAX },
    });
    this.#add(() => this.#readDocument());
  }

  get phase(): SourceMove["phase"] {
    return this.#machine.phase;
  }

  get outcome(): SourceMove["outcome"] {
    return this.#machine.outcome;
  }

  get resume(): ResumePoint | undefined {
    return this.#machine.resume;
  }

  /** Frames of the log that are still to be read; undefined: none. */
  get neededFrom(): number | undefined {
    return this.phase === "closing" || this.phase === "done" ? undefined : this.#neededFrom;
  }

  stop(): void {
    this.#isStopped = true;
  }

  tick(): void {
    if (!this.#isThrottled) this.#deliver({ type: "tick" });
  }

  onStatus(status: DestinationStatus): void {
    if (status.state === "over" && this.outcome === "flipped" && this.#frozenAtMs !== undefined)
      this.frozenMs ??= this.#shell.clock.monotonicMs() - this.#frozenAtMs;
    if (!this.#isThrottled) this.#deliver({ type: "status", status });
  }

  /** The documents may say something else now. */
  lookAgain(): void {
    const isDecided = ["dropping", "thawing", "closing", "done"].includes(this.phase);
    if (isDecided || this.#isLooking) return;
    this.#isLooking = true;
    this.#add(() => this.#readDocument());
  }

  #deliver(event: SourceEvent): void {
    if (this.#isStopped) return;
    for (const action of this.#machine.step(event, this.#shell.clock.monotonicMs()))
      this.#carryOut(action);
    if (this.#hasTurn && this.outcome !== undefined) {
      this.#hasTurn = false;
      this.#shell.freezes.end();
    }
  }

  #carryOut(action: SourceAction): void {
    const { documents } = this.#shell;
    switch (action.type) {
      case "send":
        this.#send(action.message);
        break;
      case "send-piece":
        this.#sendPiece(action.message, action.records);
        break;
      case "read":
        this.#add(async () => this.#deliver({ type: "read", piece: await this.#read(action) }));
        break;
      case "read-document":
        this.#add(() => this.#readDocument());
        break;
      case "announce":
        this.#add(async () => {
          this.#deliver({ type: "announced", isDone: await documents.announce(this.id) });
        });
        break;
      case "abort":
        this.#shell.logger.warn({ move: this.id, reason: action.reason }, "a move of slots ends");
        this.#add(async () => {
          await documents.abort(this.id);
          await this.#readDocument();
        });
        break;
      case "flip":
        this.#add(() => this.#flip());
        break;
      case "freeze":
        this.#shell.freezes.take(() => this.#beginFreeze());
        break;
      case "end":
        this.#add(() => this.#end(action.removes));
        break;
      case "remove-document":
        this.#add(async () => {
          if (await documents.remove(this.id)) this.#deliver({ type: "removed" });
        });
        break;
    }
  }

  #add(work: () => Promise<void>): void {
    this.#work = this.#work.then(async () => {
      if (!this.#isStopped) await this.#shell.attempt(work);
    });
  }

  #send(message: MoveMessage, records?: Uint8Array): void {
    this.#shell.sendToSet(this.destination, message, records);
  }

  #sendPiece(message: MoveMessage, records: Buffer): void {
    const waitMs = this.#machineIsFrozen ? 0 : this.#shell.delayFor(records.length);
    this.sentBytes += records.length;
    if (waitMs <= 0) {
      this.#send(message, records);
      return;
    }
    this.#isThrottled = true;
    this.#shell.clock.after(waitMs, () => {
      this.#isThrottled = false;
      if (!this.#isStopped) this.#send(message, records);
    });
  }

  /** What a frozen slot waits for is never throttled. */
  get #machineIsFrozen(): boolean {
    return this.#store.slots.moves.frozen(this.id) !== undefined;
  }

  async #readDocument(): Promise<void> {
    this.#isLooking = false;
    const seen = await this.#shell.documents.see(this.id, this.slots);
    if (seen !== undefined && !this.#isStopped) this.#tell(seen);
  }

  #tell({ sets, view }: SeenMove): void {
    this.#shell.noteSets(sets);
    this.#deliver({ type: "document", view });
  }

  async #flip(): Promise<void> {
    const seen = await this.#shell.documents.flip(this.id);
    if (this.#isStopped) return;
    if (seen === undefined) await this.#readDocument();
    else this.#tell(seen);
  }

  /** It is this move's turn. A decision may have come while it waited. */
  #beginFreeze(): void {
    if (this.#isStopped || this.phase !== "freezing") {
      this.#shell.freezes.end();
      return;
    }
    this.#hasTurn = true;
    this.#add(() => this.#freeze());
  }

  async #freeze(): Promise<void> {
    this.#frozenAtMs = this.#shell.clock.monotonicMs();
    const index = await this.#store.slots.freeze(this.id, this.slots);
    if (await this.#shell.committed(index))
      this.#deliver({ type: "frozen", freeze: this.#freezeNow(index) });
  }

  #freezeNow(index: number): Freeze {
    return { index, clockMs: this.#store.internals.log.clockMs };
  }

  async #end(removes: boolean): Promise<void> {
    // The keys go only where nobody is sent any more.
    if (removes) this.#shell.assertNotOwned(this.slots);
    const index = await this.#store.slots.end(this.id, removes);
    if (await this.#shell.committed(index)) this.#deliver({ type: "ended" });
  }

  async #read(action: Extract<SourceAction, { type: "read" }>): Promise<ReadPiece | undefined> {
    const { resume, until, goesOn } = action;
    if (resume?.phase === "log") return await this.#readLog(resume, until);
    const index = resume?.index ?? this.#store.committed;
    this.#neededFrom = index;
    if (!goesOn || this.#snapshot === undefined)
      this.#snapshot = this.#store.slots.snapshot(this.slots, resume);
    const piece = await this.#snapshot.next(this.#shell.pieceBytes);
    await this.#shell.committed(piece.index);
    const isRead = piece.next === undefined;
    if (isRead) this.#snapshot = undefined;
    return {
      records: piece.records,
      resume: isRead ? { phase: "log", index, skip: 0 } : { phase: "keys", index, ...piece.next! },
      isCaughtUp: false,
      isLast: false,
    };
  }

  async #readLog(
    resume: Extract<ResumePoint, { phase: "log" }>,
    until: number | undefined,
  ): Promise<ReadPiece | undefined> {
    let { index, skip } = resume;
    this.#neededFrom = index;
    let records: Buffer = Buffer.alloc(0);
    const end = until ?? this.#store.committed;
    for (let round = 0; index < end && records.length === 0 && round < LOG_ROUNDS_MAX; round++) {
      const { log } = this.#store.internals;
      const frames = await log.readFrames(index + 1, end, LOG_BYTES_MAX);
      if (frames === undefined) return undefined;
      const found = filterFrames(frames.bytes, { index, skip }, this.slots, this.#shell.pieceBytes);
      ({ index, skip, records } = found);
      if (round > 0) await this.#store.nextTurn();
    }
    return {
      records,
      resume: { phase: "log", index, skip },
      isCaughtUp: index >= end && records.length <= CAUGHT_UP_BYTES,
      isLast: until !== undefined && index >= until,
    };
  }
}
