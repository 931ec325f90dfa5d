/**
 * `cluster watch`: the state of a cluster, drawn again and again in place. On something that is no terminal it is the
 * headline, a line each time, for logs.
 */
import {
  allNodes,
  type ClusterCamera,
  type ClusterPicture,
  type NodePicture,
} from "./cluster-picture.ts";
import { headline, statusTable } from "./cluster-report.ts";
import type { ToolEnvironment } from "./environment.ts";
import { bytesText, countText } from "./figures.ts";
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

/** Ends at Ctrl-C or after so many pictures. */
export async function watchCluster(
  camera: ClusterCamera,
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
  const throughput = new Throughput();
  if (style.isTerminal) stdout.write(OTHER_SCREEN);
  try {
    for (let taken = 1; !isOver; taken++) {
      const text = await describe(camera, throughput, style, clock.monotonicMs());
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

async function describe(
  camera: ClusterCamera,
  throughput: Throughput,
  style: Style,
  nowMs: number,
): Promise<readonly string[]> {
  let picture: ClusterPicture;
  try {
    picture = await camera.take();
  } catch (error) {
    if (!(error instanceof ToolError)) throw error;
    return [style.bad(error.message)];
  }
  const load = throughput.line(allNodes(picture), nowMs);
  return [headline(picture, style), load, ...statusTable(picture, style).trimEnd().split("\n")];
}

function draw(lines: readonly string[], style: Style, { stdout, clock }: ToolEnvironment): void {
  const time = new Intl.DateTimeFormat("sv", { dateStyle: "short", timeStyle: "medium" });
  const now = time.format(clock.wallMs());
  if (!style.isTerminal) {
    const [state, load] = lines;
    stdout.write(`${now} ${state}${load ? `; ${load}` : ""}\n`);
    return;
  }
  const shown = [style.faint(`${now}   Ctrl-C ends`), ...lines];
  const rows = stdout.rows ?? shown.length + 1;
  const body = shown.slice(0, rows - 1).map((line) => `${line}${CLEAR_TO_LINE_END}\n`);
  stdout.write(`${HOME}${body.join("")}${CLEAR_BELOW}`);
}
