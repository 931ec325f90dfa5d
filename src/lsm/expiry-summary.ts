/** How many records in tables carry an expiry, and when they expire, as the properties of tables tell it. */
import { EXPIRY_QUANTILES, type TableMeta } from "./version-edit.ts";

export interface ExpirySummary {
  /** Records that have not expired; older versions of a key that another table overwrites included. */
  readonly records: number;
  /** Sum of the milliseconds that they have left. */
  readonly leftMs: number;
}

export function summarizeExpiry(
  levels: readonly (readonly TableMeta[])[],
  nowMs: number,
): ExpirySummary {
  let records = 0;
  let leftMs = 0;
  for (const table of levels.flat()) {
    const share = table.expiringCount / EXPIRY_QUANTILES;
    for (const expiry of table.expiryQuantiles) {
      if (expiry <= nowMs) continue;
      records += share;
      leftMs += share * (expiry - nowMs);
    }
  }
  return { records: Math.round(records), leftMs };
}
