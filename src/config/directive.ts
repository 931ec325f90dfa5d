/** What is known about a directive, and how the tables of directives define one. */
import type { Kind } from "./kinds.ts";

export const SECTIONS = {
  network: "Network",
  security: "Security",
  data: "Data and durability",
  memory: "Memory",
  clients: "Clients",
  log: "Log and diagnosis",
  cluster: "Cluster",
  engine: "Engine",
} as const;

export type Section = keyof typeof SECTIONS;

export interface Directive<T> {
  readonly kind: Kind<T>;
  readonly section: Section;
  /** As it would be written in a file; arguments of lists are separated by spaces. */
  readonly default: string;
  /** Only read at start; CONFIG SET refuses it. */
  readonly isImmutable: boolean;
  /** Never printed in messages; may come from a file named by DKV_<NAME>_FILE. */
  readonly isSecret: boolean;
  readonly help: string;
}

interface Details {
  readonly default: string;
  readonly help: string;
  readonly isSecret?: boolean;
}

function define<T>(section: Section, kind: Kind<T>, details: Details, isImmutable: boolean) {
  return { isSecret: false, ...details, kind, section, isImmutable };
}

export function fixed<T>(section: Section, kind: Kind<T>, details: Details): Directive<T> {
  return define(section, kind, details, true);
}

export function settable<T>(section: Section, kind: Kind<T>, details: Details): Directive<T> {
  return define(section, kind, details, false);
}
