/**
 * All moves of slots that this node's replica set takes part in, while this node is its writer.
 *
 *     /moves, followed ──┐
 *     the log's state ───┴─► MoveSource, one per move away (some at a time)  ─┐
 *     messages ────────────► MoveDestination, one per move here ──────────────┴─► store, documents, other writers
 *
 * A move is begun by its document, whoever writes it. What has begun goes on whenever a set has a writer: a new one
 * begins with what its log and the documents say. Nothing of a move is kept outside of these two.
 */
import { assert } from "../../base/assert.ts";
import type { Clock, Timer } from "../../base/clock.ts";
import type { Logger } from "../../base/logger.ts";
import { hasNone, hasSlot, type SlotRange, slotsOf } from "../../base/slot-ranges.ts";
import { SUSPENDED } from "../../store/interrupt.ts";
import type { Store } from "../../store/store.ts";
import type { Coordinator } from "../coordination/coordinator.ts";
import {
  DocumentError,
  type ReplicaSetDocument,
  type SlotMoveDocument,
  slotMoveDocument,
} from "../coordination/documents.ts";
import { MOVES_PATH } from "../coordination/paths.ts";
import type { CurrentTopology } from "../current-topology.ts";
import { isUndecided } from "../resharding/move-document.ts";
import {
  decodeMoveMessage,
  encodeMoveMessage,
  type MoveMessage,
} from "../resharding/move-message.ts";
import type { TopologyNode } from "../topology.ts";
import { DocumentFolder, type KnownDocument } from "./document-folder.ts";
import { FreezeTurns } from "./freeze-turns.ts";
import { MoveDestination } from "./move-destination.ts";
import { MoveDocuments } from "./move-documents.ts";
import type { MoveRequests } from "./move-requests.ts";
import type { MoveShell } from "./move-shell.ts";
import { MoveSource } from "./move-source.ts";

const TICK_MS = 50;
/** How often a move that waits for nothing but a decision looks at the documents, beside what watches tell. */
const LOOK_TICKS = 40;
/**
 * Moves away from this set at one time: one can have its keys sent while another one is frozen. More take no less time.
 * Those whose destination is not there do not count.
 */
const SOURCES_MAX = 2;
const PIECE_BYTES_MAX = 256 * 1024;
/** Of a segment: a piece is one unit. */
const PIECE_SEGMENT_SHARE = 4;
/** Bytes that may be sent at once after a pause. */
const BURST_SECONDS = 0.1;

/** Messages between writers. */
export interface MoveLinks {
  sendMove(to: string, head: Uint8Array, records: Uint8Array | undefined): void;
}

/** How far the moves away from this set have come. */
export interface MoveProgress {
  /** Not begun. */
  readonly waiting: number;
  /** Moves to this set. */
  readonly importing: number;
  /** Since this process started: moves away that have ended, and what was sent for them. */
  readonly done: number;
  readonly sentBytes: number;
  /** The longest that slots of one of them waited. */
  readonly frozenMsMax: number;
  /** Until none is left; undefined: nobody can say. */
  readonly etaMs: number | undefined;
  readonly away: readonly {
    readonly slots: readonly SlotRange[];
    readonly destination: string;
    readonly phase: string;
    readonly sentBytes: number;
  }[];
}

export interface MovePace {
  bytesPerSecond(): number;
  /** Whether N spares form one more set, and a set that has never had slots gets its share by itself. */
  rebalances(): boolean;
  /** 1 if it is not given. */
  readonly slotsPerMove?: number;
}

export interface SlotMoverOptions {
  readonly coordinator: Coordinator;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly nodeId: string;
  readonly setId: string;
  readonly topology: CurrentTopology;
  readonly links: MoveLinks;
  store(): Store;
  noteSets(sets: readonly KnownDocument<ReplicaSetDocument>[]): void;
  /** The log is needed from this frame on; infinite: not for moves. */
  holdLog(from: number): void;
  readonly pace: MovePace;
  readonly requests: MoveRequests;
  onFatal(error: Error): void;
}

interface Waiter {
  readonly index: number;
  resolve(isCommitted: boolean): void;
}

/** One period in which this node is the writer. */
interface Term {
  readonly store: Store;
  readonly shell: MoveShell;
  readonly folder: DocumentFolder<SlotMoveDocument>;
  readonly ticker: Timer;
  readonly waiters: Waiter[];
}

export class SlotMover {
  readonly #options: SlotMoverOptions;
  readonly #sources = new Map<string, MoveSource>();
  readonly #destinations = new Map<string, MoveDestination>();
  /** Moves away that have ended, whose documents the folder has not seen go. */
  readonly #ended = new Set<string>();
  /** Moves away that have ended, in this process. */
  readonly #done = { moves: 0, bytes: 0, ms: 0, frozenMsMax: 0 };
  #term: Term | undefined = undefined;
  #nextSendMs = 0;
  #ticks = 0;
  #isAsking = false;

  constructor(options: SlotMoverOptions) {
    this.#options = options;
  }

  /** This node is the writer from now on. */
  serve(): void {
    assert(this.#term === undefined, "a writer that becomes the writer");
    const { coordinator, clock, logger } = this.#options;
    const store = this.#options.store();
    const waiters: Waiter[] = [];
    this.#term = {
      ...{ store, waiters, shell: this.#newShell(store, waiters) },
      folder: new DocumentFolder({
        ...{ coordinator, clock, logger, folder: MOVES_PATH, codec: slotMoveDocument, delayMs: 0 },
        onChange: () => this.#look(),
      }),
      ticker: clock.every(TICK_MS, () => this.#tick()),
    };
    this.#resume(store);
  }

  /** The term is over: what is under way ends without effect. */
  stop(): void {
    const term = this.#term;
    if (term === undefined) return;
    this.#term = undefined;
    term.ticker.cancel();
    term.folder.stop();
    for (const source of this.#sources.values()) source.stop();
    for (const destination of this.#destinations.values()) destination.stop();
    this.#sources.clear();
    this.#destinations.clear();
    this.#ended.clear();
    for (const { resolve } of term.waiters.splice(0)) resolve(false);
    term.store.slots.moves.letGo();
  }

  /** More frames are committed. */
  onCommitted(): void {
    const term = this.#term;
    if (term === undefined) return;
    const { waiters, store } = term;
    const done = waiters.filter(({ index }) => index <= store.committed);
    if (done.length === 0) return;
    const rest = waiters.filter(({ index }) => index > store.committed);
    waiters.splice(0, waiters.length, ...rest);
    for (const { resolve } of done) resolve(true);
  }

  /** A message of another set's writer; the records are borrowed. */
  receive(from: string, head: Uint8Array, records: Uint8Array | undefined): void {
    const message = decodeMoveMessage(head);
    if (message === undefined) {
      this.#options.logger.warn({ peer: from }, "a message about moving slots that cannot be read");
      return;
    }
    if (this.#term === undefined) return;
    if (message.type === "status") {
      this.#sources.get(message.move)?.onStatus(message);
      return;
    }
    const destination = this.#destinationOf(message.move, this.#term);
    if (message.type === "ask") destination.onAsk(from, message.restart);
    else destination.onPiece(from, message, records ?? new Uint8Array(0));
  }

  /**
   * Whether nobody may read or write a slot here now, whoever is taken for its owner: it is being given away, has not
   * opened, or has left. On a replica, too: by what its log says. Hot.
   */
  isHeld(slot: number): boolean {
    const { moves } = (this.#term?.store ?? this.#options.store()).slots;
    if (moves.isIdle && this.#destinations.size === 0) return false;
    return moves.isHeld(slot) || this.#isOpening(slot);
  }

  /** Resolves when that may have changed for some slot. REQUIRES: this node is the writer, or is about to be. */
  heldSlotsChanged(): Promise<void> {
    return (this.#term?.store ?? this.#options.store()).slots.moves.changed();
  }

  /** Whether the documents of all moves are known, and none names this set. */
  get isResting(): boolean {
    const folder = this.#term?.folder;
    if (folder?.isKnown !== true) return false;
    const { setId } = this.#options;
    const isOwn = ({ document: { source, destination } }: KnownDocument<SlotMoveDocument>) =>
      source === setId || destination === setId;
    return !folder.documents.some(isOwn);
  }

  /** Moves away that are under way. */
  get sources(): Iterable<MoveSource> {
    return this.#sources.values();
  }

  /** For INFO. */
  get progress(): MoveProgress {
    const { setId } = this.#options;
    const documents = this.#term?.folder.documents ?? [];
    const waiting = documents.filter(
      ({ document: { id, source } }) => source === setId && !this.#isKnown(id),
    ).length;
    const held = this.#term?.store.slots.moves.all ?? [];
    const left = waiting + this.#sources.size;
    const { moves, bytes, ms, frozenMsMax } = this.#done;
    // As many run at once as may.
    const etaMs = moves === 0 ? undefined : (left * ms) / moves / SOURCES_MAX;
    return {
      ...{ waiting, done: moves, sentBytes: bytes, frozenMsMax, etaMs: left === 0 ? 0 : etaMs },
      importing: held.filter(({ kind }) => kind === "importing").length,
      away: [...this.#sources.values()].map(({ slots, destination, phase, sentBytes }) => ({
        ...{ slots, destination, phase, sentBytes },
      })),
    };
  }

  #isOpening(slot: number): boolean {
    for (const { opening } of this.#destinations.values()) if (hasSlot(opening, slot)) return true;
    return false;
  }

  /** What the log says that this set was in the middle of. */
  #resume(store: Store): void {
    for (const move of store.slots.moves.all)
      if (move.kind === "importing") this.#destinationOf(move.id, this.#term!).lookAgain();
  }

  #destinationOf(id: string, { store, shell }: Term): MoveDestination {
    let destination = this.#destinations.get(id);
    if (destination === undefined) {
      destination = new MoveDestination({ id, setId: this.#options.setId, store, shell });
      this.#destinations.set(id, destination);
    }
    return destination;
  }

  #look(): void {
    const term = this.#term;
    if (term === undefined) return;
    const documents = new Map(term.folder.documents.map(({ document }) => [document.id, document]));
    for (const source of this.#sources.values()) {
      if (!isUndecided(documents.get(source.id))) source.lookAgain();
    }
    for (const { id, kind } of term.store.slots.moves.all) {
      if (kind === "importing" && !isUndecided(documents.get(id)))
        this.#destinationOf(id, term).lookAgain();
    }
    this.#begin(term, documents);
  }

  /** What is frozen first, and then as many others as may run. */
  #begin(term: Term, documents: ReadonlyMap<string, SlotMoveDocument>): void {
    const { moves } = term.store.slots;
    for (const id of this.#ended) if (!documents.has(id)) this.#ended.delete(id);
    for (const move of moves.all) {
      if (move.kind !== "frozen" || this.#sources.has(move.id)) continue;
      const destination = documents.get(move.id)?.destination ?? "";
      this.#addSource(term, { id: move.id, slots: move.slots, destination, isFrozen: true });
    }
    const own = [...documents.values()]
      .filter(({ id, source }) => source === this.#options.setId && !this.#isKnown(id))
      .sort((a, b) => a.slots[0]!.start - b.slots[0]!.start);
    for (const move of own) {
      const { id, slots, destination } = move;
      if (this.#running(documents) >= SOURCES_MAX) break;
      if (this.#isBusy(slots) || this.#isStuck(move)) continue;
      this.#addSource(term, { id, slots, destination, isFrozen: false });
    }
  }

  #running(documents: ReadonlyMap<string, SlotMoveDocument>): number {
    const sources = [...this.#sources.values()];
    return sources.filter(({ id }) => !this.#isStuck(documents.get(id))).length;
  }

  /** Whether a move waits for a destination that may never come back. */
  #isStuck(move: SlotMoveDocument | undefined): boolean {
    if (move === undefined || !isUndecided(move)) return false;
    const writer = this.#writerOf(move.destination);
    return writer === undefined || writer.health === "fail";
  }

  /** Whether a move away is under way, or has ended. */
  #isKnown(id: string): boolean {
    return this.#sources.has(id) || this.#ended.has(id);
  }

  /** Whether another move away has some of these slots. */
  #isBusy(slots: readonly SlotRange[]): boolean {
    return [...this.#sources.values()].some((source) => !hasNone(source.slots, slots));
  }

  #addSource(
    { store, shell }: Term,
    move: { id: string; slots: readonly SlotRange[]; destination: string; isFrozen: boolean },
  ): void {
    this.#options.logger.info(
      { move: move.id, slots: move.slots, to: move.destination },
      "slots begin to move away",
    );
    this.#sources.set(move.id, new MoveSource({ ...move, store, shell }));
  }

  #tick(): void {
    const term = this.#term;
    if (term === undefined) return;
    let neededFrom = Number.POSITIVE_INFINITY;
    for (const source of this.#sources.values()) {
      source.tick();
      if (source.phase === "done") this.#endSource(source);
      else neededFrom = Math.min(neededFrom, source.neededFrom ?? Number.POSITIVE_INFINITY);
    }
    for (const destination of this.#destinations.values()) {
      if (!destination.isIdle || destination.opening.length > 0) continue;
      destination.stop();
      this.#destinations.delete(destination.id);
    }
    this.#options.holdLog(neededFrom);
    // Those who wait for a slot look whether they have waited for too long.
    term.store.slots.moves.letGo();
    if (++this.#ticks % LOOK_TICKS === 0 && term.folder.isKnown) {
      this.#look();
      this.#askForShare(term);
    }
  }

  /** A set that has never had slots, and that nobody has planned any for. One that drains wants none. */
  #askForShare({ folder, store }: Term): void {
    const { pace, setId, topology, requests, logger } = this.#options;
    if (!pace.rebalances() || this.#isAsking || !store.slots.moves.isIdle) return;
    const { sets } = topology.value;
    const isPlanned = folder.documents.some(({ document }) => document.destination === setId);
    const own = sets.find(({ id }) => id === setId);
    if (isPlanned || own?.slots.length !== 0 || own.isDraining) return;
    const others = sets.filter(({ id, slots }) => id !== setId && slots.length === 0);
    this.#isAsking = true;
    requests
      .rebalance(new Map(others.map(({ id }) => [id, 0])), false)
      .then((result) => {
        if ("problem" in result) logger.warn({ problem: result.problem }, "no share of the slots");
        else logger.info({ moves: result.moves.length }, "a new replica set gets its share");
      })
      .catch((error: Error) => logger.error({ error }, "no share of the slots"))
      .finally(() => {
        this.#isAsking = false;
      });
  }

  #endSource(source: MoveSource): void {
    const { clock, logger } = this.#options;
    const ms = Math.round(clock.monotonicMs() - source.startedMs);
    const { id, slots, sentBytes: bytes, outcome } = source;
    this.#done.moves++;
    this.#done.bytes += bytes;
    this.#done.ms += ms;
    const frozenMs = source.frozenMs === undefined ? undefined : Math.round(source.frozenMs);
    this.#done.frozenMsMax = Math.max(this.#done.frozenMsMax, frozenMs ?? 0);
    const text = outcome === "flipped" ? "slots have moved away" : "slots stay: their move is off";
    logger.info({ move: id, slots, bytes, ms, frozenMs }, text);
    source.stop();
    this.#sources.delete(source.id);
    this.#ended.add(source.id);
    this.#look();
  }

  #newShell(store: Store, waiters: Waiter[]): MoveShell {
    const { coordinator, clock, logger, setId, links } = this.#options;
    const send = (to: string | undefined, message: MoveMessage, records?: Uint8Array) => {
      if (to !== undefined) links.sendMove(to, encodeMoveMessage(message), records);
    };
    return {
      ...{ clock, logger, documents: new MoveDocuments(coordinator, setId) },
      freezes: new FreezeTurns(),
      pieceBytes: Math.min(PIECE_BYTES_MAX, store.internals.log.unitBytesMax / PIECE_SEGMENT_SHARE),
      sendToSet: (id, message, records) => send(this.#writerOf(id)?.id, message, records),
      reply: (peer, message) => send(peer, message),
      delayFor: (bytes) => this.#delayFor(bytes),
      committed: (index) => this.#whenCommitted(store, waiters, index),
      noteSets: (sets) => {
        this.#options.noteSets(sets);
        store.slots.moves.letGo();
      },
      assertNotOwned: (slots) => this.#assertNotOwned(slots),
      attempt: (work) => this.#attempt(work),
    };
  }

  #writerOf(setId: string): TopologyNode | undefined {
    return this.#options.topology.value.sets.find(({ id }) => id === setId)?.writer;
  }

  #whenCommitted(store: Store, waiters: Waiter[], index: number): Promise<boolean> {
    if (this.#term?.store !== store) return Promise.resolve(false);
    if (index <= store.committed) return Promise.resolve(true);
    return new Promise((resolve) => waiters.push({ index, resolve }));
  }

  #delayFor(bytes: number): number {
    const nowMs = this.#options.clock.monotonicMs();
    const rate = this.#options.pace.bytesPerSecond();
    if (rate === 0) return 0;
    this.#nextSendMs = Math.max(this.#nextSendMs, nowMs - BURST_SECONDS * 1000);
    const waitMs = this.#nextSendMs - nowMs;
    this.#nextSendMs += (bytes / rate) * 1000;
    return waitMs;
  }

  #assertNotOwned(slots: readonly SlotRange[]): void {
    const { topology, nodeId } = this.#options;
    for (const slot of slotsOf(slots))
      assert(
        topology.value.ownerOf(slot)?.writer?.id !== nodeId,
        "a slot whose keys go is not served here",
      );
  }

  async #attempt(work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      if (error === SUSPENDED || this.#term === undefined) return;
      if (error instanceof DocumentError) {
        this.#options.logger.error({ error }, "a document that moves of slots need");
        return;
      }
      this.#options.onFatal(error as Error);
    }
  }
}
