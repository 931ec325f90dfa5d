/** How the result of a check is shown: aligned for people, a line per fact for scripts, JSON for programs. */
import type { CheckReport } from "./store/check/check-directory.ts";
import type { Finding } from "./store/check/findings.ts";

const MIB = 1024 * 1024;

function grouped(value: number | undefined): string {
  return value === undefined ? "unknown" : value.toLocaleString("en-US");
}

function size(bytes: number): string {
  if (bytes >= 1024 * MIB) return `${(bytes / (1024 * MIB)).toFixed(2)} GiB`;
  if (bytes >= MIB) return `${(bytes / MIB).toFixed(1)} MiB`;
  return `${(bytes / 1024).toFixed(1)} KiB`;
}

function place(finding: Finding): string {
  return finding.offset === undefined ? finding.path : `${finding.path}:${finding.offset}`;
}

/** Rows as columns, the first one to the left and the others to the right. */
function table(rows: readonly (readonly string[])[]): string {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  const lines = rows.map((row) =>
    row
      .map((cell, column) =>
        column === 0 ? cell.padEnd(widths[column]!) : cell.padStart(widths[column]!),
      )
      .join("   "),
  );
  return lines.map((line) => `  ${line}\n`).join("");
}

function findingsFor(title: string, findings: readonly Finding[], count: number): string {
  if (count === 0) return "";
  const more = count > findings.length ? `  … and ${count - findings.length} more\n` : "";
  const lines = findings.map((finding) => `  ${place(finding)}\n      ${finding.message}\n`);
  return `\n${title}\n${lines.join("")}${more}`;
}

function verdict(report: CheckReport, seconds: number): string {
  const found =
    report.damageCount === 0 ? "No damage found" : `DAMAGED: ${report.damageCount} places`;
  const speed = size(report.readBytes / Math.max(seconds, 0.001));
  return `${found}. Read ${size(report.readBytes)} in ${seconds.toFixed(1)} s (${speed}/s).`;
}

export function formatForPeople(report: CheckReport, seconds: number): string {
  const { identity, manifest, levels, log, keys, space } = report;
  const facts: [string, string][] = [
    ["directory", report.directory],
    [
      "identity",
      identity === undefined ? "unreadable" : `${identity.directoryId}, format ${identity.format}`,
    ],
  ];
  facts.push([
    "manifest",
    manifest === undefined
      ? "unreadable"
      : `${manifest.file ?? "none yet"}: ${grouped(manifest.edits)} edits, ${grouped(manifest.tables)} tables, ` +
        `${manifest.missingTables.length} missing; ${manifest.superfluousFiles.length} superfluous files`,
  ]);
  facts.push([
    "log",
    `${grouped(log.segments)} segments, frames ${log.firstIndex} to ${log.lastIndex}, ${grouped(log.records)} records, ` +
      `${grouped(log.unflushedRecords)} of them not in tables`,
  ]);
  facts.push([
    "keys",
    `${grouped(keys?.total)}; in tables ${grouped(keys?.tables)}, by the manifest ${grouped(keys?.manifest)}`,
  ]);
  const head = facts.map(([name, value]) => `${name.padEnd(11)}${value}\n`).join("");
  const levelRows = levels.map((level) =>
    [level.tables, level.records, level.tombstones]
      .map(grouped)
      .concat(size(level.bytes), grouped(level.damagedTables)),
  );
  const levelTable = table([
    ["level", "tables", "records", "tombstones", "size", "damaged"],
    ...levelRows.map((row, i) => [`${levels[i]!.level}`, ...row]),
  ]);
  const spaceTable = table([
    ["space", "files", "size"],
    ...space.map(({ part, files, bytes }) => [part, grouped(files), size(bytes)]),
  ]);
  return (
    `${head}\n${levels.length > 0 ? `${levelTable}\n` : ""}${spaceTable}` +
    findingsFor("Notes (the next start deals with these)", report.notes, report.notes.length) +
    findingsFor("Damage", report.damage, report.damageCount) +
    `\n${verdict(report, seconds)}\n`
  );
}

function line(name: string, values: Record<string, unknown>): string {
  const words = Object.entries(values).map(([key, value]) => `${key}=${value ?? "unknown"}`);
  return `${[name, ...words].join(" ")}\n`;
}

/** A fact per line: a name, then key=value. Findings: `damage <file>:<offset>: <what>`. */
export function formatLines(report: CheckReport, seconds: number): string {
  const { identity, manifest, log, keys } = report;
  const { missingTables, superfluousFiles, ...facts } = manifest ?? {};
  const finding = (kind: string) => (found: Finding) =>
    `${kind} ${place(found)}: ${found.message}\n`;
  return [
    line("identity", identity ?? { directoryId: undefined }),
    line("manifest", {
      ...facts,
      missing: missingTables?.length,
      superfluous: superfluousFiles?.length,
    }),
    ...report.levels.map((level) => line("level", { ...level })),
    line("log", { ...log }),
    line("keys", { ...keys }),
    ...report.space.map(({ part, files, bytes }) => line(`space ${part}:`, { files, bytes })),
    ...report.notes.map(finding("note")),
    ...report.damage.map(finding("damage")),
    line(report.damageCount === 0 ? "clean" : "damaged", {
      damage: report.damageCount,
      readBytes: report.readBytes,
      seconds: seconds.toFixed(3),
    }),
  ].join("");
}

export function formatJson(report: CheckReport, seconds: number): string {
  const outcome = report.damageCount === 0 ? "clean" : "damaged";
  const shown = { outcome, seconds, ...report };
  return `${JSON.stringify(shown, (_, value: unknown) => (value === undefined ? null : value), 2)}\n`;
}
