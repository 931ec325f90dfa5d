/**
 * What the event loop and the storage Worker say to each other, and errors in a form that postMessage keeps.
 */
import { AssertionError } from "../base/assert.ts";
import { CorruptionError, DiskError, DiskFullError } from "../base/errors.ts";
import type { StorageJob, StorageResult } from "./storage-job.ts";

export type WorkerRequest =
  /** Memory for the whole process. */
  | { readonly kind: "budget"; readonly memoryBytes: number }
  | { readonly kind: "job"; readonly id: number; readonly job: StorageJob }
  | { readonly kind: "close" };

export type WorkerResponse =
  | { readonly kind: "ready" }
  | { readonly kind: "done"; readonly id: number; readonly result: StorageResult }
  | { readonly kind: "failed"; readonly id: number; readonly error: PlainError }
  | { readonly kind: "closed" };

export interface PlainError {
  readonly name: string;
  readonly message: string;
  readonly stack: string | undefined;
  readonly path: string | undefined;
  readonly offset: number | undefined;
}

export function plainError(error: Error): PlainError {
  return {
    name: error.name,
    message: error.message,
    stack: error.stack,
    path: "path" in error ? String(error.path) : undefined,
    offset: "offset" in error && typeof error.offset === "number" ? error.offset : undefined,
  };
}

/** The error of the same class; its message already names the place. */
export function reviveError(plain: PlainError): Error {
  const error = construct(plain);
  error.message = plain.message;
  if (plain.stack !== undefined) error.stack = plain.stack;
  return error;
}

function construct(plain: PlainError): Error {
  const path = plain.path ?? "";
  const place = plain.offset === undefined ? { path } : { path, offset: plain.offset };
  switch (plain.name) {
    case "CorruptionError":
      return new CorruptionError(plain.message, place);
    case "DiskError":
      return new DiskError(plain.message, place);
    case "DiskFullError":
      return new DiskFullError(plain.message, place);
    case "AssertionError":
      return new AssertionError(plain.message);
    default:
      return new Error(plain.message);
  }
}
