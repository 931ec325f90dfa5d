/** Asks every node for its role, again and again, and counts how often a replica became the writer. */
import { roleOf } from "./cluster-view.ts";
import type { LabNode } from "./target.ts";

const POLL_MS = 150;

export class FailoverMonitor {
  readonly #watching: readonly Promise<void>[];
  #isStopping = false;
  #count = 0;

  constructor(nodes: readonly LabNode[]) {
    this.#watching = nodes.map((node) => this.#watch(node));
  }

  get count(): number {
    return this.#count;
  }

  async stop(): Promise<void> {
    this.#isStopping = true;
    await Promise.all(this.#watching);
  }

  async #watch(node: LabNode): Promise<void> {
    let last: "writer" | "replica" | undefined;
    while (!this.#isStopping) {
      const { role } = await roleOf(node);
      if (last === "replica" && role === "writer") this.#count++;
      last = role ?? last;
      await Bun.sleep(POLL_MS);
    }
  }
}
