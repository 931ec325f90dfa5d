/** `cluster move`, `rebalance`, `drain`, `moves` and `abort`: slots from one replica set to another. */

import type { Command } from "commander";
import { rangeText } from "../base/slot-ranges.ts";
import { findSet } from "./cluster-names.ts";
import { type ClusterPicture, withCamera } from "./cluster-picture.ts";
import { addConnectionOptions, type ConnectionFlags } from "./connection-options.ts";
import type { ToolEnvironment } from "./environment.ts";
import {
  findMove,
  openMovesJson,
  openMovesOf,
  openMovesTable,
  runningMovesOf,
} from "./move-plan.ts";
import { type MoveRequest, MoveRun } from "./move-run.ts";
import { decodeReply } from "./reply-value.ts";
import { parseSpans } from "./slot-spans.ts";
import { styleFor } from "./text-table.ts";
import { EXIT_FAILED, ToolError } from "./tool-error.ts";

type Keep = (status: number) => void;

interface MoveFlags extends ConnectionFlags {
  readonly dryRun?: boolean;
  readonly wait: boolean;
  readonly yes?: boolean;
  readonly json?: boolean;
}

const SET_HELP =
  "a replica set: the beginning of its id, or a node of it: host:port, or the beginning of its id";
const NOTES = `
The plan is printed first. On a terminal you are asked whether to go on, unless --yes is given; elsewhere, and with
--json, nobody is asked. Then progress is shown until all slots have moved: Ctrl-C ends that, not the moves. Clients go on
meanwhile, without errors. Exit status: 0 done (begun, with --no-wait), 1 slots have not moved, or nobody followed to the
end, 2 nothing was done.`;
const WEIGHT_MAX = 1_000_000;

export function addMoveCommands(cluster: Command, environment: ToolEnvironment, keep: Keep): void {
  addMove(cluster, environment, keep);
  addRebalance(cluster, environment, keep);
  addDrain(cluster, environment, keep);
  addMoves(cluster, environment);
  addAbort(cluster, environment);
}

function examples(environment: ToolEnvironment, lines: readonly string[]): string {
  const whole = lines.map((line) => `  ${environment.command} cluster ${line}`);
  return `\nExample${lines.length === 1 ? "" : "s"}:\n${whole.join("\n")}`;
}

function addMoveOptions(command: Command): Command {
  return addConnectionOptions(command)
    .option("-n, --dry-run", "print the plan, and do nothing")
    .option("--wait", "follow until all slots have moved", true)
    .option("--no-wait", "return as soon as they begin to move")
    .option("-y, --yes", "do not ask")
    .option("--json", "plan and outcome as JSON, without progress");
}

/** Runs what `requestOf` makes of the cluster as it is. */
async function runRequest(
  command: Command,
  environment: ToolEnvironment,
  requestOf: (picture: ClusterPicture) => MoveRequest,
): Promise<number> {
  const flags = command.opts<MoveFlags>();
  const options = {
    ...{ isDryRun: flags.dryRun === true, isWaiting: flags.wait },
    ...{ isAgreed: flags.yes === true, isJson: flags.json === true },
  };
  return await withCamera(flags, environment, async (camera) => {
    const picture = await camera.take();
    const request = requestOf(picture);
    return await new MoveRun(camera, environment, { request, options }).run(picture);
  });
}

function addMove(cluster: Command, environment: ToolEnvironment, keep: Keep): void {
  const move = addMoveOptions(cluster.command("move"))
    .description("Moves slots to one replica set.")
    .argument("<slots...>", "slots of 0 to 1023, or ranges of them: 0-99 200")
    .requiredOption("--to <set>", SET_HELP)
    .addHelpText(
      "after",
      `${NOTES}\n${examples(environment, [
        "move -p 7000 0-99 200 --to 127.0.0.1:7003 --dry-run",
        "move -p 7000 0-99 200 --to 31fe7c15 --yes",
      ])}`,
    );
  move.action(async (words: string[]) => {
    const spans = words.flatMap(parseSpans);
    const { to } = move.opts<{ to: string }>();
    const status = await runRequest(move, environment, (picture) => ({
      words: ["CLUSTER", "MOVE", ...spans.map(rangeText), "TO", findSet(picture, to).id],
    }));
    keep(status);
  });
}

interface Weight {
  readonly name: string;
  readonly weight: string;
}

/** Throws ToolError when it is not `<set>=<n>`. */
function parseWeight(text: string): Weight {
  const at = text.lastIndexOf("=");
  const weight = text.slice(at + 1);
  if (at > 0 && /^\d{1,7}$/.test(weight) && Number(weight) <= WEIGHT_MAX)
    return { name: text.slice(0, at), weight };
  throw new ToolError(`${text} is no weight`, {
    hint: `Weights are <set>=<n>, with n from 0 to ${WEIGHT_MAX}; sets without one have 1: --weight 127.0.0.1:7003=2`,
  });
}

function addRebalance(cluster: Command, environment: ToolEnvironment, keep: Keep): void {
  const rebalance = addMoveOptions(cluster.command("rebalance"))
    .description("Gives every replica set its share of the slots, with as few moves as that takes.")
    .option(
      "--weight <set>=<n>",
      "share of a set beside the others, which have 1; may be given for several",
      (text: string, before: readonly string[] = []) => [...before, text],
    )
    .addHelpText(
      "after",
      `${NOTES}\n${examples(environment, [
        "rebalance -p 7000 --dry-run",
        "rebalance -p 7000 --weight 127.0.0.1:7003=2 --yes",
      ])}`,
    );
  rebalance.action(async () => {
    const weights = (rebalance.opts<{ weight?: string[] }>().weight ?? []).map(parseWeight);
    const status = await runRequest(rebalance, environment, (picture) => ({
      words: [
        ...["CLUSTER", "REBALANCE"],
        ...weights.flatMap(({ name, weight }) => ["WEIGHT", findSet(picture, name).id, weight]),
      ],
    }));
    keep(status);
  });
}

function addDrain(cluster: Command, environment: ToolEnvironment, keep: Keep): void {
  const drain = addMoveOptions(cluster.command("drain"))
    .description(
      "Moves all slots of a replica set to the others, so that its nodes are not needed.",
    )
    .argument("<set>", SET_HELP)
    .addHelpText(
      "after",
      `${NOTES}\n${examples(environment, ["drain -p 7000 127.0.0.1:7003 --dry-run", "drain -p 7000 31fe7c15"])}`,
    );
  drain.action(async (name: string) => {
    const status = await runRequest(drain, environment, (picture) => {
      const { id } = findSet(picture, name);
      return { words: ["CLUSTER", "DRAIN", id], drained: id };
    });
    keep(status);
  });
}

function addMoves(cluster: Command, environment: ToolEnvironment): void {
  const moves = addConnectionOptions(cluster.command("moves"))
    .description(
      "Moves of slots that have not ended, and how far those are that are carried out now.",
    )
    .option("--json", "all that is known, as JSON")
    .addHelpText("after", examples(environment, ["moves -p 7000", "moves -p 7000 --json"]));
  moves.action(async () => {
    const flags = moves.opts<ConnectionFlags & { json?: boolean }>();
    await withCamera(flags, environment, async (camera) => {
      const { stdout, variables } = environment;
      const open = openMovesOf(await camera.ask(["CLUSTER", "MOVES"]));
      const picture = await camera.take();
      if (flags.json === true) {
        stdout.write(`${JSON.stringify(openMovesJson(open, picture), null, 2)}\n`);
        return;
      }
      const table = openMovesTable(open, picture, styleFor(stdout, variables));
      const text = `${movesHead(picture, open.length)}\n\n${table}`;
      stdout.write(open.length === 0 ? "no slots are on the move\n" : text);
    });
  });
}

function movesHead({ sets }: ClusterPicture, count: number): string {
  const infos = sets.flatMap(({ nodes }) => nodes.map(({ info }) => info));
  const running = infos.reduce((sum, info) => sum + runningMovesOf(info).length, 0);
  return `${count} move${count === 1 ? "" : "s"}, ${running} of them carried out now`;
}

function addAbort(cluster: Command, environment: ToolEnvironment): void {
  const abort = addConnectionOptions(cluster.command("abort"))
    .description("Ends moves that have not been decided: their slots stay where they are.")
    .argument("<move>", "the beginning of its id, as `cluster moves` shows it, or all")
    .addHelpText(
      "after",
      `\nSlots that have moved already stay there: \`cluster move\` brings them back.\n${examples(environment, ["abort -p 7000 all", "abort -p 7000 5be1c0aa"])}`,
    );
  abort.action(async (name: string) => {
    await withCamera(abort.opts<ConnectionFlags>(), environment, async (camera) => {
      const open = openMovesOf(await camera.ask(["CLUSTER", "MOVES"]));
      const isAll = name.toLowerCase() === "all";
      const id = isAll ? "ALL" : findMove(open, name);
      const reply = decodeReply(await camera.ask(["CLUSTER", "ABORT", id]));
      if (reply instanceof Error) {
        throw new ToolError(`the cluster refuses: ${reply.message}`, {
          hint: "Ask again in a moment, or another node; `cluster moves` shows what is open.",
          exitCode: EXIT_FAILED,
        });
      }
      environment.stdout.write(abortText(Number(reply), open.length));
    });
  });
}

function abortText(count: number, open: number): string {
  if (count > 0)
    return `${count} move${count === 1 ? " is" : "s are"} off: the slots stay where they are\n`;
  return open === 0
    ? "no slots are on the move\n"
    : "nothing to end: what is open has been decided\n";
}
