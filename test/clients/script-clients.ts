/**
 * Clients of other languages, as Debian has them: a script beside this file each, which says one JSON object a line.
 *
 *     run CONTEXT    {"feature": …, "error": ""}                     for each feature that the client has
 *     write LOAD     {"acknowledged": key} or {"failure": message}   until its standard input ends
 */
import { join } from "node:path";
import type { Context, Feature, Load, Outcomes, Subject } from "./subject.ts";
import { whyNot } from "./subject.ts";

const RUN_SECONDS_MAX = 60;
const WRITE_SECONDS_MAX = 120;

interface Script {
  readonly name: string;
  /** Runs a script, whose path follows. */
  readonly interpreter: readonly string[];
  readonly file: string;
  /** Ends with 0 if the library is there. */
  readonly probe: readonly string[];
  readonly debian: string;
}

/** Debian's own interpreter: another one on the PATH does not know Debian's libraries. */
const SCRIPTS: readonly Script[] = [
  {
    name: "redis-py",
    interpreter: ["/usr/bin/python3"],
    file: "redis-py.py",
    probe: ["/usr/bin/python3", "-c", "import redis.cluster"],
    debian: "python3-redis",
  },
  {
    name: "phpredis",
    interpreter: ["php"],
    file: "phpredis.php",
    probe: ["php", "-r", "new ReflectionClass('RedisCluster');"],
    debian: "php-cli, php-redis",
  },
  {
    name: "redis-rb",
    interpreter: ["/usr/bin/ruby"],
    file: "redis-rb.rb",
    probe: ["/usr/bin/ruby", "-e", "require 'redis'"],
    debian: "ruby-redis",
  },
];

export const scriptClients: readonly Subject[] = SCRIPTS.map((script) => ({
  name: script.name,
  whyMissing: () => whyNot(script.probe, script.debian),
  run: (context) => run(script, context),
  write: (load) => write(script, load),
}));

function start({ interpreter, file }: Script, seconds: number, words: readonly string[]) {
  const script = join(import.meta.dirname, file);
  return Bun.spawn(["timeout", "-s", "KILL", `${seconds}`, ...interpreter, script, ...words], {
    stdin: "pipe",
    stdout: "pipe",
    stderr: "pipe",
  });
}

function objectsOf(text: string): Record<string, string>[] {
  const lines = text.split("\n").filter((line) => line.startsWith("{") && line.endsWith("}"));
  return lines.map((line) => JSON.parse(line) as Record<string, string>);
}

async function run(script: Script, context: Context): Promise<Outcomes> {
  const child = start(script, RUN_SECONDS_MAX, ["run", JSON.stringify(context)]);
  try {
    const [text, errors] = await Promise.all([child.stdout.text(), child.stderr.text()]);
    const objects = objectsOf(text);
    if (objects.length === 0) throw new Error(`${script.name} says nothing: ${errors}`);
    return new Map(objects.map(({ feature, error }) => [feature as Feature, error!]));
  } finally {
    child.kill("SIGKILL");
  }
}

async function write(script: Script, load: Load): Promise<void> {
  const { ports, prefix } = load;
  const child = start(script, WRITE_SECONDS_MAX, ["write", JSON.stringify({ ports, prefix })]);
  load.stop.addEventListener("abort", () => child.stdin.end(), { once: true });
  const decoder = new TextDecoder();
  let lastMs = performance.now();
  let text = "";
  try {
    for await (const chunk of child.stdout) {
      text += decoder.decode(chunk, { stream: true });
      const end = text.lastIndexOf("\n") + 1;
      for (const { acknowledged, failure } of objectsOf(text.slice(0, end))) {
        if (acknowledged === undefined) {
          load.failures.push(failure!);
          continue;
        }
        load.acknowledged.push(acknowledged);
        load.longestMs = Math.max(load.longestMs, performance.now() - lastMs);
        lastMs = performance.now();
      }
      text = text.slice(end);
    }
  } finally {
    child.kill("SIGKILL");
  }
}
