/** What one scrape of /metrics sees: every field of INFO and CLUSTER INFO, read once. */
import type { ReplicationStatus } from "../cluster/replication-status.ts";
import { clusterInfoText } from "../server/cluster-map.ts";
import type { ServerContext } from "../server/handler.ts";
import { dkvFields, keyspaceFields, persistenceFields } from "../server/info-engine.ts";
import { memoryFields } from "../server/info-memory.ts";
import { clusterFields, replicationFields } from "../server/info-replication.ts";
import { clientFields, cpuFields, serverFields } from "../server/info-server.ts";
import { statisticsFields } from "../server/info-statistics.ts";

const SECTIONS = [
  ...[serverFields, clientFields, memoryFields, persistenceFields, statisticsFields],
  ...[replicationFields, cpuFields, clusterFields, keyspaceFields, dkvFields],
];

/** As redis_exporter takes the words of fields for numbers. */
const WORDS: Readonly<Record<string, number>> = { ok: 1, true: 1, err: 0, fail: 0, false: 0 };

export class Scrape {
  readonly context: ServerContext;
  readonly isReady: boolean;
  /** Undefined on a node that is not in a cluster. */
  readonly replication: ReplicationStatus | undefined;
  readonly #fields: ReadonlyMap<string, string>;

  constructor(context: ServerContext, isReady: boolean) {
    this.context = context;
    this.isReady = isReady;
    this.replication = context.cluster?.replication.status();
    const fields = new Map<string, string>();
    for (const section of SECTIONS)
      for (const [name, value] of section(context)) fields.set(name, `${value}`);
    if (context.cluster !== undefined) {
      for (const line of clusterInfoText(context.cluster).split("\r\n")) {
        const colon = line.indexOf(":");
        if (colon > 0) fields.set(line.slice(0, colon), line.slice(colon + 1));
      }
    }
    this.#fields = fields;
  }

  /** Empty: there is no such field. */
  text(field: string): string {
    return this.#fields.get(field) ?? "";
  }

  /** Undefined: there is no such field, or it is no number. */
  number(field: string): number | undefined {
    const text = this.text(field);
    const value = WORDS[text] ?? Number.parseFloat(text);
    return Number.isNaN(value) ? undefined : value;
  }

  /** The parts of a field of the form `name=value,name=value`. */
  parts(field: string): ReadonlyMap<string, string> {
    const pairs = this.text(field).split(",");
    return new Map(
      pairs.map((pair) => {
        const equals = pair.indexOf("=");
        return [pair.slice(0, equals), pair.slice(equals + 1)];
      }),
    );
  }
}
