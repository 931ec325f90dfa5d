/**
 * Who decides what is committed: the pipeline says how far the log is, the replicator how far clients may be answered.
 *
 *   pipeline: turn → frame → write ──► onWritten(index) ──► frames may be shipped
 *                              └ sync ► onDurable(index) ──► commit(index): replies leave, tables may have it
 *
 * "Durable" is as configured: with appendfsync no and everysec what is written, with always what is synced.
 * Both are called once a turn or sync, in order, with indexes that never go back but by a truncation.
 */
export interface Replicator {
  /** The log's files hold all frames up to `index`. */
  onWritten(index: number): void;
  /** They are as durable as configured on this node. */
  onDurable(index: number): void;
}

/** A node by itself: what is durable here is committed. */
export class StandaloneReplicator implements Replicator {
  readonly #commit: (index: number) => void;

  constructor(commit: (index: number) => void) {
    this.#commit = commit;
  }

  onWritten(): void {}

  onDurable(index: number): void {
    this.#commit(index);
  }
}
