/** Commands that Redis does not have, in the forms of commands.json, command-docs.txt and command-help.txt, which are its. */
import type { RawCommand } from "./command-table.ts";

interface OwnCommand {
  readonly name: string;
  readonly arity: number;
  readonly summary: string;
  /** As HELP words it. */
  readonly words: string;
}

/** Subcommands of CLUSTER (commands/cluster-moves.ts). */
const OF_CLUSTER: readonly OwnCommand[] = [
  {
    ...{ name: "abort", arity: 3, words: "ABORT <move-id>|ALL" },
    summary: "End moves of slots that have not been decided.",
  },
  {
    ...{ name: "drain", arity: -3, words: "DRAIN <set-id> [DRYRUN]" },
    summary: "Move all slots of a replica set to the others.",
  },
  {
    ...{ name: "move", arity: -5, words: "MOVE <slots> [<slots> ...] TO <set-id> [DRYRUN]" },
    summary: "Move slots, or ranges of slots, to a replica set.",
  },
  {
    ...{ name: "moves", arity: 2, words: "MOVES" },
    summary: "Return information about moves of slots that have not ended.",
  },
  {
    ...{ name: "rebalance", arity: -2, words: "REBALANCE [WEIGHT <set-id> <weight>] ... [DRYRUN]" },
    summary: "Give each replica set its share of the slots, with the fewest moves.",
  },
];

export const OWN_CLUSTER_COMMANDS: readonly RawCommand[] = OF_CLUSTER.map(({ name, arity }) => ({
  ...{ name: `cluster|${name}`, arity, flags: "admin stale no_async_loading" },
  acl: "admin slow dangerous",
}));

/** By printed name. */
export const OWN_CLUSTER_DOCS = Object.fromEntries(
  OF_CLUSTER.map(({ name, summary }) => [
    `cluster|${name}`,
    {
      summary,
      since: "0.1.0",
      group: "cluster",
      complexity: "O(N) where N is the number of slots",
    },
  ]),
);

export const OWN_CLUSTER_HELP: readonly string[] = OF_CLUSTER.flatMap(({ words, summary }) => [
  words,
  `    ${summary}`,
]);
