/**
 * Every name that configuration accepts: dkv's own directives, Redis's others and the old names of some. What
 * they have in common, without their types; and the nearest name to a mistyped one.
 */
import { DIRECTIVES, isDirectiveName } from "./directives.ts";
import type { Kind } from "./kinds.ts";
import { REDIS_ALIASES, REDIS_DIRECTIVES } from "./redis-directives.ts";

export interface CatalogueEntry {
  /** The canonical name. */
  readonly name: string;
  readonly kind: Kind<unknown>;
  readonly default: string;
  readonly isImmutable: boolean;
  readonly isSecret: boolean;
  /** False: Redis knows it, here it has no effect. */
  readonly hasEffect: boolean;
}

/** The directive of a name in any case; undefined if there is none. */
export function lookUp(name: string): CatalogueEntry | undefined {
  const lower = name.toLowerCase();
  const canonical = REDIS_ALIASES.get(lower) ?? lower;
  if (isDirectiveName(canonical)) {
    return { ...DIRECTIVES[canonical], name: canonical, hasEffect: true };
  }
  const other = REDIS_DIRECTIVES.get(canonical);
  return other === undefined ? undefined : { ...other, name: canonical, hasEffect: false };
}

/** All accepted names, aliases included, in CONFIG GET's order. */
export const ALL_NAMES: readonly string[] = [
  ...Object.keys(DIRECTIVES),
  ...REDIS_DIRECTIVES.keys(),
  ...REDIS_ALIASES.keys(),
];

/** Arguments of a directive's default. */
export function defaultArguments(entry: CatalogueEntry): readonly string[] {
  if (!entry.kind.isList) return [entry.default];
  return entry.default === "" ? [] : entry.default.split(" ");
}

/** Levenshtein distance. O(a.length × b.length). */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const substitution = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(substitution, row[j]! + 1, next[j - 1]! + 1));
    }
    row = next;
  }
  return row[b.length]!;
}

/** The name that was probably meant; undefined if none is near. */
export function nearestName(name: string): string | undefined {
  const lower = name.toLowerCase();
  const limit = Math.max(2, Math.floor(lower.length / 3));
  let best: string | undefined;
  let bestDistance = limit + 1;
  for (const candidate of ALL_NAMES) {
    const steps = distance(lower, candidate);
    if (steps < bestDistance) {
      best = candidate;
      bestDistance = steps;
    }
  }
  return best;
}
