/** The text of INFO: sections of `name:value` lines, and figures as Redis prints them. */

export type InfoField = readonly [name: string, value: string | number];

/** One section; its head is matched by case in tools. */
export function sectionText(head: string, fields: readonly InfoField[]): string {
  return `# ${head}\r\n${fields.map(([name, value]) => `${name}:${value}\r\n`).join("")}`;
}

const UNITS = ["K", "M", "G", "T", "P"];

/** Bytes for people: 512B, 1.50K, 3.20G. */
export function humanBytes(bytes: number): string {
  if (bytes < 1024) return `${bytes}B`;
  let value = bytes / 1024;
  let unit = 0;
  while (value >= 1024 && unit + 1 < UNITS.length) {
    value /= 1024;
    unit++;
  }
  return `${value.toFixed(2)}${UNITS[unit]}`;
}

/** A size twice, as a number and for people. */
export function sizeFields(name: string, bytes: number): InfoField[] {
  return [
    [name, bytes],
    [`${name}_human`, humanBytes(bytes)],
  ];
}

export function percentText(part: number, whole: number): string {
  return `${whole === 0 ? "0.00" : ((part / whole) * 100).toFixed(2)}%`;
}

export function zeros(names: string): InfoField[] {
  return names
    .trim()
    .split(/\s+/)
    .map((name) => [name, 0]);
}
