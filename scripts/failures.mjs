/**
 * What failed in a run of bun test, read from what it prints while it runs:
 *
 *     test/wal/log.test.ts:                     the file that the lines below belong to
 *     (pass) Log > opens [0.20ms]
 *     error: expect(received).toBe(expected)    output of the test that is named next
 *     (fail) Log > appends [0.31ms]
 *       ^ this test timed out after 5000ms.     only of some
 *
 * What a file throws outside of tests stands between two lines of dashes, without a name. bun's own list of failures
 * at the end has no errors in it and is left out. So is everything of tests that pass.
 */

/** Lines of one failure, and of all together: a log's tail must show them. */
const FAILURE_LINES_MAX = 60;
const REPORT_LINES_MAX = 600;
const LINE_CHARACTERS_MAX = 400;
/** Lines kept of a test that has not ended; the error is at the end of what it prints. */
const BLOCK_LINES_MAX = 1000;
/** Source lines and the marker that bun prints above an error. */
const LINES_BEFORE_ERROR = 8;

const FILE = /^(?:::group::)?(\S+\.(?:test|spec)\.[a-z]+):$/;
const PASSED = /^\((?:pass|skip|todo)\) /;
const FAILED = /^\(fail\) /;
const REASON = /^ {2}\^ /;
const OUTSIDE = "# Unhandled error between tests";
const DASHES = /^-{20,}$/;
const LIST = /^\d+ tests? (?:failed|skipped|todo):$/;
const SUMMARY = /^Ran \d+ tests? across \d+ files?\./;
const ERROR = /^(?:\w*[Ee]rror|\w+Exception|panic\b.*): /;
// biome-ignore lint/suspicious/noControlCharactersInRegex: the escape character begins a colour
const COLOUR = /\u001b\[[0-9;]*m/g;

export class Failures {
  #file = "";
  #rest = "";
  #block = [];
  #blockLeftOut = 0;
  /** Lines of dashes still to come of an error outside of tests. */
  #dashes = 0;
  #isOver = false;
  #failures = [];

  /** Takes the next piece of the output. */
  add(text) {
    const lines = (this.#rest + text).split("\n");
    this.#rest = lines.pop();
    for (const line of lines) this.#take(line.replace(COLOUR, "").trimEnd());
  }

  /** The report as lines, none if nothing failed. `hasFailed`: a run that ends early has failed in its last lines. */
  report(hasFailed) {
    if (this.#rest !== "") this.add("\n");
    if (hasFailed && !this.#isOver) this.#end("the run ended here");
    const report = [];
    for (const [index, failure] of this.#failures.entries()) {
      const left = this.#failures.length - index;
      if (report.length + failure.length > REPORT_LINES_MAX) {
        report.push(`… and ${left} more: see above`);
        break;
      }
      report.push("", ...failure);
    }
    return report.length === 0 ? [] : ["", `FAILED: ${this.#failures.length}`, ...report, ""];
  }

  #take(line) {
    if (this.#isOver) return;
    const file = FILE.exec(line);
    if (file !== null) {
      this.#file = file[1];
      this.#clear();
    } else if (PASSED.test(line)) {
      this.#clear();
    } else if (FAILED.test(line)) {
      this.#end(line);
    } else if (REASON.test(line) && this.#block.length === 0 && this.#failures.length > 0) {
      this.#failures.at(-1).push(line);
    } else if (line === OUTSIDE) {
      this.#clear();
      this.#dashes = 2;
    } else if (this.#dashes > 0 && DASHES.test(line)) {
      this.#dashes--;
      if (this.#dashes === 0) this.#end("(fail) outside of tests");
    } else if (LIST.test(line) || SUMMARY.test(line)) {
      this.#isOver = true;
    } else {
      this.#keep(line);
    }
  }

  #keep(line) {
    this.#block.push(line.slice(0, LINE_CHARACTERS_MAX));
    if (this.#block.length <= BLOCK_LINES_MAX) return;
    this.#block.splice(0, BLOCK_LINES_MAX / 2);
    this.#blockLeftOut += BLOCK_LINES_MAX / 2;
  }

  #clear() {
    this.#block = [];
    this.#blockLeftOut = 0;
  }

  #end(last) {
    this.#failures.push([`${this.#file}:`, ...this.#shortened(), last]);
    this.#clear();
  }

  /** What is left out of a long block: noise before the error, then the middle of a long difference. */
  #shortened() {
    const lines = this.#block;
    if (this.#blockLeftOut === 0 && lines.length <= FAILURE_LINES_MAX) return lines;
    const error = lines.findIndex((line) => ERROR.test(line));
    const start = Math.max(0, error === -1 ? lines.length : error - LINES_BEFORE_ERROR);
    const from = Math.min(start, Math.max(0, lines.length - FAILURE_LINES_MAX));
    const before = this.#blockLeftOut + from;
    const kept = before > 0 ? [`… ${before} lines before`] : [];
    if (lines.length - from <= FAILURE_LINES_MAX) return [...kept, ...lines.slice(from)];
    const half = FAILURE_LINES_MAX / 2;
    const middle = lines.length - from - 2 * half;
    const head = lines.slice(from, from + half);
    return [...kept, ...head, `… ${middle} lines`, ...lines.slice(-half)];
  }
}
