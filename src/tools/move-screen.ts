/** Where a command that follows moves says how far they are: bars in place on a terminal, elsewhere a line now and then. */
import { MultiBar, type SingleBar } from "cli-progress";
import type { ToolEnvironment } from "./environment.ts";
import { slotsPhrase } from "./move-plan.ts";
import {
  barLines,
  type PairProgress,
  type SourceProgress,
  sumOf,
  trafficText,
} from "./move-progress.ts";

/** Between lines. */
const LINE_MS = 5000;

export interface MoveScreen {
  show(pairs: readonly PairProgress[], sources: ReadonlyMap<string, SourceProgress>): void;
  /** The last state stays. */
  close(): void;
}

class Bars implements MoveScreen {
  readonly #screen: MultiBar;
  readonly #bars: SingleBar[] = [];

  constructor(stream: NodeJS.WritableStream) {
    const format = (_options: unknown, _params: unknown, { line }: { line: string }) => line;
    this.#screen = new MultiBar({ stream, format, hideCursor: true, gracefulExit: false });
  }

  show(pairs: readonly PairProgress[], sources: ReadonlyMap<string, SourceProgress>): void {
    for (const [at, line] of barLines(pairs, sources).entries()) {
      const { done, total } = pairs[at]!;
      this.#bars[at] ??= this.#screen.create(total, done, { line });
      this.#bars[at].update(done, { line });
    }
  }

  close(): void {
    if (this.#bars.length > 0) this.#screen.stop();
  }
}

class Lines implements MoveScreen {
  readonly #environment: ToolEnvironment;
  #nextMs = 0;

  constructor(environment: ToolEnvironment) {
    this.#environment = environment;
  }

  show(pairs: readonly PairProgress[], sources: ReadonlyMap<string, SourceProgress>): void {
    const { clock, stdout } = this.#environment;
    const nowMs = clock.monotonicMs();
    if (nowMs < this.#nextMs) return;
    this.#nextMs = nowMs + LINE_MS;
    const total = pairs.reduce((sum, each) => sum + each.total, 0);
    const done = pairs.reduce((sum, each) => sum + each.done, 0);
    const own = pairs.map(({ source }) => sources.get(source)).filter((each) => each !== undefined);
    const traffic = trafficText(sumOf(new Set(own)));
    stdout.write(`${done} of ${slotsPhrase(total)} moved, ${traffic}\n`);
  }

  close(): void {
    // Every line is whole.
  }
}

/** For programs, which want the outcome alone. */
export const NO_SCREEN: MoveScreen = { show: () => undefined, close: () => undefined };

export function moveScreen(environment: ToolEnvironment): MoveScreen {
  const { stdout } = environment;
  if (stdout.isTTY !== true) return new Lines(environment);
  return new Bars(stdout as unknown as NodeJS.WritableStream);
}
