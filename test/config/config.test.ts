/** Sources and their order, CONFIG GET, SET and REWRITE. Redis's words are those of redis-server 7.0.15. */
import { afterAll, describe, expect, test } from "bun:test";
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { StartupError } from "../../src/base/errors.ts";
import { ALL_NAMES, lookUp } from "../../src/config/catalogue.ts";
import { Config } from "../../src/config/config.ts";

const directory = fs.mkdtempSync(path.join(os.tmpdir(), "dkv-config-"));
afterAll(() => fs.rmSync(directory, { recursive: true }));

let files = 0;
function writeFile(text: string, name = `${files++}.conf`): string {
  const file = path.join(directory, name);
  fs.writeFileSync(file, text);
  return file;
}

type Environment = Record<string, string>;
const machine = { read: () => undefined, totalBytes: 10 * 1024 ** 3 };

function load(argv: readonly string[] = [], environment: Environment = {}): Config {
  return Config.load({ argv, environment, machine });
}

function startupMessage(argv: readonly string[], environment: Environment = {}): string {
  try {
    load(argv, environment);
  } catch (error) {
    expect(error).toBeInstanceOf(StartupError);
    return (error as Error).message;
  }
  throw new Error("it started");
}

describe("Config.load", () => {
  test("gives every name a default that its own kind accepts back", () => {
    const config = load();
    for (const name of ALL_NAMES) {
      const text = config.getString(name)!;
      const { kind } = lookUp(name)!;
      const parsed = kind.parse([text], undefined);
      expect(parsed).toHaveProperty("value");
      if ("value" in parsed) expect(kind.format(parsed.value)).toBe(text);
    }
    expect(config.get("port")).toBe(6379);
    expect(config.get("appendfsync")).toBe("always");
    expect(config.warnings).toEqual([]);
  });

  test("applies file, then environment, then flags", () => {
    const file = writeFile("port 1\nmaxclients 1\ntimeout 1\n");
    const environment = { DKV_MAXCLIENTS: "2", DKV_TIMEOUT: "2" };
    const config = load([file, "--timeout", "3"], environment);
    expect(config.get("port")).toBe(1);
    expect(config.get("maxclients")).toBe(2);
    expect(config.get("timeout")).toBe(3);
  });

  test("reads quoting, comments, sizes and any case", () => {
    const config = load([
      writeFile(
        "# a comment\n\n  MaxMemory 1gb\r\nrequirepass \"a\\x20b\"\nlogfile 'x y'\nproto-max-bulk-len 2m\n",
      ),
    ]);
    expect(config.get("maxmemory")).toBe(1024 ** 3);
    expect(config.get("requirepass")).toBe("a b");
    expect(config.get("logfile")).toBe("x y");
    expect(config.get("proto-max-bulk-len")).toBe(2_000_000);
  });

  test("reads flags with several values, none, and a value behind =", () => {
    const config = load(["--bind", "127.0.0.1", "::1", "--requirepass=--x=y", "--save", ""]);
    expect(config.get("bind")).toEqual(["127.0.0.1", "::1"]);
    expect(config.get("requirepass")).toBe("--x=y");
    expect(load(["--bind"]).get("bind")).toEqual([]);
    expect(load(["--bind", "a b"]).get("bind")).toEqual(["a", "b"]);
  });

  test("keeps the limits of client classes that are not named", () => {
    const config = load(["--client-output-buffer-limit", "pubsub", "1mb", "1kb", "5"]);
    expect(config.getString("client-output-buffer-limit")).toBe(
      "normal 67108864 16777216 60 slave 268435456 67108864 60 pubsub 1048576 1024 5",
    );
  });

  test("follows includes relative to the file, with patterns, and stops at cycles", () => {
    fs.mkdirSync(path.join(directory, "parts"));
    writeFile("maxclients 7\n", "parts/a.conf");
    writeFile("maxclients 8\n", "parts/b.conf");
    const outer = writeFile("include parts/*.conf\ntimeout 9\n");
    expect(load([outer]).get("maxclients")).toBe(8);
    expect(load([outer]).get("timeout")).toBe(9);
    const self = writeFile("include self.conf\n", "self.conf");
    expect(startupMessage([self])).toContain("a file includes itself");
    const missing = writeFile("include nowhere.conf\n");
    expect(startupMessage([missing])).toMatch(
      /^Fatal error, can't open config file '.*nowhere\.conf': No such file or directory$/,
    );
  });

  test("limits the depth of includes", () => {
    for (let depth = 0; depth < 20; depth++) {
      writeFile(`include deep-${depth + 1}.conf\n`, `deep-${depth}.conf`);
    }
    writeFile("port 1\n", "deep-20.conf");
    expect(startupMessage([path.join(directory, "deep-0.conf")])).toContain("nested too deeply");
    expect(load([path.join(directory, "deep-10.conf")]).get("port")).toBe(1);
  });

  test("takes secrets from files and ignores what Kubernetes sets", () => {
    const secret = writeFile("s3 cret\n");
    const config = load([], {
      DKV_REQUIREPASS_FILE: secret,
      DKV_PORT: "tcp://10.0.0.1:6379",
      DKV_PORT_6379_TCP_ADDR: "10.0.0.1",
      DKV_SERVICE_HOST: "10.0.0.1",
      DKV_TIMEOUT: "",
      DKV_BIND: '127.0.0.1 "::1"',
      DKV_ENGINE_BLOOM_BITS: "12",
      DKV_TIMOUT: "5",
    });
    expect(config.get("requirepass")).toBe("s3 cret");
    expect(config.get("port")).toBe(6379);
    expect(config.get("timeout")).toBe(0);
    expect(config.get("bind")).toEqual(["127.0.0.1", "::1"]);
    expect(config.get("engine-bloom-bits")).toBe(12);
    expect(config.warnings).toEqual([
      "environment variable DKV_TIMOUT is no directive and was ignored",
    ]);
    expect(startupMessage([], { DKV_REQUIREPASS_FILE: secret, DKV_REQUIREPASS: "x" })).toContain(
      "set the same directive",
    );
    expect(startupMessage([], { DKV_REQUIREPASS_FILE: "/nowhere" })).toContain("/nowhere");
  });

  test("warns once for each directive without effect", () => {
    const file = writeFile("save 900 1\nsave 300 10\nhz 10\nslave-priority 5\n");
    const config = load([file]);
    expect(config.warnings).toEqual([
      `directive 'save' has no effect in dkv (${file}:1)`,
      `directive 'hz' has no effect in dkv (${file}:3)`,
      `directive 'replica-priority' has no effect in dkv (${file}:4)`,
    ]);
    expect(config.getString("replica-priority")).toBe("5");
    expect(config.getString("slave-priority")).toBe("5");
  });

  test("makes dir absolute", () => {
    expect(load().get("dir")).toBe(path.resolve("data"));
    expect(load(["--dir", "a/../b"]).getString("dir")).toBe(path.join(process.cwd(), "b"));
    expect(startupMessage(["--dir", ""])).toContain("No such file or directory");
  });

  test("derives the memory budget unless maxmemory is given", () => {
    expect(load().memoryBytes).toBe(6 * 1024 ** 3);
    expect(load(["--maxmemory", "200mb"]).memoryBytes).toBe(200 * 1024 ** 2);
  });
});

test("Config.load reads standard input for -", () => {
  const source = new URL("../../src/config/config.ts", import.meta.url).pathname;
  const script = `
    import { Config } from ${JSON.stringify(source)};
    const config = Config.load({ argv: ["-", "--timeout", "5"], environment: {} });
    console.log(config.get("port"), config.get("timeout"), config.file);
  `;
  const result = Bun.spawnSync([process.execPath, "-e", script], {
    stdin: Buffer.from("port 7001\ntimeout 1"),
  });
  expect(result.stdout.toString()).toBe("7001 5 undefined\n");
});

describe("a fatal configuration error", () => {
  const cases: [string, string][] = [
    ["prot 6379", "Bad directive or wrong number of arguments. Did you mean 'port'?"],
    ["zzzzzzzzzz 1", "Bad directive or wrong number of arguments"],
    ["port abc", "argument couldn't be parsed into an integer"],
    ["port 70000", "argument must be between 0 and 65535 inclusive"],
    ["port 1 2", "wrong number of arguments"],
    ["maxmemory 12x", "argument must be a memory value"],
    ["maxmemory -1", "argument must be a memory value"],
    ["maxmemory 1mb", "argument must be 0 or at least 134217728"],
    ["appendfsync sometimes", "argument(s) must be one of the following: always, everysec, no"],
    ["protected-mode maybe", "argument must be 'yes' or 'no'"],
    [
      "latency-tracking-info-percentiles 50 101",
      "latency-tracking-info-percentiles parameters should sit between [0.0,100.0]",
    ],
    [
      "client-output-buffer-limit normal 0 0",
      "Wrong number of arguments in buffer limit configuration.",
    ],
    [
      "client-output-buffer-limit foo 0 0 0",
      "Invalid client class specified in buffer limit configuration.",
    ],
    [
      "client-output-buffer-limit normal 0 x 0",
      "Error in hard, soft or soft_seconds setting in buffer limit configuration.",
    ],
    ["rename-command FLUSHALL x", "not supported by dkv: commands cannot be renamed or disabled"],
    ["replicaof localhost 6379", 'not supported by dkv; only "" is accepted'],
    ["tls-cluster yes", 'not supported by dkv; only "no" is accepted'],
    ["write-quorum 33", "argument must be between 1 and 32 inclusive"],
    ["cluster-redirect ask", "argument(s) must be one of the following: auto, moved, forward"],
    ["cluster-announce-ip a/b", "argument must be an address or a host name"],
  ];
  for (const [line, reason] of cases) {
    test(`says why and where: ${line}`, () => {
      const file = writeFile(`timeout 0\n${line}\n`);
      expect(startupMessage([file])).toBe(
        `FATAL CONFIG FILE ERROR (dkv)\nReading the configuration, at ${file}:2\n>>> '${line}'\n${reason}`,
      );
    });
  }

  test("never shows a secret", () => {
    for (const line of [
      "requirepass a b",
      "requirepas hidden",
      'requirepass "hidden',
      "cluster-secret hidden",
      "masterauth",
    ]) {
      const message = startupMessage([writeFile(`${line}\nfoo bar\n`)]);
      expect(message).not.toContain("hidden");
      expect(message).not.toContain("a b");
    }
  });

  test("names the variable or the command line", () => {
    expect(startupMessage([], { DKV_PORT: "x" })).toContain("at environment variable DKV_PORT\n");
    expect(startupMessage(["--port", "x"])).toContain("at command line\n");
    expect(startupMessage(["--port", "1", "-", "x"])).toContain("wrong number of arguments");
    expect(startupMessage(["-x"])).toContain("try --help");
  });
});

describe("Config.match", () => {
  test("finds names in any case, each once", () => {
    const names = load()
      .match(["MAXCL*", "max[cm]*s", "Port"])
      .map(([name]) => name);
    expect(names).toEqual(["port", "maxclients", "maxmemory-samples", "maxmemory-clients"]);
    expect(load().match(["nothing*"])).toEqual([]);
  });

  test("prints canonical values", () => {
    const config = load(["--proto-max-bulk-len", "1gb", "--PROTECTED-mode", "NO"]);
    expect(config.match(["pro*-m*"])).toEqual([
      ["protected-mode", "no"],
      ["proto-max-bulk-len", "1073741824"],
    ]);
  });
});

describe("Config.set", () => {
  const failed = (name: string, reason: string) =>
    `ERR CONFIG SET failed (possibly related to argument '${name}') - ${reason}`;
  const cases: [[string, string][], string][] = [
    [[["foo", "1"]], "ERR Unknown option or number of arguments for CONFIG SET - 'foo'"],
    [[["port", "1"]], failed("port", "can't set immutable config")],
    [
      [["maxclients", "0"]],
      failed("maxclients", "argument must be between 1 and 4294967295 inclusive"),
    ],
    [[["timeout", "x"]], failed("timeout", "argument couldn't be parsed into an integer")],
    [[["replicaof", "a 1"]], failed("replicaof", "can't set immutable config")],
    [[["tls-port", "1"]], failed("tls-port", 'not supported by dkv; only "0" is accepted')],
    [
      [
        ["maxclients", "5"],
        ["MaxClients", "6"],
      ],
      failed("MaxClients", "duplicate parameter"),
    ],
    [
      [
        ["maxclients", "x"],
        ["foo", "6"],
      ],
      "ERR Unknown option or number of arguments for CONFIG SET - 'foo'",
    ],
    [
      [
        ["timeout", "5"],
        ["maxclients", "x"],
      ],
      failed("maxclients", "argument couldn't be parsed into an integer"),
    ],
  ];
  for (const [pairs, expected] of cases) {
    test(`refuses ${JSON.stringify(pairs)} and changes nothing`, () => {
      const config = load();
      const before = config.match(["*"]);
      expect(config.set(pairs)).toBe(expected);
      expect(config.match(["*"])).toEqual(before);
    });
  }

  test("changes all, then tells the listeners", () => {
    const config = load();
    const seen: unknown[] = [];
    config.onChange("timeout", (seconds) => seen.push(seconds, config.get("maxclients")));
    config.onChange("latency-tracking-info-percentiles", (list) => seen.push(list));
    const pairs: [string, string][] = [
      ["TIMEOUT", "5"],
      ["maxclients", "9"],
      ["latency-tracking-info-percentiles", "50 99.9"],
      ["hz", "100"],
    ];
    expect(config.set(pairs)).toBeUndefined();
    expect(seen).toEqual([5, 9, [50, 99.9]]);
    expect(config.getString("hz")).toBe("100");
  });
});

describe("Config.rewrite", () => {
  test("needs a file", () => {
    expect(load().rewrite()).toBe("ERR The server is running without a config file");
  });

  test("changes only the lines of what CONFIG SET changed", () => {
    const file = writeFile(
      "# head\nport 7000\n\nTimeout   5 \nmaxclients 10\n# between\nmaxclients 20\nloglevel debug\n",
    );
    const config = load([file, "--loglevel", "warning"]);
    config.set([
      ["maxclients", "30"],
      ["timeout", "0"],
      ["requirepass", 'a "b"'],
      ["slowlog-max-len", "128"],
      ["client-output-buffer-limit", "normal 0 0 0"],
    ]);
    expect(config.rewrite()).toBeUndefined();
    const expected = [
      "# head",
      "port 7000",
      "",
      "timeout 0",
      "maxclients 30",
      "# between",
      "loglevel debug",
      "# Generated by CONFIG REWRITE",
      'requirepass "a \\"b\\""',
      "client-output-buffer-limit normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60",
      "",
    ].join("\n");
    expect(fs.readFileSync(file, "utf8")).toBe(expected);
    expect(config.rewrite()).toBeUndefined();
    expect(fs.readFileSync(file, "utf8")).toBe(expected);
    expect(load([file]).match(["*"])).toEqual(
      config.match(["*"]).map(([name, value]) => [name, name === "loglevel" ? "debug" : value]),
    );
  });

  test("keeps mode and symbolic link, and leaves no temporary file", () => {
    const target = writeFile("timeout 5\n", "target.conf");
    fs.chmodSync(target, 0o640);
    const link = path.join(directory, "link.conf");
    fs.symlinkSync(target, link);
    const config = load([link]);
    config.set([["timeout", "6"]]);
    expect(config.rewrite()).toBeUndefined();
    expect(fs.lstatSync(link).isSymbolicLink()).toBe(true);
    expect(fs.readFileSync(target, "utf8")).toBe("timeout 6\n");
    expect(fs.statSync(target).mode & 0o777).toBe(0o640);
    expect(fs.readdirSync(directory).filter((name) => name.endsWith(".tmp"))).toEqual([]);
  });

  test("says why it cannot write", () => {
    const file = writeFile("timeout 5\n");
    const config = load([file]);
    fs.unlinkSync(file);
    expect(config.rewrite()).toMatch(/^ERR Rewriting config file: ENOENT/);
  });
});

test("a frozen directive is refused by CONFIG SET with the reason, and keeps its value", () => {
  const config = Config.load({ argv: [], environment: {} });
  config.freeze("appendfsync", "fixed here");
  expect(config.set([["appendfsync", "no"]])).toBe(
    "ERR CONFIG SET failed (possibly related to argument 'appendfsync') - fixed here",
  );
  expect(config.get("appendfsync")).toBe("always");
});
