/**
 * Errors of the environment: what disks and operators do. Each carries the fields that say where.
 * Programmer errors are AssertionError (assert.ts); client mistakes are reply bytes, never exceptions.
 */

interface Place {
  readonly path: string;
  readonly offset?: number;
  readonly cause?: unknown;
}

function describe(message: string, place: Place): string {
  const at = place.offset === undefined ? place.path : `${place.path} at offset ${place.offset}`;
  return `${message} (${at})`;
}

/** Bytes on disk are not what was written: never served, never repaired silently. */
export class CorruptionError extends Error {
  override readonly name = "CorruptionError";
  readonly path: string;
  readonly offset: number | undefined;

  constructor(message: string, place: Place) {
    super(describe(message, place), { cause: place.cause });
    this.path = place.path;
    this.offset = place.offset;
  }
}

/** A write, sync or rename failed. Final: the kernel may have dropped the dirty pages, so nothing is retried. */
export class DiskError extends Error {
  override readonly name: string = "DiskError";
  readonly path: string;

  constructor(message: string, place: Place) {
    super(describe(message, place), { cause: place.cause });
    this.path = place.path;
  }
}

/** No room for what was to be written. No page was dropped: who can do without the file may remove it and go on. */
export class DiskFullError extends DiskError {
  override readonly name = "DiskFullError";
}

/** The configuration or the data directory cannot be used; the message says what to do. */
export class StartupError extends Error {
  override readonly name = "StartupError";
}
