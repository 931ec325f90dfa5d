/** The newest topology that a node has seen. Who waits for a change is told of each one, whatever has changed. */
import type { Topology } from "./topology.ts";

export class CurrentTopology {
  #value: Topology;
  readonly #listeners = new Set<() => void>();

  constructor(value: Topology) {
    this.#value = value;
  }

  get value(): Topology {
    return this.#value;
  }

  /** Takes `topology` unless it is older than what is known. */
  update(topology: Topology): void {
    if (topology.version <= this.#value.version) return;
    this.#value = topology;
    for (const listener of [...this.#listeners]) listener();
  }

  /** Calls `listener` after each change until the returned function is called. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}
