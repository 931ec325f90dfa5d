/** `cluster`: the state of a cluster, and what an operator does to it. */
import { Command } from "commander";
import { type ClusterPicture, withCamera } from "./cluster-picture.ts";
import { headline, nodesTable, pictureJson, slotsTable, statusTable } from "./cluster-report.ts";
import { watchCluster } from "./cluster-watch.ts";
import {
  addConnectionOptions,
  type ConnectionFlags,
  integerArgument,
} from "./connection-options.ts";
import type { ToolEnvironment } from "./environment.ts";
import { addMoveCommands } from "./move-commands.ts";
import { failOver, forget } from "./operator-actions.ts";
import { type Style, styleFor } from "./text-table.ts";
import { EXIT_FAILED, EXIT_OK } from "./tool-error.ts";

interface ShowFlags extends ConnectionFlags {
  readonly json?: boolean;
}

const INTERVAL_SECONDS_MAX = 3600;
const TIMEOUT_SECONDS_MAX = 600;

type Keep = (status: number) => void;

export function clusterCommand(environment: ToolEnvironment, keep: Keep): Command {
  const { command } = environment;
  const cluster = new Command("cluster")
    .helpOption("--help", "show this help")
    .description(
      "Shows the state of a cluster and changes it. Any node of the cluster can be asked.",
    )
    .addHelpText(
      "after",
      `
Exit status: 0 done, 1 the cluster does not serve all slots or refuses, 2 no node answers or wrong arguments.

Examples:
  ${command} cluster status -p 7000
  ${command} cluster status -p 7000 --json | jq '.sets[].nodes[] | select(.role == "writer")'
  ${command} cluster watch -p 7000
  ${command} cluster failover -p 7000 127.0.0.1:7001
  ${command} cluster rebalance -p 7000 --dry-run`,
    );
  addViews(cluster, environment, keep);
  addWatch(cluster, environment);
  addActions(cluster, environment, keep);
  addMoveCommands(cluster, environment, keep);
  return cluster;
}

const VIEWS: readonly {
  readonly name: string;
  readonly about: string;
  show(picture: ClusterPicture, style: Style): string;
}[] = [
  {
    name: "status",
    about: "Replica sets with their nodes: role, health, lag in frames, keys, load, memory.",
    show: (picture, style) => `${headline(picture, style)}\n\n${statusTable(picture, style)}`,
  },
  {
    name: "nodes",
    about: "Nodes with their ids, epoch, version and uptime.",
    show: nodesTable,
  },
  { name: "slots", about: "Runs of slots with one owner, 0 to 1023.", show: slotsTable },
];

function addViews(cluster: Command, environment: ToolEnvironment, keep: Keep): void {
  for (const { name, about, show } of VIEWS) {
    const view = addConnectionOptions(cluster.command(name))
      .description(about)
      .option("--json", "all that is known, as JSON")
      .addHelpText(
        "after",
        `\nExamples:\n  ${environment.command} cluster ${name} -p 7000\n  ${environment.command} cluster ${name} -h db1.example -p 7000 --json`,
      );
    view.action(async () => {
      const flags = view.opts<ShowFlags>();
      await withCamera(flags, environment, async (camera) => {
        const picture = await camera.take();
        const { stdout, variables } = environment;
        const text = show(picture, styleFor(stdout, variables));
        stdout.write(flags.json ? `${JSON.stringify(pictureJson(picture), null, 2)}\n` : text);
        keep(picture.isOk ? EXIT_OK : EXIT_FAILED);
      });
    });
  }
}

function addWatch(cluster: Command, environment: ToolEnvironment): void {
  const watch = addConnectionOptions(cluster.command("watch"))
    .description("The state of the cluster and its throughput, drawn anew until Ctrl-C.")
    .option(
      "-i, --interval <seconds>",
      "between pictures",
      integerArgument(1, INTERVAL_SECONDS_MAX),
      1,
    )
    .option("-n, --count <pictures>", "end after so many", integerArgument(1, 1e9), 0)
    .addHelpText(
      "after",
      `\nWithout a terminal it prints one line each time.\n\nExamples:\n  ${environment.command} cluster watch -p 7000\n  ${environment.command} cluster watch -p 7000 -i 10 >> cluster.log`,
    );
  watch.action(async () => {
    const flags = watch.opts<ConnectionFlags & { interval: number; count: number }>();
    await withCamera(flags, environment, (camera) =>
      watchCluster(camera, environment, { intervalMs: flags.interval * 1000, count: flags.count }),
    );
  });
}

function addActions(cluster: Command, environment: ToolEnvironment, keep: Keep): void {
  const { command, stdout } = environment;
  const failover = addConnectionOptions(cluster.command("failover"))
    .description(
      "Makes a replica the writer of its set, without losing a write or an error for clients.",
    )
    .argument("<node>", "the replica: its address, or the beginning of its id")
    .option(
      "-t, --timeout <seconds>",
      "to wait for it",
      integerArgument(1, TIMEOUT_SECONDS_MAX),
      30,
    )
    .addHelpText("after", `\nExample:\n  ${command} cluster failover -p 7000 127.0.0.1:7001`);
  failover.action(async (name: string) => {
    const flags = failover.opts<ConnectionFlags & { timeout: number }>();
    await withCamera(flags, environment, async (camera) => {
      stdout.write(await failOver(camera, name, { environment, timeoutMs: flags.timeout * 1000 }));
    });
    keep(EXIT_OK);
  });
  const forgetting = addConnectionOptions(cluster.command("forget"))
    .description("Removes a node that is gone for good from the cluster's documents.")
    .argument(
      "<node>",
      "its address, or the beginning of its id, as `cluster nodes` shows it; the whole id of a spare",
    )
    .addHelpText(
      "after",
      `\nA node that still runs is not forgotten: stop it first. One that comes back later joins again, as a spare or\nwhere a set lacks nodes.\n\nExample:\n  ${command} cluster forget -p 7000 3f9a41c2`,
    );
  forgetting.action(async (name: string) => {
    const flags = forgetting.opts<ConnectionFlags>();
    await withCamera(flags, environment, async (camera) =>
      stdout.write(await forget(camera, name)),
    );
    keep(EXIT_OK);
  });
}
