/**
 * `cluster watch`: the state of a cluster, drawn again and again in place. On something that is no terminal it is the
 * headline, a line each time, for logs.
 */
import {
  allNodes,
  type ClusterPicture,
  type ClusterView,
  type NodePicture,
} from "./cluster-picture.ts";
import { headline, statusTable } from "./cluster-report.ts";
import type { ToolEnvironment } from "./environment.ts";
import { bytesText, countText } from "./figures.ts";
import { openMovesOf, slotsPhrase } from "./move-plan.ts";
import { barLines, OpenMeter, SourceMeter, sumOf, trafficText } from "./move-progress.ts";
import { type Style, styleFor } from "./text-table.ts";
import { ToolError } from "./tool-error.ts";

const HOME = "\u001b[H";
const CLEAR_TO_LINE_END = "\u001b[K";
const CLEAR_BELOW = "\u001b[J";
const OTHER_SCREEN = "\u001b[?1049h\u001b[?25l";
const FIRST_SCREEN = "\u001b[?25h\u001b[?1049l";

export interface WatchOptions {
  readonly intervalMs: number;
  /** Pictures; 0: until Ctrl-C. */
  readonly count: number;
}

/** What all nodes have done since the picture before. */
class Throughput {
  readonly #before = new Map<string, { commands: number; input: number; output: number }>();
  #beforeMs = 0;

  line(nodes: readonly NodePicture[], nowMs: number): string {
    const seconds = (nowMs - this.#beforeMs) / 1000;
    const sum = { commands: 0, input: 0, output: 0 };
    for (const { id, info } of nodes) {
      const now = {
        commands: Number(info.get("total_commands_processed") ?? 0),
        input: Number(info.get("total_net_input_bytes") ?? 0),
        output: Number(info.get("total_net_output_bytes") ?? 0),
      };
      const before = this.#before.get(id);
      this.#before.set(id, now);
      if (before === undefined) continue;
      // A node that was started anew counts from 0.
      for (const name of ["commands", "input", "output"] as const)
        sum[name] += Math.max(0, now[name] - before[name]);
    }
    const isFirst = this.#beforeMs === 0;
    this.#beforeMs = nowMs;
    if (isFirst) return "";
    const rate = (value: number) => value / Math.max(seconds, 0.001);
    return `${countText(rate(sum.commands))} commands/s, ${bytesText(Math.round(rate(sum.input)))}/s in, ${bytesText(Math.round(rate(sum.output)))}/s out`;
  }
}

/** Slots on the move: bars for a terminal, and the same in words. */
class MovesView {
  readonly #open = new OpenMeter();
  readonly #sources = new SourceMeter();

  async look(
    camera: ClusterView,
    picture: ClusterPicture,
    nowMs: number,
  ): Promise<{ readonly text: string; readonly bars: readonly string[] }> {
    const sources = this.#sources.look(picture, nowMs);
    const sum = sumOf(sources.values());
    // Every move is a document to be read: only when there are some.
    const moves = sum.open === 0 ? [] : openMovesOf(await camera.ask(["CLUSTER", "MOVES"]));
    const pairs = this.#open.look(moves);
    const left = pairs.reduce((count, { done, total }) => count + total - done, 0);
    if (left === 0) return { text: "", bars: [] };
    const text = `${slotsPhrase(left)} on the move, ${trafficText(sum)}`;
    const bars = barLines(pairs, sources);
    return { text, bars: pairs.length === 1 ? bars : [text, ...bars] };
  }
}

/** Ends at Ctrl-C or after so many pictures. */
export async function watchCluster(
  camera: ClusterView,
  environment: ToolEnvironment,
  { intervalMs, count }: WatchOptions,
): Promise<void> {
  const { stdout, clock, variables } = environment;
  const style = styleFor(stdout, variables);
  const ended = Promise.withResolvers<void>();
  const cancel = environment.onInterrupt(() => ended.resolve());
  let isOver = false;
  void ended.promise.then(() => {
    isOver = true;
  });
  const describe = describer(camera, style);
  if (style.isTerminal) stdout.write(OTHER_SCREEN);
  try {
    for (let taken = 1; !isOver; taken++) {
      const text = await describe(clock.monotonicMs());
      draw(text, style, environment);
      if (taken === count) break;
      const pause = new Promise<void>((resolve) => clock.after(intervalMs, resolve));
      await Promise.race([pause, ended.promise]);
    }
  } finally {
    cancel();
    if (style.isTerminal) stdout.write(FIRST_SCREEN);
  }
}

interface Description {
  /** One line says all of it. */
  readonly line: string;
  readonly lines: readonly string[];
}

/** Each description compares with the one before. */
function describer(camera: ClusterView, style: Style): (nowMs: number) => Promise<Description> {
  const throughput = new Throughput();
  const view = new MovesView();
  return async (nowMs) => {
    try {
      const picture = await camera.take();
      const head = headline(picture, style);
      const load = throughput.line(allNodes(picture), nowMs);
      const { text, bars } = await view.look(camera, picture, nowMs);
      const table = statusTable(picture, style).trimEnd().split("\n");
      const line = [head, load, text].filter(Boolean).join("; ");
      return { line, lines: [head, load, ...bars, ...table] };
    } catch (error) {
      if (!(error instanceof ToolError)) throw error;
      const line = style.bad(error.message);
      return { line, lines: [line] };
    }
  };
}

function draw(
  { line, lines }: Description,
  style: Style,
  { stdout, clock }: ToolEnvironment,
): void {
  const time = new Intl.DateTimeFormat("sv", { dateStyle: "short", timeStyle: "medium" });
  const now = time.format(clock.wallMs());
  if (!style.isTerminal) {
    stdout.write(`${now} ${line}\n`);
    return;
  }
  const shown = [style.faint(`${now}   Ctrl-C ends`), ...lines];
  const rows = stdout.rows ?? shown.length + 1;
  const body = shown.slice(0, rows - 1).map((each) => `${each}${CLEAR_TO_LINE_END}\n`);
  stdout.write(`${HOME}${body.join("")}${CLEAR_BELOW}`);
}
