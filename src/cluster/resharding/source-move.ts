/**
 * One move of slots, at the writer of the set that gives them away. Pure: events in, actions out; the shell carries the
 * actions out and tells what became of them.
 *
 *     asking ⇄ reading ─► sending ─┐ again and again, until the destination is nearly where the source is
 *       ▲─────────────────────────◄┘
 *     announcing ─► freezing ─► reading ⇄ sending ─► flipping ─► dropping ─► closing ─► done
 *                                                        │
 *        ABORTED, whoever decides it ────────────────────┴─► thawing ─► closing ─► done
 *
 * - Nothing is remembered here that a new writer would need: it begins with what the log and the documents say, and asks
 *   the destination.
 * - A slot is frozen from the moment that its freeze is in the log until the documents show a decision. No time-out does
 *   it, and no message: when a destination takes nothing more, its documents are asked to decide.
 * - The flip is asked for only when the destination has said, in this writer's term, that it has everything up to the
 *   freeze, with the checksum of what was sent.
 * - Keys go only when the documents say that the slots are the other set's.
 * - The document of a flipped move stays until the destination serves; that of an aborted one until nothing is frozen.
 */
import { NO_CHAIN, pieceChain, type ResumePoint } from "../../store/slot-moves.ts";
import { type Decision, decisionOf, type MoveView } from "./move-document.ts";
import type { AskMessage, DestinationStatus, PieceMessage } from "./move-message.ts";

export interface ReadPiece {
  readonly records: Buffer;
  readonly resume: ResumePoint;
  /** Little was left when it was read. */
  readonly isCaughtUp: boolean;
  /** Everything up to the freeze is in it, or was sent before. */
  readonly isLast: boolean;
}

/** The freeze as it is in the log: up to which frame there can be records of the slots, and the log's clock there. */
export interface Freeze {
  readonly index: number;
  readonly clockMs: number;
}

export type SourceEvent =
  | { readonly type: "tick" }
  | { readonly type: "status"; readonly status: DestinationStatus }
  /** Undefined: the log no longer goes back so far. */
  | { readonly type: "read"; readonly piece: ReadPiece | undefined }
  | { readonly type: "document"; readonly view: MoveView }
  /** Whether the document says FREEZING now. */
  | { readonly type: "announced"; readonly isDone: boolean }
  | { readonly type: "frozen"; readonly freeze: Freeze }
  /** The drop or the thaw is committed. */
  | { readonly type: "ended" }
  | { readonly type: "removed" };

export type SourceAction =
  | { readonly type: "send"; readonly message: AskMessage }
  | { readonly type: "send-piece"; readonly message: PieceMessage; readonly records: Buffer }
  /**
   * `until`: no further than that frame of the log. `goesOn`: the destination has all that was read before, so what is
   * half read can be read on.
   */
  | {
      readonly type: "read";
      readonly resume: ResumePoint | undefined;
      readonly until: number | undefined;
      readonly goesOn: boolean;
    }
  | { readonly type: "read-document" }
  /** Conditional on a move that is MIGRATING or FREEZING. */
  | { readonly type: "announce" }
  | { readonly type: "abort"; readonly reason: string }
  /** Changes owner, if the document says FREEZING; then reads the documents. */
  | { readonly type: "flip" }
  | { readonly type: "freeze" }
  | { readonly type: "end"; readonly removes: boolean }
  | { readonly type: "remove-document" };

export type SourcePhase =
  | "asking"
  | "reading"
  | "sending"
  | "announcing"
  | "freezing"
  | "flipping"
  | "dropping"
  | "thawing"
  | "closing"
  | "done";

export interface SourceBoot {
  readonly id: string;
  /** What the log says when this writer begins. */
  readonly freeze: Freeze | undefined;
  /** Milliseconds after which something is asked for again. */
  readonly retryMs: number;
  /** Milliseconds after which a move is called off that has its slots frozen and comes no further. */
  readonly frozenMsMax: number;
}

const NONE: readonly SourceAction[] = [];

export class SourceMove {
  readonly #id: string;
  readonly #retryMs: number;
  readonly #frozenMsMax: number;
  #phase: SourcePhase = "asking";
  #freeze: Freeze | undefined;
  /** What the destination has said last, and where to go on: there, or further on when nothing was to be sent. */
  #pieces = 0;
  #chain = NO_CHAIN;
  #resume: ResumePoint | undefined = undefined;
  /** Checksum that the destination must have after the piece that is on its way. */
  #expectedChain = "";
  #isCaughtUp = false;
  #decision: Decision | undefined = undefined;
  /** The move's document is no longer there. */
  #isGone = false;
  #lastMs = Number.NEGATIVE_INFINITY;
  /** When the destination had more than before, as far as that matters: since the freeze, in this term. */
  #progressMs: number | undefined = undefined;

  constructor(boot: SourceBoot) {
    this.#id = boot.id;
    this.#freeze = boot.freeze;
    this.#retryMs = boot.retryMs;
    this.#frozenMsMax = boot.frozenMsMax;
  }

  get phase(): SourcePhase {
    return this.#phase;
  }

  /** Undefined: not decided, as far as this side has seen. */
  get outcome(): Decision | undefined {
    return this.#decision;
  }

  get resume(): ResumePoint | undefined {
    return this.#resume;
  }

  step(event: SourceEvent, nowMs: number): readonly SourceAction[] {
    switch (event.type) {
      case "tick":
        return this.#onTick(nowMs);
      case "status":
        return this.#onStatus(event.status, nowMs);
      case "read":
        return this.#onRead(event.piece, nowMs);
      case "document":
        return this.#onDocument(event.view, nowMs);
      case "announced":
        return this.#onAnnounced(event.isDone);
      case "frozen":
        return this.#onFrozen(event.freeze, nowMs);
      case "ended":
        return this.#onEnded(nowMs);
      case "removed":
        this.#phase = "done";
        return NONE;
    }
  }

  #onTick(nowMs: number): readonly SourceAction[] {
    if (nowMs - this.#lastMs < this.#retryMs) return NONE;
    switch (this.#phase) {
      case "asking":
      case "sending":
        // What was sent may be lost; what the destination says is where to go on.
        this.#phase = "asking";
        return [...this.#ask(nowMs), ...this.#loseHope(nowMs)];
      case "closing":
        return this.#close(nowMs);
      case "flipping":
        this.#lastMs = nowMs;
        return [{ type: "flip" }];
      default:
        return NONE;
    }
  }

  /** Clients wait for a frozen slot: it stays here when its destination has no writer, or no room, for too long. */
  #loseHope(nowMs: number): readonly SourceAction[] {
    if (this.#freeze === undefined) return NONE;
    this.#progressMs ??= nowMs;
    if (nowMs - this.#progressMs < this.#frozenMsMax) return NONE;
    this.#progressMs = nowMs;
    return this.#abort("its destination takes no more, and clients wait");
  }

  /** `restart`: the checksum of what the destination has and cannot go on with. */
  #ask(nowMs: number, restart?: string): readonly SourceAction[] {
    this.#lastMs = nowMs;
    const ask = { type: "ask", move: this.#id } as const;
    return [{ type: "send", message: restart === undefined ? ask : { ...ask, restart } }];
  }

  #onStatus(status: DestinationStatus, nowMs: number): readonly SourceAction[] {
    if (this.#phase === "closing")
      return status.state === "over" ? [{ type: "remove-document" }] : NONE;
    if (this.#phase !== "asking" && this.#phase !== "sending") return NONE;
    if (status.state === "over") return [{ type: "read-document" }];
    const isAnswer =
      this.#phase === "sending" &&
      status.pieces === this.#pieces + 1 &&
      status.chain === this.#expectedChain;
    if (!isAnswer) this.#isCaughtUp = false;
    if (status.chain !== this.#chain) this.#progressMs = nowMs;
    this.#pieces = status.pieces;
    this.#chain = status.chain;
    this.#resume = status.resume;
    if (status.state === "complete") return this.#onComplete(nowMs);
    return this.#goOn(isAnswer);
  }

  #onComplete(nowMs: number): readonly SourceAction[] {
    if (this.#freeze === undefined) return this.#abort("complete before the freeze");
    this.#phase = "flipping";
    this.#lastMs = nowMs;
    return [{ type: "flip" }];
  }

  #abort(reason: string): readonly SourceAction[] {
    this.#phase = "asking";
    return [{ type: "abort", reason }];
  }

  /** The destination is known to have everything before #resume. */
  #goOn(goesOn: boolean): readonly SourceAction[] {
    if (this.#freeze === undefined && this.#isCaughtUp) {
      this.#isCaughtUp = false;
      this.#phase = "announcing";
      return [{ type: "announce" }];
    }
    this.#phase = "reading";
    return [{ type: "read", resume: this.#resume, until: this.#freeze?.index, goesOn }];
  }

  #onRead(piece: ReadPiece | undefined, nowMs: number): readonly SourceAction[] {
    if (this.#phase !== "reading") return NONE;
    if (piece === undefined) {
      this.#phase = "asking";
      return this.#ask(nowMs, this.#chain);
    }
    this.#isCaughtUp = piece.isCaughtUp;
    if (piece.records.length === 0 && this.#freeze === undefined && piece.resume.phase === "log") {
      this.#resume = piece.resume;
      return this.#goOn(true);
    }
    this.#phase = "sending";
    this.#lastMs = nowMs;
    this.#expectedChain = pieceChain(this.#chain, piece.records, piece.resume);
    const message: PieceMessage = {
      ...{ type: "piece", move: this.#id, number: this.#pieces, resume: piece.resume },
      ...{ before: this.#chain, after: this.#expectedChain },
      ...(piece.isLast && this.#freeze !== undefined
        ? { sourceClockMs: this.#freeze.clockMs }
        : {}),
    };
    return [{ type: "send-piece", message, records: piece.records }];
  }

  #onAnnounced(isDone: boolean): readonly SourceAction[] {
    if (this.#phase !== "announcing") return NONE;
    if (!isDone) {
      this.#phase = "asking";
      return [{ type: "read-document" }];
    }
    this.#phase = "freezing";
    return [{ type: "freeze" }];
  }

  #onFrozen(freeze: Freeze, nowMs: number): readonly SourceAction[] {
    this.#freeze = freeze;
    this.#progressMs = nowMs;
    return this.#phase === "freezing" ? this.#goOn(true) : NONE;
  }

  #onDocument(view: MoveView, nowMs: number): readonly SourceAction[] {
    if (this.#decision !== undefined) return NONE;
    const decision = decisionOf(view, "aborted");
    if (decision === undefined)
      return view.owns ? NONE : this.#abort("its replica set does not own the slots");
    this.#decision = decision;
    this.#isGone = view.state === "GONE";
    const mayBeFrozen = this.#freeze !== undefined || this.#phase === "freezing";
    if (!mayBeFrozen) return this.#onEnded(nowMs);
    this.#phase = decision === "flipped" ? "dropping" : "thawing";
    // The destination waits for nothing else: it hears of the decision at once.
    return [{ type: "end", removes: decision === "flipped" }, ...this.#ask(nowMs)];
  }

  #onEnded(nowMs: number): readonly SourceAction[] {
    this.#phase = this.#isGone ? "done" : "closing";
    return this.#isGone ? NONE : this.#close(nowMs);
  }

  /**
   * A move that is off leaves no document: one that is gone tells the destination the same. Its set may never have a
   * writer again, and neither other moves nor the end of that set should wait for it.
   */
  #close(nowMs: number): readonly SourceAction[] {
    const asked = this.#ask(nowMs);
    return this.#decision === "aborted" ? [...asked, { type: "remove-document" }] : asked;
  }
}
