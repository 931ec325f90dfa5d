/**
 * GET /metrics in Prometheus's text format. Nothing is counted here: each series is filled when it is asked for, from
 * what INFO shows, so a server that nobody scrapes pays nothing.
 */
import { Counter, Gauge, Registry } from "prom-client";
import type { ServerContext } from "../server/handler.ts";
import { registerDkvSeries } from "./dkv-series.ts";
import {
  DKV_COUNTERS,
  DKV_GAUGES,
  type FieldMetric,
  REDIS_COUNTERS,
  REDIS_GAUGES,
} from "./metric-tables.ts";
import { registerRedisSeries } from "./redis-series.ts";
import { Scrape } from "./scrape.ts";
import type { Register, Sample, SeriesRegistrar } from "./series.ts";

function helpOf({ field, factor }: FieldMetric): string {
  return factor === 1 ? `${field} of INFO.` : `${field} of INFO, in seconds.`;
}

/** While there is no server yet. */
export const LOADING_TEXT = `# HELP redis_up Whether the server answers.
# TYPE redis_up gauge
redis_up 0
# HELP dkv_ready As /readyz: 1 while clients are to be sent here.
# TYPE dkv_ready gauge
dkv_ready 0
`;

export class Metrics implements SeriesRegistrar {
  readonly #registry = new Registry();
  #scrape: Scrape | undefined = undefined;

  constructor() {
    for (const each of [...REDIS_GAUGES, ...DKV_GAUGES]) this.#addField("gauge", each);
    for (const each of [...REDIS_COUNTERS, ...DKV_COUNTERS]) this.#addField("counter", each);
    registerRedisSeries(this);
    registerDkvSeries(this);
  }

  get contentType(): string {
    return this.#registry.contentType;
  }

  /** `isReady`: as /readyz says. */
  async text(context: ServerContext, isReady: boolean): Promise<string> {
    this.#scrape = new Scrape(context, isReady);
    const text = await this.#registry.metrics();
    this.#scrape = undefined;
    return text;
  }

  readonly gauge: Register = (name, help, labelNames, read) => {
    const samples = this.#samplesOf(read);
    new Gauge({
      ...{ name, help, labelNames, registers: [this.#registry] },
      collect() {
        this.reset();
        for (const { labels, value } of samples()) this.set(labels ?? {}, value);
      },
    });
  };

  readonly counter: Register = (name, help, labelNames, read) => {
    const samples = this.#samplesOf(read);
    new Counter({
      ...{ name, help, labelNames, registers: [this.#registry] },
      collect() {
        this.reset();
        for (const { labels, value } of samples()) this.inc(labels ?? {}, value);
      },
    });
  };

  #samplesOf(read: (scrape: Scrape) => Sample[]): () => Sample[] {
    return () => (this.#scrape === undefined ? [] : read(this.#scrape));
  }

  #addField(kind: "gauge" | "counter", metric: FieldMetric): void {
    this[kind](metric.name, helpOf(metric), [], (scrape) => {
      const value = scrape.number(metric.field);
      return value === undefined ? [] : [{ value: value * metric.factor }];
    });
  }
}
