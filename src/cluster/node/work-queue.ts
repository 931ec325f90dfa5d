/**
 * Work that is done in the order in which it was asked for, one piece after the other: at once as long as nothing
 * waits, else when what comes before is done. The first piece that fails ends all of it.
 */
export type Work = () => void | Promise<void>;

export class WorkQueue {
  readonly #onError: (error: Error) => void;
  readonly #waiting: Work[] = [];
  #running: Promise<void> | undefined = undefined;
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

  /** What waits is dropped, and what runs is the last; done when that is. */
  stop(): Promise<void> {
    this.#isStopped = true;
    this.#waiting.length = 0;
    return this.#running ?? Promise.resolve();
  }

  #run(): void {
    this.#running = undefined;
    this.#isBusy = true;
    try {
      for (let work = this.#waiting.shift(); work !== undefined; work = this.#waiting.shift()) {
        const done = work();
        if (done === undefined) continue;
        this.#running = done.then(
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
    this.#running = undefined;
    if (this.#isStopped) return;
    void this.stop();
    this.#onError(error);
  }
}
