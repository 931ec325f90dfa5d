/** CLUSTER and the commands of cluster connections, on a server that is not part of a cluster: Redis's words for it. */
import { COMMANDS } from "../command-table.ts";
import type { CommandContext, Handlers } from "../handler.ts";

function disabled({ reply }: CommandContext): void {
  reply.error("ERR This instance has cluster support disabled");
}

const subcommands = COMMANDS.filter((spec) => spec.container?.name === "cluster");

export const CLUSTER_HANDLERS: Handlers = {
  ...Object.fromEntries(subcommands.map((spec) => [spec.name, disabled])),
  asking: disabled,
  readonly: disabled,
  readwrite: disabled,
};
