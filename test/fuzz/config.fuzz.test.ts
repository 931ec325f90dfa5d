/**
 * The configuration on random files, flags and variables: it loads or throws StartupError, never anything else; what it
 * loads, CONFIG GET prints in a form that loads to the same again; and any argument survives quoting.
 * Runs: 10 × DKV_FUZZ_RUNS (default 40); a failure prints its seed.
 */
import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { StartupError } from "../../src/base/errors.ts";
import { ALL_NAMES, lookUp } from "../../src/config/catalogue.ts";
import { Config } from "../../src/config/config.ts";
import { DIRECTIVE_NAMES } from "../../src/config/directives.ts";
import { quoteArgument, splitArguments } from "../../src/config/quoting.ts";

const RUNS = 10 * Number(process.env["DKV_FUZZ_RUNS"] ?? 40);
const SEED = process.env["DKV_FUZZ_SEED"];
const TIMEOUT_MS = 3_600_000;
const parameters = { numRuns: RUNS, ...(SEED === undefined ? {} : { seed: Number(SEED) }) };
const directory = mkdtempSync(join(tmpdir(), "dkv-config-fuzz-"));
const file = join(directory, "dkv.conf");
const machine = { read: () => undefined, totalBytes: 10 * 1024 ** 3 };
afterAll(() => rmSync(directory, { recursive: true }));

const name = fc.oneof(
  { weight: 8, arbitrary: fc.constantFrom(...ALL_NAMES) },
  { weight: 1, arbitrary: fc.string({ maxLength: 12 }) },
  { weight: 1, arbitrary: fc.constantFrom("include", "INCLUDE", "__proto__", "constructor", "#") },
);
const WORDS =
  "yes no 0 1 -1 64mb 1gb 512 0x10 1e9 99999999999999999999 everysec always normal slave 127.0.0.1 * -::* 50 99.9".split(
    " ",
  );
const value = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom(...WORDS, "", '""', "'a b'", '"\\x00\\n"', '"', file) },
  { weight: 2, arbitrary: fc.string({ maxLength: 12, unit: "binary" }) },
  { weight: 2, arbitrary: fc.integer().map(String) },
);
const line = fc.oneof(
  {
    weight: 8,
    arbitrary: fc
      .tuple(name, fc.array(value, { maxLength: 5 }))
      .map(([first, rest]) => [first, ...rest].join(" ")),
  },
  { weight: 1, arbitrary: fc.string({ maxLength: 40, unit: "binary" }) },
);

function load(
  argv: readonly string[],
  environment: Record<string, string> = {},
): Config | undefined {
  try {
    return Config.load({ argv, environment, machine });
  } catch (error) {
    if (error instanceof StartupError) return undefined;
    throw error;
  }
}

/** Loading what CONFIG GET prints gives the same; of Redis's other directives only the words are kept. */
function expectStable(config: Config): void {
  for (const each of DIRECTIVE_NAMES) {
    const text = config.getString(each)!;
    const { kind } = lookUp(each)!;
    const parsed = kind.parse([text], undefined);
    if (!("value" in parsed))
      throw new Error(`${each} prints ${JSON.stringify(text)}, which is refused`);
    expect({ each, text: kind.format(parsed.value as never) }).toEqual({ each, text });
  }
}

test(
  "Config.load of any file loads or says why not",
  () => {
    fc.assert(
      fc.property(fc.array(line, { maxLength: 12 }), (lines) => {
        writeFileSync(file, lines.join("\n"));
        const config = load([file]);
        if (config !== undefined) expectStable(config);
      }),
      parameters,
    );
  },
  TIMEOUT_MS,
);

test(
  "Config.load of any flags and variables loads or says why not",
  () => {
    const flag = fc
      .tuple(name, fc.array(value, { maxLength: 3 }))
      .map(([first, rest]) => [`--${first}`, ...rest]);
    const variable = fc.tuple(
      name.map((each) => `DKV_${each.replaceAll("-", "_").toUpperCase()}`),
      fc.constantFrom("", "", "_FILE"),
      value,
    );
    fc.assert(
      fc.property(
        fc.array(flag, { maxLength: 6 }),
        fc.array(variable, { maxLength: 3 }),
        (flags, variables) => {
          const environment = Object.fromEntries(
            variables.map(([first, suffix, text]) => [first + suffix, text]),
          );
          const config = load(flags.flat(), environment);
          if (config !== undefined) expectStable(config);
        },
      ),
      parameters,
    );
  },
  TIMEOUT_MS,
);

test(
  "splitArguments gives back what quoteArgument made of any text",
  () => {
    fc.assert(
      fc.property(fc.array(fc.string({ unit: "binary" }), { maxLength: 5 }), (words) => {
        expect(splitArguments(words.map(quoteArgument).join(" "))).toEqual(words);
      }),
      parameters,
    );
  },
  TIMEOUT_MS,
);
