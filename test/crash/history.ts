/**
 * What was done to a store, unit by unit, and which prefix of it another store shows.
 *
 * A value is known by its length and hash. A key whose expiry has come counts as absent.
 */
export interface Entry {
  readonly digest: string;
  /** Milliseconds since the epoch; 0: never. */
  readonly expiry: number;
}

/** Stands among the keys for the slots that are on the move, or have left: no key is named so. */
export const MOVES_KEY = "(moves)";

export type Contents = ReadonlyMap<string, Entry>;

/** One indivisible unit: what it did to each key, or the deletion of all. */
export interface Unit {
  readonly changes: readonly (readonly [string, Entry | undefined])[] | "all";
  /** Frame that its reply waits for. */
  readonly tag: number;
}

export function digestOf(bytes: Uint8Array): string {
  return `${bytes.length}:${Bun.hash(bytes)}`;
}

/** When the contents are looked at. */
export interface Moment {
  /** The store's time. */
  readonly nowMs: number;
  /** The latest time that anybody has seen; later than `nowMs` when the wall clock went back. */
  readonly latestMs: number;
}

function isExpired(entry: Entry, ms: number): boolean {
  return entry.expiry !== 0 && entry.expiry <= ms;
}

/** Whether a store may show `actual` for what the history says is `expected`. */
function agrees(expected: Entry | undefined, actual: Entry | undefined, moment: Moment): boolean {
  if (expected === undefined || isExpired(expected, moment.nowMs)) {
    return actual === undefined || isExpired(actual, moment.nowMs);
  }
  // Its time had come before the clock went back, and it may have been removed.
  if (actual === undefined) return isExpired(expected, moment.latestMs);
  return actual.digest === expected.digest && actual.expiry === expected.expiry;
}

function describe(entry: Entry | undefined): string {
  return entry === undefined ? "absent" : `${entry.digest} until ${entry.expiry}`;
}

export function applyUnit(contents: Map<string, Entry>, unit: Unit): void {
  if (unit.changes === "all") {
    for (const key of contents.keys()) if (key !== MOVES_KEY) contents.delete(key);
    return;
  }
  for (const [key, entry] of unit.changes) {
    if (entry === undefined) contents.delete(key);
    else contents.set(key, entry);
  }
}

export function contentsAfter(units: readonly Unit[], count: number): Map<string, Entry> {
  const contents = new Map<string, Entry>();
  for (let i = 0; i < count; i++) applyUnit(contents, units[i]!);
  return contents;
}

/** Every key that the history names. */
export function keysOf(units: readonly Unit[]): Set<string> {
  const keys = new Set<string>();
  for (const { changes } of units) {
    if (changes !== "all") for (const [key] of changes) keys.add(key);
  }
  return keys;
}

/** Keys that differ, for messages. */
export function differences(expected: Contents, actual: Contents, moment: Moment): string[] {
  return [...new Set([...expected.keys(), ...actual.keys()])]
    .filter((key) => !agrees(expected.get(key), actual.get(key), moment))
    .map(
      (key) =>
        `${key}: ${describe(expected.get(key))} expected, ${describe(actual.get(key))} found`,
    );
}

/**
 * The longest prefix of the history, of at least `atLeast` units, that `actual` shows; or the nearest one. `keysMax`:
 * most keys that such a prefix has, expired ones included.
 */
export function matchingPrefix(
  units: readonly Unit[],
  atLeast: number,
  actual: Contents,
  moment: Moment,
): { readonly count: number; readonly differing: number; readonly keysMax: number } {
  const contents = contentsAfter(units, atLeast);
  const different = new Set<string>();
  const compare = (key: string): void => {
    if (agrees(contents.get(key), actual.get(key), moment)) different.delete(key);
    else different.add(key);
  };
  for (const key of contents.keys()) compare(key);
  for (const key of actual.keys()) compare(key);
  let best = { count: atLeast, differing: different.size, keysMax: keysIn(contents) };
  for (let i = atLeast; i < units.length; i++) {
    const { changes } = units[i]!;
    const touched = changes === "all" ? [...contents.keys()] : changes.map(([key]) => key);
    applyUnit(contents, units[i]!);
    for (const key of touched) compare(key);
    const differing = different.size;
    if (differing > best.differing) continue;
    const keysMax = differing < best.differing ? 0 : best.keysMax;
    best = { count: i + 1, differing, keysMax: Math.max(keysMax, keysIn(contents)) };
  }
  return best;
}

export function keysIn(contents: Contents): number {
  return contents.size - (contents.has(MOVES_KEY) ? 1 : 0);
}
