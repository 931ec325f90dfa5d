/**
 * Where settings come from: a file in redis.conf's syntax, the environment and the command line. Each source gives
 * assignments in the order in which they apply; a later one wins, and file < environment < command line.
 *
 *     dkv [file | -] [--name value …] [--name=value] …        "-" reads the file from standard input
 *     DKV_<NAME>=value      dashes become underscores: DKV_MAXCLIENTS, DKV_MIN_FREE_DISK
 *     DKV_<NAME>_FILE=path  for secrets: the value is the file's content
 */
import * as fs from "node:fs";
import * as path from "node:path";
import { StartupError } from "../base/errors.ts";
import { ALL_NAMES, lookUp, nearestName } from "./catalogue.ts";
import { quoteArgument, splitArguments } from "./quoting.ts";
import { UNSUPPORTED } from "./redis-directives.ts";

export interface Assignment {
  readonly name: string;
  readonly args: readonly string[];
  /** For messages: `/etc/dkv.conf:12`, `command line`, `environment variable DKV_PORT`. */
  readonly place: string;
  readonly source: "file" | "environment" | "flags";
}

export const STDIN = "-";
const INCLUDE_DEPTH_MAX = 16;
const STDIN_DESCRIPTOR = 0;

/** Redis's layout of a fatal configuration error. */
export function configurationError(place: string, line: string, reason: string): StartupError {
  return new StartupError(
    `FATAL CONFIG FILE ERROR (dkv)\nReading the configuration, at ${place}\n>>> '${line}'\n${reason}`,
  );
}

/** The line of an assignment as messages may show it: without a secret, however its name was mistyped. */
export function displayLine(assignment: Assignment): string {
  const { name, args } = assignment;
  const entry = lookUp(name) ?? lookUp(nearestName(name) ?? "");
  const shown = entry?.isSecret === true ? args.map(() => "***") : args.map(quoteArgument);
  return [name, ...shown].join(" ");
}

function readText(file: string): string {
  try {
    return fs.readFileSync(file === STDIN ? STDIN_DESCRIPTOR : file, "utf8");
  } catch (cause) {
    const isMissing = (cause as NodeJS.ErrnoException).code === "ENOENT";
    const reason = isMissing ? "No such file or directory" : (cause as Error).message;
    throw new StartupError(`Fatal error, can't open config file '${file}': ${reason}`, { cause });
  }
}

/** Files named by an include: relative to the including file, `*` and `?` in the last part of the path. */
function includedFiles(pattern: string, from: string): string[] {
  const base = from === STDIN ? process.cwd() : path.dirname(from);
  const full = path.resolve(base, pattern);
  if (!/[*?[]/.test(path.basename(full))) return [full];
  const directory = path.dirname(full);
  return [...new Bun.Glob(path.basename(full)).scanSync({ cwd: directory, onlyFiles: true })]
    .sort()
    .map((name) => path.join(directory, name));
}

function readLines(file: string, stack: readonly string[], out: Assignment[]): void {
  readText(file)
    .split("\n")
    .forEach((raw, index) => {
      const line = raw.trim();
      if (line === "" || line.startsWith("#")) return;
      const place = `${file === STDIN ? "standard input" : file}:${index + 1}`;
      const args = splitArguments(line);
      if (args === undefined) {
        const name = line.split(/\s/, 1)[0]!;
        throw configurationError(place, `${name} …`, "Unbalanced quotes in configuration line");
      }
      const [name, ...rest] = args;
      if (name!.toLowerCase() !== "include") {
        out.push({ name: name!, args: rest, place, source: "file" });
        return;
      }
      if (rest.length === 0) throw configurationError(place, line, "wrong number of arguments");
      for (const included of rest.flatMap((pattern) => includedFiles(pattern, file))) {
        if (stack.includes(included))
          throw configurationError(place, line, "a file includes itself");
        if (stack.length === INCLUDE_DEPTH_MAX) {
          throw configurationError(place, line, "includes are nested too deeply");
        }
        readLines(included, [...stack, included], out);
      }
    });
}

export function readFileSource(file: string): Assignment[] {
  const out: Assignment[] = [];
  readLines(file, [file], out);
  return out;
}

const VARIABLE_PREFIX = "DKV_";
const FILE_SUFFIX = "_FILE";
/** Used by tools, by the tests and by assertions, not settings. */
const OTHER_VARIABLES = /^DKV_(COMMAND|CLI_.*|INVARIANTS|TEST_.*|FUZZ_.*|MODEL_.*|BENCH_.*)$/;
/** Kubernetes sets such variables in every pod beside a service that is called dkv. */
const SERVICE_LINK = /^DKV_(SERVICE_.*|PORT_\d+_.*)$/;
const SERVICE_ADDRESS = /^(tcp|udp|sctp):\/\//;

const toVariable = (name: string) => VARIABLE_PREFIX + name.replaceAll("-", "_").toUpperCase();

interface EnvironmentSource {
  readonly assignments: readonly Assignment[];
  readonly warnings: readonly string[];
}

function readSecret(variable: string, file: string): string {
  try {
    return fs.readFileSync(file, "utf8").replace(/\r?\n$/, "");
  } catch (cause) {
    throw new StartupError(`${variable}: cannot read ${file}: ${(cause as Error).message}`, {
      cause,
    });
  }
}

/** Variables with the prefix that are meant for something else. */
function isForeign(variable: string, value: string): boolean {
  if (OTHER_VARIABLES.test(variable) || SERVICE_LINK.test(variable)) return true;
  return variable === "DKV_PORT" && SERVICE_ADDRESS.test(value);
}

const VARIABLES = new Map(ALL_NAMES.map((name) => [toVariable(name), name]));

/** The assignment that a variable makes; undefined if its name is no directive's. */
function assignmentOf(variable: string, value: string): Assignment | undefined {
  const place = `environment variable ${variable}`;
  const direct = VARIABLES.get(variable);
  if (direct !== undefined) {
    const args = lookUp(direct)?.kind.isList === true ? splitArguments(value) : [value];
    if (args === undefined) throw configurationError(place, direct, "Unbalanced quotes");
    return { name: direct, args, place, source: "environment" };
  }
  if (!variable.endsWith(FILE_SUFFIX)) return undefined;
  const name = VARIABLES.get(variable.slice(0, -FILE_SUFFIX.length));
  if (name === undefined || lookUp(name)?.isSecret !== true) return undefined;
  return { name, args: [readSecret(variable, value)], place, source: "environment" };
}

export function readEnvironment(
  environment: Readonly<Record<string, string | undefined>>,
): EnvironmentSource {
  const assignments: Assignment[] = [];
  const warnings: string[] = [];
  for (const variable of Object.keys(environment).sort()) {
    const value = environment[variable];
    if (!variable.startsWith(VARIABLE_PREFIX) || value === undefined || value === "") continue;
    if (isForeign(variable, value)) continue;
    const assignment = assignmentOf(variable, value);
    if (assignment === undefined) {
      warnings.push(`environment variable ${variable} is no directive and was ignored`);
      continue;
    }
    const rival = assignments.find((other) => other.name === assignment.name);
    if (rival !== undefined) {
      throw new StartupError(`${assignment.place} and ${rival.place} set the same directive`);
    }
    assignments.push(assignment);
  }
  return { assignments, warnings };
}

export interface FlagSource {
  /** First argument if it is a file; STDIN for "-". */
  readonly file: string | undefined;
  readonly assignments: readonly Assignment[];
}

/** Command line: `[file | -] --name value value … --name=value`. */
export function readFlags(argv: readonly string[]): FlagSource {
  const [first] = argv;
  const hasFile = first !== undefined && (first === STDIN || !first.startsWith("-"));
  const file = !hasFile || first === STDIN ? first : path.resolve(first);
  const assignments: Assignment[] = [];
  let args: string[] = [];
  for (const argument of hasFile ? argv.slice(1) : argv) {
    if (!argument.startsWith("--")) {
      if (assignments.length === 0) {
        throw new StartupError(`'${argument}' is not expected here; try --help`);
      }
      args.push(argument);
      continue;
    }
    const equals = argument.indexOf("=");
    const name = equals === -1 ? argument.slice(2) : argument.slice(2, equals);
    args = equals === -1 ? [] : [argument.slice(equals + 1)];
    assignments.push({ name, args, place: "command line", source: "flags" });
  }
  return { file: hasFile ? file : undefined, assignments };
}

/** Why a directive is refused: unknown names come with the nearest known one. */
export function refusal(name: string): string {
  const unsupported = UNSUPPORTED.get(name.toLowerCase());
  if (unsupported !== undefined) return `not supported by dkv: ${unsupported}`;
  const nearest = nearestName(name);
  const hint = nearest === undefined ? "" : `. Did you mean '${nearest}'?`;
  return `Bad directive or wrong number of arguments${hint}`;
}
