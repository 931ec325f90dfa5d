/**
 * What the npm commands share: installing packages, finding the pinned Bun, running it as if it were this
 * process, and installing the programs that only tests need. Plain Node without dependencies, because it runs
 * before there are any.
 *
 * Everything said here goes to stderr: the stdout of `npm start` belongs to the server.
 */
import { spawn, spawnSync } from "node:child_process";
import {
  accessSync,
  chmodSync,
  constants,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { constants as osConstants } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

export const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));

const MODULES = join(ROOT, "node_modules");
/** Programs under names that the machine's packages do not give them. */
const NAMED_PROGRAMS = join(MODULES, ".programs");
const INSTALL_LOCK = join(ROOT, ".install.lock");
const INSTALL_POLL_MS = 200;
const APT_TIMEOUT_MS = 180_000;

/**
 * Programs that tests or benchmarks start. `usedFor`: where their absence is reported, because what needs them skips
 * itself. `installedFor`: where they are installed if that is allowed. Debian starts a server that it installs, so
 * redis-server's own package never is: see nameRedisServer(). `directory`: where to look instead of the PATH.
 */
const NEEDS = [
  {
    program: "redis-cli",
    debian: "redis-tools",
    usedFor: ["test"],
    installedFor: ["test"],
    skips: "tests with redis-cli",
  },
  {
    program: "redis-benchmark",
    debian: "redis-tools",
    usedFor: ["test", "bench"],
    installedFor: ["test", "bench"],
    skips: "load by redis-benchmark",
  },
  {
    program: "redis-server",
    debian: "redis-tools",
    usedFor: ["test", "bench"],
    installedFor: ["test", "bench"],
    skips: "smoke runs of the benchmarks, comparison with Redis",
  },
  {
    program: "strace",
    debian: "strace",
    usedFor: ["test"],
    installedFor: ["test"],
    skips: "tests with a failing disk",
  },
  {
    program: "ip",
    debian: "iproute2",
    usedFor: ["test"],
    installedFor: ["test"],
    skips: "tests with network partitions",
  },
  {
    program: "nft",
    debian: "nftables",
    usedFor: ["test"],
    installedFor: ["test"],
    skips: "tests with network partitions",
  },
  {
    program: "java",
    debian: "default-jre-headless",
    usedFor: ["test"],
    installedFor: ["test"],
    skips: "tests with a real ZooKeeper",
  },
  {
    program: "zookeeper.jar",
    directory: "/usr/share/java",
    debian: "libzookeeper-java",
    usedFor: ["test"],
    installedFor: ["test"],
    skips: "tests with a real ZooKeeper",
  },
  {
    program: "redis",
    directory: "/usr/lib/python3/dist-packages",
    debian: "python3-redis",
    usedFor: ["test"],
    installedFor: ["test"],
    skips: "tests with redis-py",
  },
  ...[
    ["dockerd", "docker.io"],
    ["docker-compose", "docker-compose"],
    ["debootstrap", "debootstrap"],
    ["iptables", "iptables"],
  ].map(([program, debian]) => ({
    ...{ program, debian, usedFor: ["compose"], installedFor: ["compose"] },
    skips: "the cluster of docker-compose.yml",
  })),
];

export function say(text) {
  process.stderr.write(`${text}\n`);
}

function fail(text) {
  say(`dkv: ${text}`);
  process.exit(1);
}

function readJson(path) {
  try {
    return JSON.parse(readFileSync(path, "utf8"));
  } catch {
    return undefined;
  }
}

/**
 * Whether node_modules holds what package-lock.json asks for, by npm's own record of the last install.
 * Optional packages may be absent (other platforms' binaries); development packages too unless `dev`.
 */
function packagesAreCurrent(dev) {
  const wanted = readJson(join(ROOT, "package-lock.json"))?.packages;
  const installed = readJson(join(MODULES, ".package-lock.json"))?.packages;
  if (wanted === undefined || installed === undefined) return false;
  return Object.entries(wanted).every(([path, entry]) => {
    if (path === "") return true;
    const found = installed[path];
    if (found !== undefined) return found.version === entry.version;
    return entry.optional === true || (entry.dev === true && !dev);
  });
}

function npm(args) {
  const script = process.env.npm_execpath;
  const [command, prefix] =
    script !== undefined && /npm-cli\.c?js$/.test(script)
      ? [process.execPath, [script]]
      : ["npm", []];
  const quiet = ["--no-audit", "--no-fund", "--loglevel=error"];
  const result = spawnSync(command, [...prefix, ...args, ...quiet], {
    cwd: ROOT,
    stdio: ["ignore", 2, 2],
  });
  return result.status === 0;
}

function sleep(milliseconds) {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds);
}

function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === "EPERM";
  }
}

/** One install at a time: three nodes started together in a fresh clone must not erase each other's files. */
function acquireInstallLock() {
  for (;;) {
    try {
      writeFileSync(INSTALL_LOCK, String(process.pid), { flag: "wx" });
      return;
    } catch (error) {
      if (error.code !== "EEXIST") throw error;
    }
    let holder = Number.NaN;
    try {
      holder = Number(readFileSync(INSTALL_LOCK, "utf8"));
    } catch {
      continue;
    }
    if (holder > 0 && !isAlive(holder)) rmSync(INSTALL_LOCK, { force: true });
    else sleep(INSTALL_POLL_MS);
  }
}

/** Installs the packages unless they are there. `dev`: also those that only development needs. */
export function installPackages({ dev }) {
  if (packagesAreCurrent(dev)) return;
  acquireInstallLock();
  try {
    if (packagesAreCurrent(dev)) return;
    say("dkv: installing packages");
    const omit = dev ? ["--include=dev"] : ["--omit=dev"];
    if (npm(["ci", ...omit])) return;
    say("dkv: npm ci failed, trying npm install");
    if (!npm(["install", "--no-save", ...omit]))
      fail("cannot install packages; see npm's message above");
  } finally {
    rmSync(INSTALL_LOCK, { force: true });
  }
}

function versionOf(binary) {
  const result = spawnSync(binary, ["--version"], { encoding: "utf8", timeout: 30_000 });
  return result.status === 0 ? result.stdout.trim() : undefined;
}

/** npm's bun package is a stub until its install script has run; the platform package has the program itself. */
function bunCandidates() {
  const platforms = join(MODULES, "@oven");
  const names = existsSync(platforms) ? readdirSync(platforms).sort() : [];
  const suffixes = ["bun", "bun.exe"];
  return [
    join(MODULES, "bun", "bin", "bun.exe"),
    ...names.flatMap((name) => suffixes.map((file) => join(platforms, name, "bin", file))),
    ...pathLookup("bun"),
  ];
}

function pathLookup(program) {
  return (process.env.PATH ?? "")
    .split(delimiter)
    .map((directory) => join(directory, program))
    .filter((path) => {
      try {
        accessSync(path, constants.X_OK);
        return true;
      } catch {
        return false;
      }
    });
}

/** Path of a Bun that runs here and has exactly the version that package.json pins. */
export function findBun() {
  const pin = readJson(join(ROOT, "package.json")).dependencies.bun;
  const seen = [];
  for (const candidate of bunCandidates()) {
    if (!existsSync(candidate)) continue;
    try {
      accessSync(candidate, constants.X_OK);
    } catch {
      try {
        chmodSync(candidate, 0o755);
      } catch {
        continue;
      }
    }
    const version = versionOf(candidate);
    if (version === pin) return realpathSync(candidate);
    seen.push(`${candidate}: ${version ?? "does not run"}`);
  }
  return fail(
    `no working Bun ${pin} for ${process.platform}-${process.arch}.\n` +
      `${seen.map((line) => `  ${line}\n`).join("")}` +
      "Remove node_modules and try again, or put that version of bun on PATH.",
  );
}

const FORWARDED = ["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2"];
const FROM_TERMINAL = ["SIGINT", "SIGQUIT"];

/**
 * Runs a program in place of this one: same standard streams, signals passed on, same exit code or signal.
 * A terminal sends Ctrl-C to the whole process group, so that signal is not passed on a second time.
 */
export function replaceBy(program, args) {
  const child = spawn(program, args, { stdio: "inherit" });
  for (const signal of FORWARDED) {
    process.on(signal, () => {
      if (process.stdin.isTTY && FROM_TERMINAL.includes(signal)) return;
      child.kill(signal);
    });
  }
  child.on("error", (error) => fail(`cannot run ${program}: ${error.message}`));
  child.on("exit", (code, signal) => {
    if (signal === null) process.exit(code);
    for (const name of FORWARDED) process.removeAllListeners(name);
    process.kill(process.pid, signal);
    // Reached only for signals whose default is to be ignored; shells report 128 + n.
    process.exit(128 + osConstants.signals[signal]);
  });
}

function isMissing(need) {
  if (need.directory !== undefined) return !existsSync(join(need.directory, need.program));
  return pathLookup(need.program).length === 0;
}

/**
 * Redis's programs are one file that looks at the name it is called by, and Debian's redis-tools has it as
 * redis-check-rdb. Under the name redis-server it is the server, without a service that starts by itself.
 */
function nameRedisServer() {
  const [program] = pathLookup("redis-check-rdb");
  if (program === undefined || pathLookup("redis-server").length > 0) return;
  const asked = spawnSync(program, ["--version"], { argv0: "redis-server", encoding: "utf8" });
  if (!asked.stdout?.startsWith("Redis server")) return;
  mkdirSync(NAMED_PROGRAMS, { recursive: true });
  const path = join(NAMED_PROGRAMS, "redis-server");
  if (!existsSync(path)) symlinkSync(program, path);
  process.env.PATH = `${NAMED_PROGRAMS}${delimiter}${process.env.PATH ?? ""}`;
}

/** Installs the programs of one purpose if that is allowed here; else says what is missing and what it skips. */
export function installNeeds(purpose) {
  nameRedisServer();
  const missing = NEEDS.filter((need) => need.usedFor.includes(purpose) && isMissing(need));
  const wanted = missing.filter((need) => need.installedFor.includes(purpose));
  const mayInstall = process.getuid?.() === 0 && pathLookup("apt-get").length > 0;
  if (wanted.length > 0 && mayInstall) {
    const packages = [...new Set(wanted.map((need) => need.debian))];
    say(`dkv: installing ${packages.join(", ")}`);
    aptGet("update");
    aptGet("install", "-y", "--no-install-recommends", ...packages);
    nameRedisServer();
  }
  for (const need of missing.filter(isMissing)) {
    say(`dkv: no ${need.program} (Debian: ${need.debian}), so this is skipped: ${need.skips}`);
  }
}

function aptGet(...args) {
  spawnSync("apt-get", ["-qq", ...args], {
    stdio: ["ignore", 2, 2],
    timeout: APT_TIMEOUT_MS,
    env: { ...process.env, DEBIAN_FRONTEND: "noninteractive" },
  });
}
