/**
 * What a check of a data directory has found: damage, which was promised or belongs together and does not, and
 * notes, which the next start puts right by itself.
 */
import { CorruptionError, DiskError } from "../../base/errors.ts";

export interface Finding {
  readonly message: string;
  readonly path: string;
  /** Where in the file; undefined: the file as a whole. */
  readonly offset: number | undefined;
}

/** Findings that are kept; a disk that is wholly broken must not fill memory. */
const KEPT_MAX = 1000;
const UNREADABLE = new Set(["EIO", "EBADMSG", "EUCLEAN"]);

export class Findings {
  readonly damage: Finding[] = [];
  readonly notes: Finding[] = [];
  damageCount = 0;
  /** False once records are missing: counts then say nothing. */
  isContentWhole = true;

  addDamage(message: string, path: string, offset?: number): void {
    this.damageCount++;
    if (this.damage.length < KEPT_MAX) this.damage.push({ message, path, offset });
  }

  /** Damage that takes records with it. */
  addLoss(message: string, path: string, offset?: number): void {
    this.isContentWhole = false;
    this.addDamage(message, path, offset);
  }

  addNote(message: string, path: string, offset?: number): void {
    if (this.notes.length < KEPT_MAX) this.notes.push({ message, path, offset });
  }

  /**
   * Result of `action`; undefined when what it reads is damaged, which is then noted. Throws what is not damage: no
   * permission, no memory, a bug.
   */
  attempt<T>(action: () => T, losesRecords = false): T | undefined {
    try {
      return action();
    } catch (error) {
      const finding = damageOf(error);
      if (finding === undefined) throw error;
      if (losesRecords) this.isContentWhole = false;
      this.addDamage(finding.message, finding.path, finding.offset);
      return undefined;
    }
  }
}

function damageOf(error: unknown): Finding | undefined {
  if (error instanceof CorruptionError) {
    const { path, offset } = error;
    // The message ends with the place, which findings carry apart.
    return { message: error.message.replace(/ \([^(]*\)$/, ""), path, offset };
  }
  if (!(error instanceof DiskError)) return undefined;
  const code = (error.cause as { code?: string } | undefined)?.code ?? "";
  if (!UNREADABLE.has(code)) return undefined;
  return { message: `the disk cannot read this: ${code}`, path: error.path, offset: undefined };
}
