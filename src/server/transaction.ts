/** What MULTI gathers until EXEC. */
import type { Request } from "../resp/request.ts";
import type { CommandSpec } from "./command-table.ts";

export class Transaction {
  readonly specs: CommandSpec[] = [];
  readonly requests: Request[] = [];
  /** A command was refused while queueing: EXEC answers EXECABORT. */
  isDirty = false;
}
