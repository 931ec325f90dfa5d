/** Texts for people, made from the directive table: --help and docs/configuration.md. */
import { type Directive, SECTIONS } from "./directive.ts";
import { DIRECTIVE_NAMES, DIRECTIVES } from "./directives.ts";
import { REDIS_ALIASES, REDIS_DIRECTIVES, UNSUPPORTED } from "./redis-directives.ts";

const WIDTH = 96;
const INDENT = "      ";

type Named = readonly [name: string, directive: Directive<unknown>];

function inSection(section: string): Named[] {
  return DIRECTIVE_NAMES.map((name): Named => [name, DIRECTIVES[name]]).filter(
    ([, directive]) => directive.section === section,
  );
}

function wrap(text: string, indent: string): string {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    if (line !== "" && indent.length + line.length + 1 + word.length > WIDTH) {
      lines.push(line);
      line = word;
    } else {
      line = line === "" ? word : `${line} ${word}`;
    }
  }
  lines.push(line);
  return lines.map((part) => indent + part).join("\n");
}

function notes(directive: Directive<unknown>): string {
  const shown = directive.default === "" ? "none" : directive.default;
  return `${directive.kind.label}; default: ${shown}${directive.isImmutable ? "; fixed at start" : ""}`;
}

function optionHelp([name, directive]: Named): string {
  return `  --${name}\n${wrap(directive.help, INDENT)}\n${wrap(`(${notes(directive)})`, INDENT)}`;
}

/** What `--help` prints. `command` is how the program was started. */
export function helpText(command: string): string {
  const sections = Object.entries(SECTIONS).map(
    ([section, title]) => `${title}:\n${inSection(section).map(optionHelp).join("\n")}`,
  );
  return `dkv: a disk-backed key-value store that speaks the Redis protocol.

Usage: ${command} [server] [file | -] [--name value ...] [--name=value ...]
       ${command} <command> [arguments]
       ${command} --help | --version

  file   configuration in redis.conf's syntax; \`-\` reads it from standard input.
  --name any directive of that file; some take several values: --bind 127.0.0.1 ::1
         Sizes: 1k = 1000, 1kb = 1024, and m, mb, g, gb.

Commands, each with its own --help:
  server      the server, as without a command
  cli         a client for terminals and scripts: ${command} cli -p 7000 GET key
  cluster     status, nodes, slots, watch, move, rebalance, drain, moves, abort, failover, forget
  bench       a quick measure of throughput and latency
  check       reads every byte of a data directory and reports, changing nothing
  playground  a cluster in this process, to try things out

Environment:
  DKV_<NAME>       the same directives, dashes as underscores: DKV_PORT=7000, DKV_MIN_FREE_DISK=1gb
  DKV_<NAME>_FILE  for secrets: a file with the value: DKV_REQUIREPASS_FILE=/run/secrets/password
  The file is read first, then the environment, then the options; the last value counts.

Examples:
  ${command} --port 7000 --dir /var/lib/dkv
  ${command} /etc/dkv.conf --loglevel debug
  echo 'maxmemory 2gb' | ${command} - --bind 127.0.0.1
  ${command} cluster status -p 7000
  ${command} cluster move 0-99 --to 127.0.0.1:7003 -p 7000 --dry-run

${sections.join("\n\n")}

Redis's other directives are accepted without effect; docs/configuration.md lists them.
`;
}

const escapeCell = (text: string) => text.replaceAll("|", "\\|");

function tableRow([name, directive]: Named): string {
  const shown = directive.default === "" ? "" : `\`${directive.default}\``;
  const change = directive.isImmutable ? "no" : "yes";
  const cells = [`\`${name}\``, directive.kind.label, shown, change, directive.help].map(
    escapeCell,
  );
  return `| ${cells.join(" | ")} |`;
}

const codeList = (names: Iterable<string>) => [...names].map((name) => `\`${name}\``).join(", ");

/** The whole of docs/configuration.md. */
export function configurationPage(): string {
  const sections = Object.entries(SECTIONS).map(
    ([section, title]) =>
      `## ${title}\n\n| directive | value | default | CONFIG SET | |\n| --- | --- | --- | --- | --- |\n${inSection(section).map(tableRow).join("\n")}\n`,
  );
  const unsupported = [...UNSUPPORTED].map(([name, reason]) => `- \`${name}\`: ${reason}.`);
  return `# Configuration

<!-- Generated from src/config/directives.ts by \`npm run docs\`. -->

Directives come from a file in redis.conf's syntax (first argument; \`-\` for standard input), from the environment
and from the command line, in this order; the last value counts.

    npm start -- /etc/dkv.conf --port 7000 --bind 127.0.0.1 ::1
    DKV_PORT=7000 DKV_REQUIREPASS_FILE=/run/secrets/password npm start

- **File**: one directive per line, \`#\` starts a comment line, values with spaces are quoted: \`"…"\` with the escapes
  \`\\n \\r \\t \\b \\a \\xHH \\" \\\\\`, or \`'…'\` with \`\\'\` only. \`include other.conf\` is relative to the file that has it and may
  contain \`*\` and \`?\`.
- **Environment**: \`DKV_\` and the name in capitals, dashes as underscores. An empty variable counts as unset. A secret
  may also come from the file that \`DKV_<NAME>_FILE\` names; a line break at its end is dropped.
- **Command line**: \`--name value …\` or \`--name=value\`. The second form takes values that begin with \`--\`.
- **Sizes**: \`1k\` is 1000 bytes, \`1kb\` 1024; likewise \`m\`, \`mb\`, \`g\`, \`gb\`.
- An unknown directive ends the start. In the environment it is only a warning, since other programs set variables too.
- \`CONFIG SET\` changes the directives marked yes, \`CONFIG REWRITE\` writes such changes into the file and leaves its
  other lines as they are.

${sections.join("\n")}
## Redis's other directives

Accepted, so that an existing redis.conf works, and logged once each, because they have no effect here. CONFIG GET
shows them.

${codeList(REDIS_DIRECTIVES.keys())}.

Old names of these: ${codeList(REDIS_ALIASES.keys())}.

Refused, because ignoring them would be dangerous, are other values than the default for \`aclfile\`, \`min-replicas-to-write\`,
\`replicaof\`, \`tls-cluster\`, \`tls-port\` and \`tls-replication\`, and these:

${unsupported.join("\n")}
`;
}

/** What to print instead of starting, if the arguments ask for it. */
export function informationFor(
  argv: readonly string[],
  command: string,
  version: string,
): string | undefined {
  const [first] = argv;
  if (first === "--help" || first === "-h") return helpText(command);
  if (first === "--version" || first === "-v") return `dkv ${version} (bun ${Bun.version})\n`;
  return undefined;
}
