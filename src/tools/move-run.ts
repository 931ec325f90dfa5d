/**
 * What `cluster move`, `rebalance` and `drain` do:
 *
 *     plan (DRYRUN), printed ──► asked for, on a terminal ──► begun ──► followed until every slot is where it is to be
 *
 * The cluster moves the slots, whether or not somebody follows. A slot has arrived when its destination owns it. One that
 * has not, and that no open move names any more, will not: its move was aborted, or somebody else has moved it.
 */
import * as readline from "node:readline";
import { rangesOfSlots, slotsOf } from "../base/slot-ranges.ts";
import { setName } from "./cluster-names.ts";
import type { ClusterPicture, ClusterView } from "./cluster-picture.ts";
import type { ToolEnvironment } from "./environment.ts";
import { bytesText, durationText } from "./figures.ts";
import {
  countOf,
  isUndecided,
  openMovesOf,
  type Plan,
  planJson,
  planOf,
  planTable,
  slotsPhrase,
} from "./move-plan.ts";
import {
  planProgress,
  SourceMeter,
  type SourceProgress,
  slotsLeft,
  sumOf,
} from "./move-progress.ts";
import { type MoveScreen, moveScreen, NO_SCREEN } from "./move-screen.ts";
import { spansJson, spansText } from "./slot-spans.ts";
import { styleFor } from "./text-table.ts";
import { EXIT_FAILED, EXIT_NOT_DONE, EXIT_OK, ToolError } from "./tool-error.ts";

/** Between pictures. */
const POLL_MS = 500;
/** CLUSTER MOVES reads a document for every move: not more often than this. */
const LIST_MS = 5000;
/** What one node says of moves and what another knows of owners differ for a moment. */
const GRACE_MS = 3000;
/** A set without slots is taken out of the documents soon, where that is done at all. */
const RETIRE_MS = 10_000;
const SILENCE_MS = 30_000;

export interface MoveRequest {
  /** What the cluster is asked, without DRYRUN. */
  readonly words: readonly string[];
  /** A set that is to have no slots, and then to go. */
  readonly drained?: string;
}

export interface MoveOptions {
  readonly isDryRun: boolean;
  readonly isWaiting: boolean;
  /** Nobody is asked. */
  readonly isAgreed: boolean;
  readonly isJson: boolean;
}

interface Outcome {
  /** stopped: nobody looks any more, the moves go on. */
  readonly state: "planned" | "begun" | "done" | "incomplete" | "stopped";
  readonly left: readonly number[];
  readonly sentBytes: number;
  readonly ms: number;
  readonly isSetGone?: boolean;
}

export class MoveRun {
  readonly #view: ClusterView;
  readonly #environment: ToolEnvironment;
  readonly #options: MoveOptions;
  readonly #request: MoveRequest;

  constructor(
    view: ClusterView,
    environment: ToolEnvironment,
    { request, options }: { readonly request: MoveRequest; readonly options: MoveOptions },
  ) {
    this.#view = view;
    this.#environment = environment;
    this.#options = options;
    this.#request = request;
  }

  /** The exit status. Throws ToolError when the cluster refuses, or not all slots have moved. */
  async run(picture: ClusterPicture): Promise<number> {
    const { words, drained } = this.#request;
    const { isDryRun, isWaiting, isJson } = this.#options;
    let plan = planOf(await this.#view.ask([...words, "DRYRUN"]));
    this.#showPlan(plan, picture);
    if (isDryRun || (plan.length === 0 && drained === undefined)) {
      const state = isDryRun ? "planned" : "done";
      return this.#end(plan, picture, { state, left: [], sentBytes: 0, ms: 0 });
    }
    if (!(await this.#isAgreed(plan))) {
      this.#environment.stdout.write("Nothing moves.\n");
      return EXIT_NOT_DONE;
    }
    const begun = planOf(await this.#view.ask(words));
    if (!Bun.deepEquals(begun, plan)) {
      plan = begun;
      if (!isJson) this.#environment.stdout.write("The cluster has changed; what moves is:\n");
      this.#showPlan(plan, picture);
    }
    if (!isWaiting) {
      const left = plan.flatMap(({ slots }) => slotsOf(slots));
      return this.#end(plan, picture, { state: "begun", left, sentBytes: 0, ms: 0 });
    }
    const follow = new Follow(this.#view, this.#environment, plan);
    const outcome = await follow.run(picture, isJson ? NO_SCREEN : moveScreen(this.#environment));
    if (outcome.state !== "done" || drained === undefined) return this.#end(plan, picture, outcome);
    const isSetGone = await follow.untilGone(drained);
    return this.#end(plan, picture, { ...outcome, isSetGone });
  }

  #showPlan(plan: Plan, picture: ClusterPicture): void {
    const { stdout, variables } = this.#environment;
    if (this.#options.isJson) return;
    if (plan.length === 0) stdout.write(`Nothing to move: ${this.#whyNothing(picture)}\n`);
    else stdout.write(planTable(plan, picture, styleFor(stdout, variables)));
  }

  #whyNothing(picture: ClusterPicture): string {
    const { words, drained } = this.#request;
    if (drained !== undefined) return `${setName(picture, drained)} has no slots`;
    return words.includes("MOVE")
      ? "the slots are there already, or on the move"
      : "every set has its share already";
  }

  async #isAgreed(plan: Plan): Promise<boolean> {
    const { stdin, stdout } = this.#environment;
    const { isAgreed, isJson } = this.#options;
    if (isAgreed || isJson || stdin.isTTY !== true || stdout.isTTY !== true) return true;
    stdout.write(`Move ${slotsPhrase(countOf(plan))}? [y/N] `);
    const lines = readline.createInterface({ input: stdin });
    try {
      for await (const line of lines) return /^\s*y(es)?\s*$/i.test(line);
      return false;
    } finally {
      lines.close();
    }
  }

  #end(plan: Plan, picture: ClusterPicture, outcome: Outcome): number {
    const { stdout } = this.#environment;
    const isWell = outcome.state !== "incomplete" && outcome.state !== "stopped";
    if (this.#options.isJson) {
      const left = spansJson(rangesOfSlots(outcome.left));
      const { state, sentBytes, ms, isSetGone } = outcome;
      const seconds = Math.round(ms) / 1000;
      const json = { state, count: countOf(plan), left, sentBytes, seconds, isSetGone };
      stdout.write(`${JSON.stringify({ plan: planJson(plan), outcome: json }, null, 2)}\n`);
    } else {
      stdout.write(this.#lastLines(plan, picture, outcome));
    }
    return isWell ? EXIT_OK : EXIT_FAILED;
  }

  /** Throws ToolError when slots have not moved. */
  #lastLines(plan: Plan, picture: ClusterPicture, outcome: Outcome): string {
    const { command } = this.#environment;
    const { drained } = this.#request;
    const { state, left, sentBytes, ms } = outcome;
    const count = countOf(plan);
    switch (state) {
      case "planned":
        return count === 0 ? "" : `${slotsPhrase(count)} would move.\n`;
      case "begun":
        return `${slotsPhrase(count)} begin to move. \`${command} cluster moves\` and \`cluster watch\` show how far they are.\n`;
      case "stopped":
        return `Nobody follows any more, but the moves go on: ${slotsPhrase(left.length)} left. \`${command} cluster moves\` shows them, \`cluster abort all\` ends them.\n`;
      case "incomplete":
        throw new ToolError(
          `${left.length} of ${slotsPhrase(count)} have not moved: ${spansText(rangesOfSlots(left))}`,
          {
            hint: "Their moves were aborted, or somebody else has moved them: `cluster slots` shows who has them. The same command\nagain moves what is left.",
            exitCode: EXIT_FAILED,
          },
        );
      case "done": {
        const moved =
          count === 0
            ? ""
            : `${slotsPhrase(count)} moved in ${durationText(ms / 1000)}, ${bytesText(sentBytes)} sent\n`;
        if (drained === undefined) return moved;
        const name = setName(picture, drained);
        return outcome.isSetGone === true
          ? `${moved}${name} is retired: its nodes hold nothing, and take part again with empty directories\n`
          : `${moved}${name} has no slots; it is still a replica set\n`;
      }
    }
  }
}

/** Looks until all slots of a plan are where they are to be. */
class Follow {
  readonly #view: ClusterView;
  readonly #environment: ToolEnvironment;
  readonly #plan: Plan;
  readonly #meter = new SourceMeter();
  #heardMs = 0;
  #listedMs = 0;
  /** Since when no open move names any of the slots that are left. */
  #unnamedMs: number | undefined = undefined;

  constructor(view: ClusterView, environment: ToolEnvironment, plan: Plan) {
    this.#view = view;
    this.#environment = environment;
    this.#plan = plan;
  }

  get #nowMs(): number {
    return this.#environment.clock.monotonicMs();
  }

  /** `before`: from before the slots began to move. */
  async run(before: ClusterPicture, screen: MoveScreen): Promise<Outcome> {
    const startMs = this.#nowMs;
    const interrupted = Promise.withResolvers<undefined>();
    const cancel = this.#environment.onInterrupt(() => interrupted.resolve(undefined));
    let sources = this.#meter.look(before, startMs);
    let left = slotsLeft(this.#plan, before);
    const outcome = (state: Outcome["state"]): Outcome => ({
      ...{ state, left, ms: this.#nowMs - startMs },
      sentBytes: sumOf(this.#own(sources).values()).sentBytes,
    });
    this.#heardMs = startMs;
    this.#listedMs = startMs;
    try {
      for (;;) {
        const seen = await Promise.race([this.#look(), interrupted.promise]);
        if (seen === undefined) return outcome("stopped");
        if (seen !== "silence") {
          sources = this.#meter.look(seen, this.#nowMs);
          left = slotsLeft(this.#plan, seen);
          screen.show(planProgress(this.#plan, seen), this.#own(sources));
          if (left.length === 0) return outcome("done");
          if (await this.#isOver(left, sources)) return outcome("incomplete");
        }
        await Promise.race([this.#pause(), interrupted.promise]);
      }
    } finally {
      cancel();
      screen.close();
    }
  }

  /** Whether the set goes, once it has no slots. */
  async untilGone(setId: string): Promise<boolean> {
    const endMs = this.#nowMs + RETIRE_MS;
    while (this.#nowMs < endMs) {
      const seen = await this.#look();
      // A set whose nodes do not answer has no id in a picture.
      const isThere = ({ id, slots }: ClusterPicture["sets"][number]) =>
        id === setId || (id === "" && slots.length === 0);
      if (seen !== "silence" && !seen.sets.some(isThere)) return true;
      await this.#pause();
    }
    return false;
  }

  /** Of the sets that slots of the plan leave. */
  #own(sources: ReadonlyMap<string, SourceProgress>): ReadonlyMap<string, SourceProgress> {
    const own = new Set(this.#plan.map(({ source }) => source));
    return new Map([...sources].filter(([id]) => own.has(id)));
  }

  /** Throws ToolError when nobody has answered for long. */
  async #look(): Promise<ClusterPicture | "silence"> {
    try {
      const picture = await this.#view.take();
      this.#heardMs = this.#nowMs;
      return picture;
    } catch (error) {
      if (!(error instanceof ToolError)) throw error;
      if (this.#nowMs - this.#heardMs < SILENCE_MS) return "silence";
      throw new ToolError(error.message, {
        hint: "The moves go on by themselves. Ask another node with --host and --port: `cluster moves`.",
        exitCode: EXIT_FAILED,
        cause: error,
      });
    }
  }

  /** Whether none of the slots that are left is on the move any more. */
  async #isOver(
    left: readonly number[],
    sources: ReadonlyMap<string, SourceProgress>,
  ): Promise<boolean> {
    const isIdle = sumOf(this.#own(sources).values()).open === 0;
    if (!isIdle && this.#nowMs - this.#listedMs < LIST_MS) return false;
    this.#listedMs = this.#nowMs;
    const named = await this.#slotsOnTheMove();
    if (named === undefined || left.some((slot) => named.has(slot))) {
      this.#unnamedMs = undefined;
      return false;
    }
    this.#unnamedMs ??= this.#nowMs;
    return this.#nowMs - this.#unnamedMs >= GRACE_MS;
  }

  /** Undefined: nobody can say now. */
  async #slotsOnTheMove(): Promise<ReadonlySet<number> | undefined> {
    try {
      const moves = openMovesOf(await this.#view.ask(["CLUSTER", "MOVES"]));
      return new Set(moves.filter(isUndecided).flatMap(({ slots }) => slotsOf(slots)));
    } catch (error) {
      if (error instanceof ToolError) return undefined;
      throw error;
    }
  }

  #pause(): Promise<void> {
    return new Promise((resolve) => this.#environment.clock.after(POLL_MS, resolve));
  }
}
