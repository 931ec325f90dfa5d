/** Lints the repository itself: what Biome and the compiler cannot see. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";

const ROOT = path.dirname(import.meta.dirname);
const LINES_MAX = 500;

/** Tracked files; in a copy without git, all files outside the folders that git ignores. */
function listFiles(): string[] {
  const git = Bun.which("git");
  if (git !== null && fs.existsSync(path.join(ROOT, ".git"))) {
    const result = Bun.spawnSync([git, "ls-files", "-z"], { cwd: ROOT });
    const names = result.stdout.toString().split("\0").filter(Boolean);
    if (names.length > 0) return names.filter((name) => fs.existsSync(path.join(ROOT, name)));
  }
  const all = [...new Bun.Glob("**/*").scanSync({ cwd: ROOT, dot: true })];
  return all.filter((name) => !/^(node_modules|\.git|data)\/|\.log$/.test(name));
}

const FILES = listFiles().sort();
const read = (name: string) => fs.readFileSync(path.join(ROOT, name), "utf8");
const isCode = (name: string) => /\.(ts|mjs)$/.test(name);
const CODE = FILES.filter(isCode);
const SOURCES = CODE.filter((name) => name.startsWith("src/"));

/** Places where `pattern` occurs, as `file:line: text`. */
function occurrences(names: readonly string[], pattern: RegExp, prepare = (text: string) => text) {
  return names.flatMap((name) =>
    prepare(read(name))
      .split("\n")
      .flatMap((line, index) =>
        pattern.test(line) ? [`${name}:${index + 1}: ${line.trim()}`] : [],
      ),
  );
}

/** Comments become spaces, so that lines keep their numbers; a string with `//` behind a colon (a URL) stays. */
function withoutComments(text: string): string {
  const blank = (comment: string) => comment.replace(/[^\n]/g, " ");
  return text.replace(/\/\*[\s\S]*?\*\//g, blank).replace(/(^|[^:"'`\\])\/\/.*$/gm, "$1");
}

test("every code file but tests opens with a block comment that says what it is", () => {
  const named = CODE.filter((name) => !name.endsWith(".test.ts"));
  const bare = named.filter((name) => !read(name).startsWith("/**"));
  expect(bare).toEqual([]);
});

test(`no code file is longer than ${LINES_MAX} lines`, () => {
  const long = CODE.filter((name) => read(name).split("\n").length - 1 > LINES_MAX);
  expect(long).toEqual([]);
});

describe("outside src/base, src/config and src/main.ts", () => {
  const inner = SOURCES.filter((name) => !/^src\/(base\/|config\/|main\.ts$)/.test(name));
  const forbidden: [string, RegExp][] = [
    ["time", /\bnew Date\b|\bDate\.|\bperformance\.now\b|\bBun\.nanoseconds\b|\bprocess\.hrtime\b/],
    ["chance", /\bMath\.random\b|\bcrypto\.(random|getRandom)/],
    ["timers", /\b(setTimeout|setInterval|setImmediate)\b|\bBun\.sleep/],
    ["the environment", /\bprocess\.env\b|\bBun\.env\b/],
    ["files", /["'](node:)?fs(\/promises)?["']|\bBun\.(file|write)\(/],
  ];
  for (const [what, pattern] of forbidden) {
    test(`nothing asks the system for ${what}`, () => {
      expect(occurrences(inner, pattern, withoutComments)).toEqual([]);
    });
  }
});

test("nothing is left to do", () => {
  const marker = new RegExp(
    `\\b(${["TO", "FIX"].map((word) => `${word}${word === "TO" ? "DO" : "ME"}`).join("|")})\\b`,
  );
  const written = FILES.filter((name) => isCode(name) || name.endsWith(".md"));
  expect(occurrences(written, marker)).toEqual([]);
});

test("no tracked file names a path of somebody's machine", () => {
  const text = FILES.filter((name) =>
    /\.(ts|mjs|json|md|txt|toml|sh|yml|conf)$|^\.ci\//.test(name),
  );
  const machine = new RegExp(`(^|[\\s"'\`(=:])/(${["work", "root", "home", "Users"].join("|")})/`);
  expect(occurrences(text, machine)).toEqual([]);
});

/** Files that `name` imports or starts as a worker. Types count: a file of interfaces is in use. */
function referencesOf(name: string): string[] {
  const patterns = [
    /\bfrom\s+["'](\.[^"']+)["']/g,
    /\bimport\s*\(?\s*["'](\.[^"']+)["']/g,
    /\bnew URL\(\s*["'](\.[^"']+)["']/g,
  ];
  const text = withoutComments(read(name));
  return patterns.flatMap((pattern) =>
    [...text.matchAll(pattern)].map((match) => path.join(path.dirname(name), match[1]!)),
  );
}

const hasMain = SOURCES.includes("src/main.ts");
const whySkipped = hasMain ? "" : " (skipped: there is no src/main.ts yet)";

test.skipIf(!hasMain)(
  `every file in src is reached from src/main.ts or a test${whySkipped}`,
  () => {
    const reached = new Set<string>();
    const pending = ["src/main.ts", ...CODE.filter((name) => name.endsWith(".test.ts"))];
    for (let name = pending.pop(); name !== undefined; name = pending.pop()) {
      if (reached.has(name) || !CODE.includes(name)) continue;
      reached.add(name);
      pending.push(...referencesOf(name));
    }
    // Declarations of a package without types are reached by the package's name.
    const sources = SOURCES.filter((name) => !name.endsWith(".d.ts"));
    expect(sources.filter((name) => !reached.has(name))).toEqual([]);
  },
);

interface LockEntry {
  readonly resolved?: string;
  readonly optionalDependencies?: Record<string, string>;
}

describe("package-lock.json", () => {
  const { packages } = JSON.parse(read("package-lock.json")) as {
    packages: Record<string, LockEntry>;
  };

  test("names no registry", () => {
    const resolved = Object.keys(packages).filter((name) => packages[name]!.resolved !== undefined);
    expect(resolved).toEqual([]);
  });

  test("has every platform's packages, without which npm ci refuses to run", () => {
    const wanted = Object.values(packages).flatMap((entry) =>
      Object.keys(entry.optionalDependencies ?? {}),
    );
    const missing = wanted.filter((name) => packages[`node_modules/${name}`] === undefined);
    expect(missing).toEqual([]);
  });
});

describe("layers", () => {
  const MAY_IMPORT: Record<string, readonly string[]> = {
    base: [],
    resp: ["base"],
    wal: ["base"],
    lsm: ["base"],
    store: ["base", "lsm", "wal"],
    cluster: ["base", "store", "wal"],
    server: ["base", "cluster", "config", "resp", "store"],
    config: ["base"],
    http: ["base", "cluster", "config", "server"],
    tools: ["base", "config", "resp"],
  };
  const layers = Object.keys(MAY_IMPORT);
  let directory: string;
  beforeAll(() => {
    directory = fs.mkdtempSync(path.join(os.tmpdir(), "dkv-layers-"));
  });
  afterAll(() => fs.rmSync(directory, { recursive: true }));

  function writeImports(): void {
    const config = JSON.parse(read("biome.json")) as Record<string, unknown>;
    fs.writeFileSync(
      path.join(directory, "biome.json"),
      JSON.stringify({ ...config, vcs: { enabled: false } }),
    );
    for (const layer of layers) {
      fs.mkdirSync(path.join(directory, "src", layer), { recursive: true });
      for (const other of layers) {
        const file = path.join(directory, "src", layer, `${other}.ts`);
        fs.writeFileSync(file, `import { x } from "../${other}/x.ts";\nexport const y = x;\n`);
      }
    }
  }

  test("Biome refuses exactly the imports that DESIGN's layers forbid", () => {
    writeImports();
    const biome = path.join(ROOT, "node_modules/@biomejs/biome/bin/biome");
    const only = "--only=style/noRestrictedImports";
    const result = Bun.spawnSync(
      [process.execPath, biome, "lint", only, "--max-diagnostics=none", "--reporter=github", "."],
      { cwd: directory, env: { ...process.env, NO_COLOR: "1" } },
    );
    const output = result.stdout.toString();
    const allowed: Record<string, readonly string[]> = Object.fromEntries(
      layers.map((layer) => [
        layer,
        layers
          .filter((other) => other !== layer && !output.includes(`src/${layer}/${other}.ts`))
          .sort(),
      ]),
    );
    expect(allowed).toEqual(MAY_IMPORT);
  });
});
