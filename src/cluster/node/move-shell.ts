/** What the two sides of moves share with each other and with their node (slot-mover.ts). */
import type { Clock } from "../../base/clock.ts";
import type { Logger } from "../../base/logger.ts";
import type { ReplicaSetDocument, SlotRange } from "../coordination/documents.ts";
import type { MoveMessage } from "../resharding/move-message.ts";
import type { KnownDocument } from "./document-folder.ts";
import type { FreezeTurns } from "./freeze-turns.ts";
import type { MoveDocuments } from "./move-documents.ts";

export interface MoveShell {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly documents: MoveDocuments;
  readonly freezes: FreezeTurns;
  /** Records of one piece, unless a single one is longer. */
  readonly pieceBytes: number;
  /** To the writer of a replica set, if it is known. May be lost. */
  sendToSet(setId: string, message: MoveMessage, records: Uint8Array | undefined): void;
  /** To whoever has asked. May be lost. */
  reply(peer: string, message: MoveMessage): void;
  /** Milliseconds until so many bytes may be sent. */
  delayFor(bytes: number): number;
  /** Resolves when the frame is committed; false: this node is not the writer any more. */
  committed(index: number): Promise<boolean>;
  /** In effect for routing when it returns. */
  noteSets(sets: readonly KnownDocument<ReplicaSetDocument>[]): void;
  /** I10: a slot whose keys go is served by nobody here. */
  assertNotOwned(slots: readonly SlotRange[]): void;
  /** Runs `work`; what the end of the term interrupts is no error. */
  attempt(work: () => Promise<void>): Promise<void>;
}
