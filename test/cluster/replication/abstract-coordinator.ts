/**
 * A coordinator with one document: conditional writes that take effect at some moment between call and answer, or
 * after an answer "unknown"; reads that may be stale; watches that may be lost.
 */
import type { ReplicaSetDocument } from "../../../src/cluster/replication/document-register.ts";
import type { DocumentWriteResult } from "../../../src/cluster/replication/event.ts";
import type { Random, Scheduler } from "./simulation.ts";

export interface CoordinatorFaults {
  unknown: number;
  unavailable: number;
  stale: number;
  lostWatch: number;
}

export class AbstractCoordinator {
  readonly #scheduler: Scheduler;
  readonly #random: Random;
  readonly #history: { document: ReplicaSetDocument; at: number }[] = [];
  readonly faults: CoordinatorFaults = { unknown: 0, unavailable: 0, stale: 0, lostWatch: 0 };
  isDown = false;
  onChange: (document: ReplicaSetDocument, version: number) => void = () => {};

  constructor(scheduler: Scheduler, random: Random, document: ReplicaSetDocument) {
    this.#scheduler = scheduler;
    this.#random = random;
    this.#history.push({ document, at: 0 });
  }

  get document(): ReplicaSetDocument {
    return this.#history.at(-1)!.document;
  }

  /** Versions count from 0. */
  get version(): number {
    return this.#history.length - 1;
  }

  read(reachable: () => boolean, answer: (d: ReplicaSetDocument, version: number) => void): void {
    this.#scheduler.after(this.#random.between(0.5, 5), () => {
      if (this.isDown || !reachable()) return;
      let version = this.version;
      if (this.#random.chance(this.faults.stale))
        while (version > 0 && this.#history[version]!.at > this.#scheduler.now - 1000) version--;
      const { document } = this.#history[version]!;
      this.#scheduler.after(this.#random.between(0.5, 5), () => answer(document, version));
    });
  }

  write(
    document: ReplicaSetDocument,
    version: number,
    reachable: () => boolean,
    answer: (result: DocumentWriteResult, version: number) => void,
  ): void {
    const random = this.#random;
    const scheduler = this.#scheduler;
    if (this.isDown || !reachable() || random.chance(this.faults.unavailable)) {
      const mayArrive = !this.isDown && random.chance(0.5);
      scheduler.after(random.between(1, 300), () =>
        answer(mayArrive ? "unknown" : "unavailable", -1),
      );
      if (mayArrive && random.chance(0.5))
        scheduler.after(random.between(1, 2000), () => this.apply(document, version));
      return;
    }
    if (random.chance(this.faults.unknown)) {
      scheduler.after(random.between(1, 300), () => answer("unknown", -1));
      if (random.chance(0.7))
        scheduler.after(random.between(1, 2000), () => this.apply(document, version));
      return;
    }
    scheduler.after(random.between(0.5, 5), () => {
      const isApplied = this.apply(document, version);
      const newVersion = this.version;
      scheduler.after(random.between(0.5, 5), () => {
        if (isApplied) answer("ok", newVersion);
        else answer("conflict", -1);
      });
    });
  }

  /** Applies the write now if its version is the current one. */
  apply(document: ReplicaSetDocument, version: number): boolean {
    if (version !== this.version) return false;
    this.#history.push({ document, at: this.#scheduler.now });
    this.onChange(document, this.version);
    return true;
  }
}
