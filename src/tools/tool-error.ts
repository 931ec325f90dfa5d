/** Why a tool cannot do what it was asked to, and what to do about it. Ends it with `exitCode`. */

/** 0: done. 1: the server has answered an error, or what was looked at is not as it should be. */
export const EXIT_OK = 0;
export const EXIT_FAILED = 1;
/** 2: not even asked: wrong arguments, no connection. */
export const EXIT_NOT_DONE = 2;

export class ToolError extends Error {
  override readonly name = "ToolError";
  readonly hint: string;
  readonly exitCode: number;

  constructor(
    problem: string,
    details: { readonly hint?: string; readonly exitCode?: number; readonly cause?: unknown } = {},
  ) {
    super(problem, { cause: details.cause });
    this.hint = details.hint ?? "";
    this.exitCode = details.exitCode ?? EXIT_NOT_DONE;
  }
}
