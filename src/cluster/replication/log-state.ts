/**
 * What the core knows of this node's log:
 *
 *   first retained ≤ … ≤ commit ≤ durable ≤ last        commit ≤ durable holds for what this node itself synced; a
 *                                                       replica may learn that a frame is committed before it is
 *                                                       durable here: then Q others have it
 *
 * A truncation takes time and nothing is appended or acknowledged meanwhile. It begins a new generation, as do begin and
 * end of a checkpoint's installation: a sync that began in one says nothing about the frames of the next.
 *
 * Invariant I7: the commit index only grows, and no truncation goes below it.
 */
import { assert } from "../../base/assert.ts";
import type { Outbox } from "./action.ts";
import { EpochTable } from "./epoch-table.ts";
import type { Boot } from "./event.ts";

export class LogState {
  readonly #out: Outbox;
  #table: EpochTable;
  #durable: number;
  #commit: number;
  #generation = 0;
  #isTruncating = false;
  #isComplete: boolean;
  firstRetained: number;

  constructor(boot: Boot, out: Outbox) {
    this.#out = out;
    this.#table = new EpochTable(boot.runs, boot.last);
    this.#durable = boot.last;
    this.#commit = boot.commit;
    this.#isComplete = boot.isComplete;
    this.firstRetained = boot.firstRetained;
    assert(boot.firstRetained <= boot.commit + 1, "deleted frames that may not be committed");
    assert(boot.commit <= boot.last, "a log that ends before what is committed");
  }

  get table(): EpochTable {
    return this.#table;
  }
  get lastIndex(): number {
    return this.#table.lastIndex;
  }
  get durable(): number {
    return this.#durable;
  }
  get commit(): number {
    return this.#commit;
  }
  get generation(): number {
    return this.#generation;
  }
  /** Whether the log can be appended to and spoken of: no truncation and no checkpoint is under way. */
  get isSteady(): boolean {
    return this.#isComplete && !this.#isTruncating;
  }
  /** False while a checkpoint is installed: what is on disk is not a log. */
  get isComplete(): boolean {
    return this.#isComplete;
  }
  get isDurable(): boolean {
    return this.#durable === this.lastIndex;
  }

  /** Frames of `epoch` up to `last` are in the log. */
  append(epoch: number, last: number): void {
    assert(this.isSteady, "an append during a truncation");
    this.#table.append(epoch, last);
  }

  /** Drops the frames behind `last`; false when that cannot be right, and the node must halt. */
  truncate(last: number): boolean {
    assert(this.isSteady, "a truncation during another");
    if (last < this.#commit) {
      const reason = `the log would be truncated to ${last}, but ${this.#commit} is committed`;
      this.#out.push({ type: "halt", reason });
      return false;
    }
    this.#table.truncate(last);
    this.#durable = Math.min(this.#durable, last);
    this.#generation++;
    this.#isTruncating = true;
    this.#out.push({ type: "truncate", last, generation: this.#generation });
    return true;
  }

  onTruncated(generation: number): void {
    if (generation === this.#generation) this.#isTruncating = false;
  }

  onDurable(index: number, generation: number): void {
    if (generation !== this.#generation || !this.#isComplete) return;
    assert(index <= this.lastIndex, "more is durable than there is");
    this.#durable = Math.max(this.#durable, index);
  }

  /** Everything up to `index` is committed. */
  advanceCommit(index: number): void {
    assert(index <= this.lastIndex, "a commit of what the log does not have");
    if (index <= this.#commit) return;
    this.#commit = index;
    this.#out.push({ type: "commit", index });
  }

  /** REQUIRES: no truncation is under way. */
  beginCheckpoint(): void {
    assert(!this.#isTruncating, "a checkpoint during a truncation");
    this.#isComplete = false;
    this.#generation++;
  }

  /** The log goes on behind a checkpoint, whose frames are all committed. */
  installCheckpoint(table: EpochTable): void {
    assert(!this.#isComplete, "a checkpoint that was not begun");
    assert(table.lastIndex >= this.#commit, "a checkpoint older than what is committed");
    this.#table = table;
    this.#durable = table.lastIndex;
    this.#commit = table.lastIndex;
    this.firstRetained = table.lastIndex + 1;
    this.#generation++;
    this.#isComplete = true;
  }
}
