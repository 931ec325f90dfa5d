/**
 * The configuration of a running server: every directive's value, checked and typed; what CONFIG GET, SET and
 * REWRITE do, with Redis's words for what clients get wrong. Texts of errors come without the leading `-`.
 *
 * Invariant: every directive of the catalogue has a value, whether it was given or not.
 */
import * as fs from "node:fs";
import { ALL_NAMES, type CatalogueEntry, defaultArguments, lookUp } from "./catalogue.ts";
import type { DirectiveName, Values } from "./directives.ts";
import { matchesGlob } from "./glob.ts";
import type { Parsed } from "./kinds.ts";
import { defaultBudgetBytes, type MachineView, thisMachine } from "./memory-limit.ts";
import { quoteArgument } from "./quoting.ts";
import { type Change, replaceFile, rewriteText } from "./rewrite.ts";
import {
  type Assignment,
  configurationError,
  displayLine,
  readEnvironment,
  readFileSource,
  readFlags,
  refusal,
  STDIN,
} from "./sources.ts";

export interface ConfigSources {
  /** Arguments behind the program's name. */
  readonly argv: readonly string[];
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly machine?: MachineView;
}

type Listener<T> = (value: T) => void;

interface Slot {
  readonly entry: CatalogueEntry;
  value: unknown;
}

function parseArguments(
  entry: CatalogueEntry,
  args: readonly string[],
  previous: unknown,
): Parsed<unknown> {
  return entry.kind.parse(args, previous);
}

function initialSlots(): Map<string, Slot> {
  const slots = new Map<string, Slot>();
  for (const name of ALL_NAMES) {
    const entry = lookUp(name)!;
    if (slots.has(entry.name)) continue;
    const parsed = parseArguments(entry, defaultArguments(entry), undefined);
    if ("error" in parsed) throw new Error(`default of ${name}: ${parsed.error}`);
    slots.set(entry.name, { entry, value: parsed.value });
  }
  return slots;
}

export class Config {
  /** Absolute path of the configuration file; undefined without one or when it was standard input. */
  readonly file: string | undefined;
  /** What should be logged once at start: directives without effect and the like. */
  readonly warnings: readonly string[];
  /** maxmemory, or what was derived for it: the budget of the whole process. */
  readonly memoryBytes: number;
  readonly #slots = initialSlots();
  /** Invariant: holds the value of every directive in #slots; read by constant name, so a plain object. */
  readonly #values: Record<string, unknown> = {};
  /** Canonical names that CONFIG SET changed since the start. */
  readonly #changed = new Set<string>();
  readonly #listeners = new Map<string, Listener<unknown>[]>();
  /** Why directives that can be set elsewhere cannot be set in this process. */
  readonly #frozen = new Map<string, string>();

  /** Reads all sources. Throws StartupError for whatever is wrong with one of them. */
  static load(sources: ConfigSources): Config {
    const flags = readFlags(sources.argv);
    const environment = readEnvironment(sources.environment);
    const fromFile = flags.file === undefined ? [] : readFileSource(flags.file);
    return new Config({
      file: flags.file === STDIN ? undefined : flags.file,
      assignments: [...fromFile, ...environment.assignments, ...flags.assignments],
      warnings: environment.warnings,
      machine: sources.machine ?? thisMachine(),
    });
  }

  private constructor(options: {
    file: string | undefined;
    assignments: readonly Assignment[];
    warnings: readonly string[];
    machine: MachineView;
  }) {
    this.file = options.file;
    const warnings = [...options.warnings];
    const withoutEffect = new Set<string>();
    for (const assignment of options.assignments) {
      const entry = this.#assign(assignment);
      if (entry.hasEffect || withoutEffect.has(entry.name)) continue;
      withoutEffect.add(entry.name);
      warnings.push(`directive '${entry.name}' has no effect in dkv (${assignment.place})`);
    }
    this.warnings = warnings;
    for (const [name, slot] of this.#slots) this.#values[name] = slot.value;
    this.memoryBytes = this.get("maxmemory") || defaultBudgetBytes(options.machine);
  }

  #assign(assignment: Assignment): CatalogueEntry {
    const { name, args, place } = assignment;
    const slot = this.#slotOf(name);
    if (slot === undefined) {
      throw configurationError(place, displayLine(assignment), refusal(name));
    }
    const parsed = parseArguments(slot.entry, args, slot.value);
    if ("error" in parsed) {
      throw configurationError(place, displayLine(assignment), parsed.error);
    }
    slot.value = parsed.value;
    return slot.entry;
  }

  #slotOf(name: string): Slot | undefined {
    const entry = lookUp(name);
    return entry === undefined ? undefined : this.#slots.get(entry.name);
  }

  /** A directive's typed value. One property read: cheap enough for every command. */
  get<Name extends DirectiveName>(name: Name): Values[Name] {
    return (this.#values as Values)[name];
  }

  /** What CONFIG GET prints for a name, an alias included; undefined for a name that is none. */
  getString(name: string): string | undefined {
    const slot = this.#slotOf(name);
    return slot === undefined ? undefined : slot.entry.kind.format(slot.value);
  }

  /** CONFIG GET: names and values for patterns in any case; each once, like Redis. */
  match(patterns: readonly string[]): [string, string][] {
    const globs = patterns.map((pattern) => pattern.toLowerCase());
    return ALL_NAMES.filter((name) => globs.some((glob) => matchesGlob(glob, name))).map((name) => [
      name,
      this.getString(name)!,
    ]);
  }

  /** CONFIG SET: all of them, or none and the error's text. Listeners run after all values are in place. */
  set(pairs: readonly (readonly [name: string, value: string])[]): string | undefined {
    const planned = new Map<Slot, unknown>();
    // Redis names an unknown directive before it complains about the value of a known one.
    for (const [name] of pairs) {
      if (this.#slotOf(name) !== undefined) continue;
      return `ERR Unknown option or number of arguments for CONFIG SET - '${name}'`;
    }
    for (const [name, value] of pairs) {
      const slot = this.#slotOf(name)!;
      const problem = this.#plan(slot, value, planned);
      if (problem === undefined) continue;
      return `ERR CONFIG SET failed (possibly related to argument '${name}') - ${problem}`;
    }
    for (const [slot, value] of planned) {
      slot.value = value;
      this.#values[slot.entry.name] = value;
      this.#changed.add(slot.entry.name);
    }
    for (const [slot, value] of planned) {
      for (const listener of this.#listeners.get(slot.entry.name) ?? []) listener(value);
    }
    return undefined;
  }

  /** From now on CONFIG SET refuses the directive, and says why. */
  freeze(name: DirectiveName, reason: string): void {
    this.#frozen.set(name, reason);
  }

  #plan(slot: Slot, value: string, planned: Map<Slot, unknown>): string | undefined {
    if (slot.entry.isImmutable) return "can't set immutable config";
    const frozen = this.#frozen.get(slot.entry.name);
    if (frozen !== undefined) return frozen;
    if (planned.has(slot)) return "duplicate parameter";
    const parsed = parseArguments(slot.entry, [value], slot.value);
    if ("error" in parsed) return parsed.error;
    planned.set(slot, parsed.value);
    return undefined;
  }

  /** Calls `listener` with the new value after every CONFIG SET of the directive. */
  onChange<Name extends DirectiveName>(name: Name, listener: Listener<Values[Name]>): void {
    const list = this.#listeners.get(name) ?? [];
    list.push(listener as Listener<unknown>);
    this.#listeners.set(name, list);
  }

  /**
   * CONFIG REWRITE: writes what CONFIG SET changed into the file. Values of the environment and the command line
   * are not copied there: they apply again at the next start. The error's text, or undefined.
   */
  rewrite(): string | undefined {
    if (this.file === undefined) return "ERR The server is running without a config file";
    const changes = new Map<string, Change>();
    for (const name of this.#changed) changes.set(name, this.#changeOf(this.#slots.get(name)!));
    try {
      replaceFile(this.file, rewriteText(fs.readFileSync(this.file, "utf8"), changes));
    } catch (cause) {
      return `ERR Rewriting config file: ${(cause as Error).message}`;
    }
    return undefined;
  }

  #changeOf(slot: Slot): Change {
    const { entry, value } = slot;
    const text = entry.kind.format(value);
    const initial = parseArguments(entry, defaultArguments(entry), undefined);
    const words = entry.kind.isList && text !== "" ? text : quoteArgument(text);
    return {
      line: `${entry.name} ${words}`,
      isDefault: "value" in initial && entry.kind.format(initial.value) === text,
    };
  }
}
