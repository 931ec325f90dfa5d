/** How series are described: a name, labels, and what to read them from when they are asked for. */
import type { Scrape } from "./scrape.ts";

export interface Sample {
  readonly labels?: Readonly<Record<string, string>>;
  readonly value: number;
}

export type Register = (
  name: string,
  help: string,
  labelNames: readonly string[],
  read: (scrape: Scrape) => Sample[],
) => void;

export interface SeriesRegistrar {
  readonly gauge: Register;
  /** What only grows until the server starts anew or CONFIG RESETSTAT. */
  readonly counter: Register;
}
