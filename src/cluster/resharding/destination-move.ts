/**
 * One move of slots, at the writer of the set that gets them. Pure, as source-move.ts.
 *
 *     idle ── ask ─► checking ── the documents say so ─► writing ─► importing ⇄ writing
 *       ▲                                                               │ FLIPPED: open      ABORTED: drop
 *       └───────────────────────────────────────────────────────────────┘
 *
 * What is here is in the log and nowhere else: `importing` is told by the shell at each event as the log has it, and only
 * when all of it is committed. While something is being written, whoever asks asks again later.
 */
import { type ImportingSlots, NO_CHAIN, pieceChain } from "../../store/slot-moves.ts";
import { decisionOf, type MoveView } from "./move-document.ts";
import type { DestinationStatus, PieceMessage } from "./move-message.ts";

export type DestinationEvent =
  | { readonly type: "ask"; readonly restart: string | undefined }
  | { readonly type: "piece"; readonly message: PieceMessage; readonly records: Uint8Array }
  /** `isFree`: nothing else happens to the slots here, and this set does not own them. */
  | { readonly type: "document"; readonly view: MoveView; readonly isFree: boolean }
  /** What was to be written is committed. */
  | { readonly type: "written" };

export type DestinationAction =
  | { readonly type: "read-document" }
  /** Makes room for the slots' keys; what was there before goes. */
  | { readonly type: "begin" }
  | { readonly type: "import"; readonly message: PieceMessage; readonly records: Uint8Array }
  | { readonly type: "end"; readonly removes: boolean }
  | { readonly type: "status"; readonly status: DestinationStatus };

export type DestinationPhase = "idle" | "checking" | "writing" | "importing";

const NONE: readonly DestinationAction[] = [];
const OVER: DestinationAction = {
  type: "status",
  status: { state: "over", pieces: 0, chain: NO_CHAIN },
};

function statusOf(importing: ImportingSlots): DestinationStatus {
  const { pieces, chain, resume, sourceClockMs } = importing;
  const state = sourceClockMs === undefined ? "importing" : "complete";
  return { state, pieces, chain, resume };
}

export class DestinationMove {
  #phase: DestinationPhase;

  constructor(importing: ImportingSlots | undefined) {
    this.#phase = importing === undefined ? "idle" : "importing";
  }

  get phase(): DestinationPhase {
    return this.#phase;
  }

  step(
    event: DestinationEvent,
    importing: ImportingSlots | undefined,
  ): readonly DestinationAction[] {
    switch (event.type) {
      case "ask":
        return this.#onAsk(event.restart, importing);
      case "piece":
        return this.#onPiece(event, importing);
      case "document":
        return this.#onDocument(event, importing);
      case "written":
        this.#phase = importing === undefined ? "idle" : "importing";
        // Only the end of a move, by a decision in the documents, leaves nothing.
        return importing === undefined ? [OVER] : [this.#tell(importing)];
    }
  }

  #onAsk(
    restart: string | undefined,
    importing: ImportingSlots | undefined,
  ): readonly DestinationAction[] {
    // A look at the documents may have failed.
    if (this.#phase === "idle" || this.#phase === "checking") {
      this.#phase = "checking";
      return [{ type: "read-document" }];
    }
    if (this.#phase !== "importing" || importing === undefined) return NONE;
    // All is here: who asks now may know of the decision.
    if (importing.sourceClockMs !== undefined) return [{ type: "read-document" }];
    // One that speaks of another state is late.
    return restart === importing.chain ? this.#write({ type: "begin" }) : [this.#tell(importing)];
  }

  #onPiece(
    { message, records }: Extract<DestinationEvent, { type: "piece" }>,
    importing: ImportingSlots | undefined,
  ): readonly DestinationAction[] {
    if (this.#phase !== "importing" || importing === undefined) return NONE;
    const isNext =
      message.number === importing.pieces &&
      message.before === importing.chain &&
      message.after === pieceChain(importing.chain, records, message.resume) &&
      importing.sourceClockMs === undefined;
    return isNext ? this.#write({ type: "import", message, records }) : [this.#tell(importing)];
  }

  #onDocument(
    { view, isFree }: Extract<DestinationEvent, { type: "document" }>,
    importing: ImportingSlots | undefined,
  ): readonly DestinationAction[] {
    if (this.#phase === "writing") return NONE;
    const decision = decisionOf(view, "flipped");
    if (importing === undefined) {
      const wasAsked = this.#phase === "checking";
      this.#phase = "idle";
      if (decision === undefined) return wasAsked && isFree ? this.#write({ type: "begin" }) : NONE;
      return [OVER];
    }
    if (decision === undefined) return [this.#tell(importing)];
    return this.#write({ type: "end", removes: decision === "aborted" });
  }

  #write(action: DestinationAction): readonly DestinationAction[] {
    this.#phase = "writing";
    return [action];
  }

  #tell(importing: ImportingSlots): DestinationAction {
    return { type: "status", status: statusOf(importing) };
  }
}
