/**
 * Why a unit (a command, or a whole EXEC) cannot go on now. Thrown by the store in the middle of a handler: the
 * caller takes the unit back with abortUnit(), waits for what resolve() returns, and runs the unit again from
 * its start, synchronously. Nothing read before a wait is used after it.
 *
 * Interrupts are made once and reused: throwing one costs about half a microsecond and is rare.
 */
export class Interrupt extends Error {
  override readonly name = "Interrupt";
}

/** The active segment has no room for the unit: it goes to the next one. */
export const SEGMENT_FULL = new Interrupt("the active segment is full");
/** The memtable's table must grow, which it cannot within a unit. */
export const INDEX_FULL = new Interrupt("the memtable is crowded");
/** A block that a read needs is not in memory. */
export const COLD_READ = new Interrupt("a block must be read from disk");
/** Work that cannot be done within the turn was started by prepare(). */
export const PREPARING = new Interrupt("slow work is being done first");

/** A result of slow work; `kind` tells it from what another run of the unit may ask for in its place. */
export interface Prepared {
  readonly kind: string;
  readonly value: unknown;
}

/**
 * Slow work of one unit: what prepare() started, and the results that the next run of the unit takes in the same
 * order. Owned by a session, so that other units can run in between.
 */
export class UnitWork {
  readonly results: Prepared[] = [];
  next = 0;
  pending: Promise<Prepared> | undefined = undefined;
  /** Bytes of the budget for large values that its results and its owner's requests take; the owner releases them. */
  heldBytes = 0;
  /** Slabs of the budget that its results lie in; the owner gives them back. */
  readonly slabs: Buffer[] = [];

  /** Before each run of the unit. */
  rewind(): void {
    this.next = 0;
  }

  /** What was prepared, or is under way, is not to be used. */
  giveUp(): void {
    this.clear();
    this.pending = undefined;
  }

  /** After the unit has ended. */
  clear(): void {
    if (this.results.length > 0) this.results.length = 0;
    this.next = 0;
  }
}

/** The unit cannot run at all; `reply` is the error for the client. */
export class Refusal extends Error {
  override readonly name = "Refusal";
  readonly reply: string;

  constructor(reply: string) {
    super(reply);
    this.reply = reply;
  }
}

/** The refusal that slow work has ended with: the next run of its unit throws it. Any other error is thrown at once. */
export function refusalOf(error: unknown): Refusal {
  if (error instanceof Refusal) return error;
  throw error;
}

export const OUT_OF_MEMORY = new Refusal(
  "OOM the values of this command need more memory than maxmemory leaves for them",
);
export const TOO_LARGE = new Refusal("ERR the transaction is larger than one log segment");
/** The store takes no units now: a node changes its role. Seen only by what runs beside commands. */
export const SUSPENDED = new Refusal("TRYAGAIN the node changes its role");
