/**
 * A client library under test: it runs the features that it has against a cluster, and writes while a writer is killed.
 *
 *     run(context)    feature ─► "" (it works) or what went wrong; a feature that the client lacks is missing
 *     write(load)     one SET after the other, each of a new key, until stopped
 */
import { runCommand } from "../support/managed-dkv.ts";

export const FEATURES = [
  "singles",
  "pipelines",
  "mixed pipelines",
  "at once",
  "MULTI",
  "WATCH",
  "tagged keys",
  "untagged keys",
  "replica reads",
  "SCAN",
] as const;
export type Feature = (typeof FEATURES)[number];

export interface Context {
  /** Of all nodes. */
  readonly ports: readonly number[];
  /** Keys of both sets, of which a client that hashes as Redis does takes half to the wrong one. */
  readonly keys: readonly string[];
  /** Hash tags of both sets, likewise. */
  readonly tags: readonly string[];
  /** Keys that are there, and on all replicas, with themselves as values. */
  readonly present: readonly string[];
  /** What all of `present`, and nothing else, begins with. */
  readonly presentPrefix: string;
}

export type Outcomes = Map<Feature, string>;

/** What is to be written, and, as it goes, what was. */
export interface Load {
  /** Of all nodes; the last one lives on. */
  readonly ports: readonly number[];
  /** Of the keys. */
  readonly prefix: string;
  readonly stop: AbortSignal;
  readonly acknowledged: string[];
  readonly failures: string[];
  /** The longest time between two acknowledged writes. */
  longestMs: number;
}

export interface Subject {
  readonly name: string;
  /** Why it cannot run here; empty: it can. */
  whyMissing(): Promise<string>;
  run(context: Context): Promise<Outcomes>;
  /** undefined: it does not write by itself. */
  readonly write: ((load: Load) => Promise<void>) | undefined;
}

const FEATURE_MS_MAX = 15_000;
const CLOSE_MS_MAX = 2000;
const WRITE_MS_MAX = 10_000;

export function present(): Promise<string> {
  return Promise.resolve("");
}

/** Runs features one after the other; what does not end in time has failed. */
export async function runFeatures(
  features: Partial<Record<Feature, () => Promise<void>>>,
): Promise<Outcomes> {
  const outcomes: Outcomes = new Map();
  for (const feature of FEATURES) {
    const run = features[feature];
    if (run === undefined) continue;
    const late = Bun.sleep(FEATURE_MS_MAX).then(() => "no end");
    const done = run().then(
      () => "",
      (error: Error) => error.message || error.name,
    );
    outcomes.set(feature, await Promise.race([done, late]));
  }
  return outcomes;
}

/** Writes with a client of this process. */
export async function writeUntilStopped(
  load: Load,
  set: (key: string) => Promise<unknown>,
): Promise<void> {
  let lastMs = performance.now();
  for (let count = 0; !load.stop.aborted; count++) {
    const key = `${load.prefix}${count}`;
    const late = Bun.sleep(WRITE_MS_MAX).then(() => {
      throw new Error("no end");
    });
    try {
      await Promise.race([set(key), late]);
      load.acknowledged.push(key);
      load.longestMs = Math.max(load.longestMs, performance.now() - lastMs);
      lastMs = performance.now();
    } catch (error) {
      load.failures.push((error as Error).message);
      await Bun.sleep(5);
    }
  }
}

/** Closes what may hang when nodes are gone. */
export async function closeSoon(close: () => unknown): Promise<void> {
  await Promise.race([Promise.resolve(close()).catch(() => undefined), Bun.sleep(CLOSE_MS_MAX)]);
}

export function check(isTrue: boolean, what: string): void {
  if (!isTrue) throw new Error(what);
}

export function equal(actual: unknown, expected: unknown): void {
  if (Bun.deepEquals(actual, expected)) return;
  throw new Error(`${JSON.stringify(actual)} instead of ${JSON.stringify(expected)}`.slice(0, 300));
}

/** Whether a program runs, and says nothing bad. */
export async function whyNot(words: readonly string[], debian: string): Promise<string> {
  if (Bun.which(words[0]!) === null) return `no ${words[0]} (Debian: ${debian})`;
  const { exitCode } = await runCommand(words);
  return exitCode === 0 ? "" : `${words.join(" ")} fails (Debian: ${debian})`;
}
