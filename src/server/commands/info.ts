/**
 * INFO [section …] (https://redis.io/docs/latest/commands/info/): sections in a fixed order, whatever the order in
 * which they are asked for. Heads keep Redis's case, by which tools find them.
 */
import type { CommandContext, Handlers, ServerContext } from "../handler.ts";
import { dkvFields, keyspaceFields, persistenceFields } from "../info-engine.ts";
import { memoryFields } from "../info-memory.ts";
import { clusterFields, replicationFields } from "../info-replication.ts";
import { clientFields, cpuFields, serverFields } from "../info-server.ts";
import {
  commandStatisticsFields,
  errorStatisticsFields,
  latencyStatisticsFields,
  statisticsFields,
} from "../info-statistics.ts";
import { type InfoField, sectionText } from "../info-text.ts";

interface Section {
  readonly head: string;
  /** Shown without an argument. */
  readonly isDefault: boolean;
  fields(server: ServerContext): InfoField[];
}

const SECTIONS: readonly Section[] = [
  { head: "Server", isDefault: true, fields: serverFields },
  { head: "Clients", isDefault: true, fields: clientFields },
  { head: "Memory", isDefault: true, fields: memoryFields },
  { head: "Persistence", isDefault: true, fields: persistenceFields },
  { head: "Stats", isDefault: true, fields: statisticsFields },
  { head: "Replication", isDefault: true, fields: replicationFields },
  { head: "CPU", isDefault: true, fields: cpuFields },
  { head: "Modules", isDefault: true, fields: () => [] },
  { head: "Commandstats", isDefault: false, fields: commandStatisticsFields },
  { head: "Errorstats", isDefault: true, fields: errorStatisticsFields },
  { head: "Latencystats", isDefault: false, fields: latencyStatisticsFields },
  { head: "Cluster", isDefault: true, fields: clusterFields },
  { head: "Keyspace", isDefault: true, fields: keyspaceFields },
  { head: "dkv", isDefault: true, fields: dkvFields },
];

/** Whether the words of a request, in lower case, ask for a section. */
function isWanted(section: Section, words: ReadonlySet<string>): boolean {
  if (words.has("everything") || words.has("all") || words.has(section.head.toLowerCase())) {
    return true;
  }
  return section.isDefault && (words.size === 0 || words.has("default"));
}

function info({ server, request, reply }: CommandContext): void {
  const words = new Set<string>();
  for (let at = 1; at < request.count; at++) words.add(request.latin1(at).toLowerCase());
  const sections = SECTIONS.filter((section) => isWanted(section, words));
  const texts = sections.map((section) => sectionText(section.head, section.fields(server)));
  reply.verbatim(texts.join("\r\n"));
}

export const INFO_HANDLERS: Handlers = { info };
