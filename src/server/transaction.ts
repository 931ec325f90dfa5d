/** What MULTI gathers until EXEC. */
import type { Request } from "../resp/request.ts";
import type { CommandSpec } from "./command-table.ts";

export class Transaction {
  readonly specs: CommandSpec[] = [];
  readonly requests: Request[] = [];
  /** Of the commands that EXEC has run: how long each took, and its error's line. */
  readonly micros: number[] = [];
  readonly errors: (string | undefined)[] = [];
  /** A command was refused while queueing: EXEC answers EXECABORT. */
  isDirty = false;
}
