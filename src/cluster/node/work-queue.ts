/**
 * Work that is done in the order in which it was asked for, one piece after the other: at once as long as nothing
 * waits, else when what comes before is done. The first piece that fails ends all of it.
 */
export type Work = () => void | Promise<void>;

export class WorkQueue {
  readonly #onError: (error: Error) => void;
  readonly #waiting: Work[] = [];
  #isBusy = false;
  #isStopped = false;

  constructor(onError: (error: Error) => void) {
    this.#onError = onError;
  }

  /** Whether the next piece would have to wait. */
  get isBusy(): boolean {
    return this.#isBusy;
  }

  add(work: Work): void {
    if (this.#isStopped) return;
    this.#waiting.push(work);
    if (!this.#isBusy) this.#run();
  }

  /** What waits is dropped, and what runs is the last. */
  stop(): void {
    this.#isStopped = true;
    this.#waiting.length = 0;
  }

  #run(): void {
    this.#isBusy = true;
    try {
      for (let work = this.#waiting.shift(); work !== undefined; work = this.#waiting.shift()) {
        const done = work();
        if (done === undefined) continue;
        done.then(
          () => this.#run(),
          (error: Error) => this.#fail(error),
        );
        return;
      }
    } catch (error) {
      this.#fail(error as Error);
    }
    this.#isBusy = false;
  }

  #fail(error: Error): void {
    if (this.#isStopped) return;
    this.stop();
    this.#onError(error);
  }
}
