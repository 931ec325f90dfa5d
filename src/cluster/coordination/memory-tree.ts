/**
 * The documents of an ensemble in memory, and what an operation does to them: ZooKeeper's rules, without time and
 * sessions. Documents are immutable, so a copy of the map is a snapshot.
 */
import {
  type ConflictCause,
  type Lifetime,
  type MultiConflict,
  type Operation,
  parentOf,
} from "./coordinator.ts";

export interface TreeDocument {
  readonly data: Uint8Array;
  readonly version: number;
  readonly creationId: string;
  readonly lifetime: Lifetime;
  /** The session that an ephemeral document ends with. */
  readonly owner: number;
}

export type TreeView = ReadonlyMap<string, TreeDocument>;

/** What watches are about: the document itself changed, or a child of it came or went. */
export interface TreeChange {
  readonly path: string;
  readonly children: boolean;
  readonly document: boolean;
}

export function childrenOf(view: TreeView, path: string): string[] {
  const names: string[] = [];
  for (const other of view.keys()) {
    if (other !== "/" && parentOf(other) === path)
      names.push(other.slice(other.lastIndexOf("/") + 1));
  }
  return names.sort();
}

export class MemoryTree {
  #documents = new Map<string, TreeDocument>();
  #transaction = 0;

  constructor() {
    this.#documents.set("/", this.#made(new Uint8Array(0), "durable", 0));
  }

  get view(): TreeView {
    return this.#documents;
  }

  /** All or nothing. */
  apply(operations: readonly Operation[], session: number): TreeChange[] | MultiConflict {
    const before = this.#documents;
    this.#documents = new Map(before);
    this.#transaction++;
    const changes: TreeChange[] = [];
    for (const [index, operation] of operations.entries()) {
      const cause = this.#applyOne(operation, session, changes);
      if (cause === undefined) continue;
      this.#documents = before;
      return { kind: "conflict", cause, index };
    }
    return changes;
  }

  removeEphemerals(session: number): TreeChange[] {
    const ending = [...this.#documents].filter(([, document]) => document.owner === session);
    const operations = ending.map(([path, { version }]) => ({
      kind: "remove" as const,
      path,
      version,
    }));
    const changes = this.apply(operations, 0);
    return Array.isArray(changes) ? changes : [];
  }

  #applyOne(
    operation: Operation,
    session: number,
    changes: TreeChange[],
  ): ConflictCause | undefined {
    const { path } = operation;
    const found = this.#documents.get(path);
    if (operation.kind === "create") {
      const parent = this.#documents.get(parentOf(path));
      if (found !== undefined) return "exists";
      if (parent === undefined) return "missing";
      if (parent.lifetime === "ephemeral") return "children";
      this.#documents.set(path, this.#made(operation.data, operation.lifetime, session));
      changes.push({ path, document: true, children: false });
      changes.push({ path: parentOf(path), document: false, children: true });
      return undefined;
    }
    if (found === undefined) return "missing";
    if (found.version !== operation.version) return "version";
    if (operation.kind === "write") {
      const data = operation.data.slice();
      this.#documents.set(path, { ...found, data, version: found.version + 1 });
      changes.push({ path, document: true, children: false });
    } else if (operation.kind === "remove") {
      if (path === "/" || childrenOf(this.#documents, path).length > 0) return "children";
      this.#documents.delete(path);
      changes.push({ path, document: true, children: true });
      changes.push({ path: parentOf(path), document: false, children: true });
    }
    return undefined;
  }

  #made(data: Uint8Array, lifetime: Lifetime, session: number): TreeDocument {
    const owner = lifetime === "ephemeral" ? session : 0;
    const creationId = this.#transaction.toString(16).padStart(16, "0");
    return { data: data.slice(), version: 0, creationId, lifetime, owner };
  }
}
