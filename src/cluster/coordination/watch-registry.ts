/** Watches as the process sees them: who is called once when a document, or a list of children, may have changed. */

export type WatchKind = "document" | "children";

export class WatchRegistry {
  readonly #armed: Record<WatchKind, Map<string, Set<() => void>>> = {
    document: new Map(),
    children: new Map(),
  };

  arm(kind: WatchKind, path: string, onChange: () => void): void {
    const armed = this.#armed[kind];
    const callbacks = armed.get(path) ?? new Set();
    armed.set(path, callbacks.add(onChange));
  }

  fire(kind: WatchKind, path: string): void {
    const callbacks = this.#armed[kind].get(path);
    this.#armed[kind].delete(path);
    // Later: what they call must not run in the middle of a reply that is being taken apart.
    for (const onChange of callbacks ?? []) queueMicrotask(onChange);
  }

  /** After a gap nobody knows what changed. */
  fireAll(): void {
    for (const kind of ["document", "children"] as const) {
      for (const path of [...this.#armed[kind].keys()]) this.fire(kind, path);
    }
  }

  clear(): void {
    this.#armed.document.clear();
    this.#armed.children.clear();
  }
}
