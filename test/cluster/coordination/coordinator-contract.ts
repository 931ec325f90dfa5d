/** What every Coordinator must do, run over each implementation. */
import { ContractContext, type Harness } from "./contract-context.ts";
import { describeDocuments } from "./document-contract.ts";
import { describeSessions } from "./session-contract.ts";

/** REQUIRES: inside a describe. */
export function describeContract(start: () => Promise<Harness>): void {
  const context = new ContractContext(start);
  describeDocuments(context);
  describeSessions(context);
}
