/** What the parts of one member share: who it is, its log, the set's document, and where its actions go. */
import type { Outbox } from "./action.ts";
import type { DocumentRegister } from "./document-register.ts";
import type { LogState } from "./log-state.ts";
import type { ReplicationOptions } from "./options.ts";

export interface Context {
  readonly nodeId: string;
  readonly incarnation: number;
  readonly options: ReplicationOptions;
  readonly log: LogState;
  readonly register: DocumentRegister;
  readonly out: Outbox;
}
