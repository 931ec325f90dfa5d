/** `cluster move`, `rebalance`, `drain`, `moves`: plans, progress and ends, from replies as nodes have sent them. */

import { describe, expect, test } from "bun:test";
import { rangesOfSlots } from "../../src/base/slot-ranges.ts";
import { findNode, findSet } from "../../src/tools/cluster-names.ts";
import type { ClusterPicture, ClusterView, SetPicture } from "../../src/tools/cluster-picture.ts";
import type { ToolEnvironment } from "../../src/tools/environment.ts";
import { findMove, openMovesOf, openMovesTable, planOf } from "../../src/tools/move-plan.ts";
import { barLines, OpenMeter, SourceMeter, sumOf } from "../../src/tools/move-progress.ts";
import { type MoveOptions, MoveRun } from "../../src/tools/move-run.ts";
import { encodeWords } from "../../src/tools/resp-client.ts";
import { parseSpans, spansText } from "../../src/tools/slot-spans.ts";
import { styleFor } from "../../src/tools/text-table.ts";
import { ToolError } from "../../src/tools/tool-error.ts";
import { SimulatedClock } from "../support/simulated-clock.ts";
import { runTool } from "../support/tool.ts";

const idOf = (beginning: string) => beginning.padEnd(40, "0");
const [SOURCE, DESTINATION] = [idOf("9907ca53"), idOf("6fade945")];
const PLAIN = styleFor({ write: () => undefined }, {});

function setOf(id: string, slots: string, info: Record<string, string> = {}): SetPicture {
  const port = id === SOURCE ? 7000 : 7003;
  const common = { host: "127.0.0.1", health: "online", kind: "member", lagFrames: undefined };
  const node = (at: number) => ({
    ...{ ...common, id: idOf(`${id.slice(0, 4)}${at}ab`), port: port + at, isReachable: true },
    role: at === 0 ? ("writer" as const) : ("replica" as const),
    info: new Map(Object.entries(at === 0 ? info : {})),
  });
  const nodes = [node(0), node(1), node(2)];
  return { id, epoch: 1, slots: parseSpans(slots), isDraining: false, nodes };
}

function pictureOf(...sets: SetPicture[]): ClusterPicture {
  return { isOk: true, epoch: 1, slotsServed: 1024, sets };
}

/** As INFO dkv says it. */
function movesInfo(sent: number, { away = 0, waiting = 0, eta = -1, lines = [""] } = {}) {
  const fields = {
    ...{ cluster_moves_away: `${away}`, cluster_moves_waiting: `${waiting}` },
    ...{ cluster_moves_sent_bytes: `${sent}`, cluster_moves_eta_seconds: `${eta}` },
  };
  const running = lines.filter(Boolean).map((line, at) => [`cluster_move${at}`, line]);
  return { ...fields, ...Object.fromEntries(running) } as Record<string, string>;
}

const START = pictureOf(setOf(SOURCE, "0-511", movesInfo(0)), setOf(DESTINATION, "512-1023"));
const PLAN_REPLY = Buffer.from(
  `*1\r\n*4\r\n$40\r\n${SOURCE}\r\n$40\r\n${DESTINATION}\r\n$8\r\n0-39,100\r\n:41\r\n`,
);

function moveReply(id: string, slot: number, state: string): string {
  const fields = ["id", id, "source", SOURCE, "destination", DESTINATION];
  return encodeWords([...fields, "slots", `${slot}`, "state", state]).toString();
}

function movesReply(...moves: readonly string[]): Buffer {
  return Buffer.from(`*${moves.length}\r\n${moves.join("")}`);
}

function problemOf(action: () => unknown): { problem: string; hint: string } {
  try {
    action();
  } catch (error) {
    if (error instanceof ToolError) return { problem: error.message, hint: error.hint };
    throw error;
  }
  throw new Error("no ToolError");
}

describe("slots", () => {
  test("are read as people and servers write them, and written in the fewest runs", () => {
    expect(spansText(parseSpans("0-99,200 7+8-9"))).toBe("0-99 200 7 8-9");
    expect(spansText(rangesOfSlots([5, 3, 4, 9, 1023, 0]))).toBe("0 3-5 9 1023");
    for (const word of ["1024", "-1", "9-3", "x", "1-", "1-2-3"])
      expect(problemOf(() => parseSpans(word)).problem).toBe(
        `${word} is no slot, and no range of slots`,
      );
  });
});

describe("names", () => {
  test("of sets are the beginning of an id, or a node of it", () => {
    for (const name of ["9907", "9907CA53", SOURCE, "99070ab", "127.0.0.1:7002"])
      expect([name, findSet(START, name).id]).toEqual([name, SOURCE]);
    expect(findNode(START, "6fad2").port).toBe(7005);
  });

  test("that are too short, of nothing or of several are told what there is", () => {
    for (const name of ["990", "", "127.0.0.1", "7000", "127.0.0.1:7006"])
      expect(problemOf(() => findSet(START, name)).problem).toBe(`there is no replica set ${name}`);
    const { problem, hint } = problemOf(() => findNode(START, "9907"));
    expect(problem).toBe("9907 may be any of 3 nodes");
    expect(hint.split("\n").slice(1)).toEqual([
      ...["  99070ab0  127.0.0.1:7000  writer", "  99071ab0  127.0.0.1:7001  replica"],
      "  99072ab0  127.0.0.1:7002  replica",
    ]);
    const twins = pictureOf(START.sets[0]!, { ...START.sets[1]!, id: idOf("9907ffff") });
    expect(problemOf(() => findSet(twins, "9907")).hint).toContain("  9907ffff  127.0.0.1:7003 ");
    expect(findSet(twins, "9907c").id).toBe(SOURCE);
  });
});

describe("replies", () => {
  test("a plan, and a refusal with what to do next", () => {
    const [move] = planOf(PLAN_REPLY);
    expect(move).toEqual({
      ...{ source: SOURCE, destination: DESTINATION },
      slots: [
        { start: 0, end: 39 },
        { start: 100, end: 100 },
      ],
    });
    const refusal = Buffer.from("-ERR the coordinator cannot be reached now\r\n");
    const { problem, hint } = problemOf(() => planOf(refusal));
    expect(problem).toBe("the cluster refuses: ERR the coordinator cannot be reached now");
    expect(hint).toContain("cluster moves");
  });

  test("open moves: those that are carried out first, then by slot", () => {
    const line = `slots=9-9,to=${DESTINATION},phase=sending,bytes=2048`;
    const info = movesInfo(0, { away: 1, waiting: 1, lines: [line] });
    const picture = pictureOf(setOf(SOURCE, "0-511", info), setOf(DESTINATION, "512-1023"));
    const [first, second, third] = ["aaaa1", "aaaa2", "bbbb1"].map(idOf) as [
      string,
      string,
      string,
    ];
    const moves = openMovesOf(
      movesReply(
        moveReply(first, 5, "MIGRATING"),
        moveReply(second, 9, "FREEZING"),
        moveReply(third, 2, "FLIPPED"),
      ),
    );
    const rows = openMovesTable(moves, picture, PLAIN).trimEnd().split("\n");
    expect(rows.map((row) => row.split(/\s{2,}/))).toEqual([
      ["MOVE", "SLOTS", "FROM", "TO", "STATE", "PHASE", "SENT"],
      ...[
        ["aaaa2000", "9", "freezing", "sending", "2.0 KiB"],
        ["bbbb1000", "2", "flipped", "ending", "-"],
        ["aaaa1000", "5", "migrating", "waiting", "-"],
      ].map(([id, slot, ...rest]) => [
        ...[id!, slot!, "9907ca53 (127.0.0.1:7000)", "6fade945 (127.0.0.1:7003)", ...rest],
      ]),
    ]);
    expect(findMove(moves, "bbbb")).toBe(third);
    expect(problemOf(() => findMove(moves, "aaaa")).problem).toBe("aaaa may be any of 2 moves");
    expect(problemOf(() => findMove(moves, "cccc")).problem).toBe("there is no move cccc");
  });
});

describe("progress", () => {
  test("bytes go on growing when moves end, when a writer is replaced, and when its set has gone", () => {
    const meter = new SourceMeter();
    const look = (set: SetPicture | undefined, atMs: number) => {
      const picture = pictureOf(...[set].filter((each) => each !== undefined));
      return meter.look(picture, atMs).get(SOURCE)!;
    };
    const line = `slots=1-1,to=${DESTINATION},phase=sending,bytes=500`;
    expect(look(setOf(SOURCE, "0-9", movesInfo(1000, { waiting: 4 })), 0)).toEqual({
      ...{ sentBytes: 0, bytesPerSecond: 0, open: 4, etaSeconds: undefined },
    });
    const running = movesInfo(1000, { away: 1, waiting: 3, eta: 9, lines: [line] });
    expect(look(setOf(SOURCE, "0-9", running), 1000)).toEqual({
      ...{ sentBytes: 500, bytesPerSecond: 500, open: 4, etaSeconds: 9 },
    });
    const ended = movesInfo(1500, { waiting: 3, eta: 6 });
    expect(look(setOf(SOURCE, "1-9", ended), 2000)).toMatchObject({ sentBytes: 500, open: 3 });
    const [writer, ...replicas] = setOf(SOURCE, "1-9").nodes;
    const info = new Map(Object.entries(movesInfo(200, { waiting: 2 })));
    const nodes = [
      { ...replicas[0]!, role: "writer" as const, info },
      { ...writer!, role: "replica" as const },
    ];
    expect(look({ ...setOf(SOURCE, "2-9"), nodes }, 3000)).toMatchObject({
      sentBytes: 700,
      open: 2,
    });
    expect(look(undefined, 4000)).toMatchObject({ sentBytes: 700, open: 0 });
  });

  test("the slowest source says how long it takes, and one that does not know keeps it open", () => {
    const source = { sentBytes: 1, bytesPerSecond: 2, open: 3, etaSeconds: 4 };
    expect(sumOf([source, { ...source, etaSeconds: 9 }])).toEqual({
      ...{ sentBytes: 2, bytesPerSecond: 4, open: 6, etaSeconds: 9 },
    });
    expect(sumOf([source, { ...source, etaSeconds: undefined }]).etaSeconds).toBeUndefined();
    expect(sumOf([source, { ...source, open: 0, etaSeconds: undefined }]).etaSeconds).toBe(4);
  });

  test("bars do not go back when more moves are asked for, and each source's bytes are shown once", () => {
    const meter = new OpenMeter();
    const open = (count: number, destination = DESTINATION) => ({
      ...{ id: idOf("a"), source: SOURCE, destination, state: "MIGRATING" },
      slots: [{ start: 0, end: count - 1 }],
    });
    const other = idOf("1234abcd");
    meter.look([open(40)]);
    expect(meter.look([open(10)])).toMatchObject([{ done: 30, total: 40 }]);
    const pairs = meter.look([open(20), open(5, other), { ...open(9), state: "FLIPPED" }]);
    expect(pairs).toMatchObject([
      { done: 30, total: 50 },
      { done: 0, total: 5 },
    ]);
    const traffic = { sentBytes: 3 * 1024, bytesPerSecond: 1024, open: 25, etaSeconds: 61 };
    expect(barLines(pairs, new Map([[SOURCE, traffic]]))).toEqual([
      `9907ca53 → 6fade945 ${"█".repeat(14)}${"░".repeat(10)} 20 of 50 slots left, 3.0 KiB sent, 1.0 KiB/s, 1m 1s left`,
      `9907ca53 → 1234abcd ${"░".repeat(24)}  5 of 5 slots left`,
    ]);
    expect(meter.look([])).toEqual([]);
  });
});

/** Its timers are due at once, in their turn. */
class HastyClock extends SimulatedClock {
  override after(delayMs: number, action: () => void) {
    const timer = super.after(delayMs, action);
    setImmediate(() => this.advance(delayMs));
    return timer;
  }
}

/** "silence": nobody answers. "interrupt": Ctrl-C, before anybody does. */
type Shown = ClusterPicture | "silence" | "interrupt";

/** A cluster that shows `pictures` one after the other, the last again and again. */
class Script implements ClusterView {
  readonly asked: string[] = [];
  readonly #pictures: Shown[];
  readonly #replies: Readonly<Record<string, Buffer>>;
  readonly #clock = new HastyClock(0);
  #interrupt: (() => void) | undefined = undefined;
  #text = "";

  constructor(pictures: readonly Shown[], replies: Readonly<Record<string, Buffer>> = {}) {
    this.#pictures = [...pictures];
    this.#replies = { MOVE: PLAN_REPLY, DRAIN: PLAN_REPLY, MOVES: movesReply(), ...replies };
  }

  take(): Promise<ClusterPicture> {
    const seen = this.#pictures.length > 1 ? this.#pictures.shift()! : this.#pictures[0]!;
    if (seen === "interrupt") {
      this.#interrupt?.();
      return new Promise(() => undefined);
    }
    if (seen === "silence") return Promise.reject(new ToolError("cannot connect"));
    return Promise.resolve(seen);
  }

  ask(words: readonly (string | Uint8Array)[]): Promise<Buffer> {
    this.asked.push(words.slice(1).join(" "));
    return Promise.resolve(this.#replies[`${words[1]}`]!);
  }

  async run(options: Partial<MoveOptions> = {}, drained?: string) {
    const environment = {
      ...{ command: "dkv", variables: {}, clock: this.#clock, stdin: { isTTY: false } },
      stdout: { write: (text: string) => (this.#text += text) },
      onInterrupt: (action: () => void) => {
        this.#interrupt = action;
        return () => undefined;
      },
    } as unknown as ToolEnvironment;
    const words = drained === undefined ? ["CLUSTER", "MOVE", "0-39", "100"] : ["CLUSTER", "DRAIN"];
    const run = new MoveRun(this, environment, {
      request: drained === undefined ? { words } : { words, drained },
      options: { isDryRun: false, isWaiting: true, isAgreed: false, isJson: false, ...options },
    });
    let status = 0;
    let problem = "";
    try {
      status = await run.run(START);
    } catch (error) {
      if (!(error instanceof ToolError)) throw error;
      status = error.exitCode;
      problem = error.message;
    }
    return { status, problem, lines: this.#text.split("\n").slice(0, -1) };
  }
}

const moved = (slots: string, info = movesInfo(0)) => {
  const all = new Set(parseSpans("0-511").flatMap(({ start, end }) => range(start, end)));
  const gone = parseSpans(slots).flatMap(({ start, end }) => range(start, end));
  for (const slot of gone) all.delete(slot);
  const rest = spansText(rangesOfSlots(all));
  return pictureOf(setOf(SOURCE, rest, info), setOf(DESTINATION, `512-1023 ${slots}`));
};
const range = (start: number, end: number) =>
  Array.from({ length: end - start + 1 }, (_, at) => start + at);
const TABLE = [
  "FROM      WRITER          TO        WRITER          COUNT  SLOTS",
  "9907ca53  127.0.0.1:7000  6fade945  127.0.0.1:7003     41  0-39 100",
];

describe("a run", () => {
  test("that is dry prints its plan, and asks for nothing else", async () => {
    const script = new Script([START]);
    const { status, lines } = await script.run({ isDryRun: true });
    expect([status, lines]).toEqual([0, [...TABLE, "41 slots would move."]]);
    expect(script.asked).toEqual(["MOVE 0-39 100 DRYRUN"]);
  });

  test("with nothing to move begins nothing", async () => {
    const script = new Script([START], { MOVE: Buffer.from("*0\r\n") });
    const { status, lines } = await script.run();
    expect([status, lines.length, script.asked.length]).toEqual([0, 1, 1]);
    expect(lines[0]).toStartWith("Nothing to move: ");
  });

  test("is followed, a line now and then, until every slot is where it is to be", async () => {
    const half = moved("0-19", movesInfo(2048, { away: 4, waiting: 17, eta: 7 }));
    const script = new Script([
      ...new Array<ClusterPicture>(12).fill(half),
      moved("0-39 100", movesInfo(4096)),
    ]);
    const { status, lines } = await script.run();
    expect(status).toBe(0);
    expect(lines.slice(0, 2)).toEqual(TABLE);
    expect(lines.slice(2)).toEqual([
      "20 of 41 slots moved, 2.0 KiB sent, 0 B/s, 7s left",
      "20 of 41 slots moved, 2.0 KiB sent, 410 B/s, 7s left",
      "41 slots moved in 6s, 4.0 KiB sent",
    ]);
    // Of the moves that are open it asks but seldom.
    expect(script.asked.filter((words) => words === "MOVES")).toHaveLength(1);
  });

  test("fails when slots stay and no open move names them, but not before that has lasted", async () => {
    const stuck = moved("0-29");
    const late = new Script([...new Array<ClusterPicture>(4).fill(stuck), moved("0-39 100")]);
    expect((await late.run()).status).toBe(0);
    const { status, problem } = await new Script([stuck]).run();
    expect([status, problem]).toEqual([1, "11 of 41 slots have not moved: 30-39 100"]);
    const script = new Script([stuck]);
    const json = JSON.parse((await script.run({ isJson: true })).lines.join("\n")) as object;
    expect(json).toMatchObject({
      plan: [{ source: SOURCE, destination: DESTINATION, count: 41 }],
      outcome: {
        ...{ state: "incomplete", count: 41 },
        left: [
          [30, 39],
          [100, 100],
        ],
      },
    });
  });

  test("is followed as long as open moves name its slots", async () => {
    const open = movesReply(moveReply(idOf("aaaa"), 100, "MIGRATING"));
    const waiting = new Array<ClusterPicture>(40).fill(moved("0-39"));
    const script = new Script([...waiting, moved("0-39 100")], { MOVES: open });
    expect((await script.run()).status).toBe(0);
  });

  test("is not followed after Ctrl-C, and says that the moves go on", async () => {
    const busy = moved("0-19", movesInfo(0, { away: 4, waiting: 17 }));
    const open = movesReply(moveReply(idOf("aaaa"), 100, "MIGRATING"));
    const { status, lines } = await new Script([busy, busy, "interrupt", busy], {
      MOVES: open,
    }).run();
    expect(status).toBe(1);
    expect(lines.at(-1)).toStartWith(
      "Nobody follows any more, but the moves go on: 21 slots left.",
    );
  });

  test("bears a while without answers, and ends when that goes on", async () => {
    const few = new Array<"silence">(20).fill("silence");
    expect((await new Script([...few, moved("0-39 100")]).run()).status).toBe(0);
    const { status, problem } = await new Script(["silence"]).run();
    expect([status, problem]).toEqual([1, "cannot connect"]);
  });

  test("without waiting says where to look", async () => {
    const script = new Script([START]);
    const { status, lines } = await script.run({ isWaiting: false });
    expect([status, script.asked]).toEqual([0, ["MOVE 0-39 100 DRYRUN", "MOVE 0-39 100"]]);
    expect(lines.at(-1)).toContain("dkv cluster moves");
  });

  test("that drains a set looks whether the set goes", async () => {
    const gone = pictureOf(setOf(DESTINATION, "0-1023"));
    const drained = await new Script([moved("0-39 100"), moved("0-39 100"), gone]).run({}, SOURCE);
    expect([drained.status, drained.lines.at(-1)]).toEqual([
      0,
      "9907ca53 (127.0.0.1:7000) is retired: its nodes hold nothing, and take part again with empty directories",
    ]);
    const stays = await new Script([moved("0-39 100")]).run({}, SOURCE);
    expect([stays.status, stays.lines.at(-1)]).toEqual([
      0,
      "9907ca53 (127.0.0.1:7000) has no slots; it is still a replica set",
    ]);
  });
});

test("arguments are looked at before anybody is asked", async () => {
  const wrong = [
    [["move", "0-1024", "--to", "abcd"], "0-1024 is no slot, and no range of slots"],
    [["move", "5"], "required option '--to <set>' not specified"],
    [["rebalance", "--weight", "abcd"], "abcd is no weight"],
    [["rebalance", "--weight", "abcd=-1"], "abcd=-1 is no weight"],
  ] as const;
  for (const [words, problem] of wrong) {
    const { status, stdout, stderr } = await runTool(["cluster", ...words, "-p", "1"]);
    expect([words, status, stdout]).toEqual([words, 2, ""]);
    expect(stderr).toContain(problem);
  }
});
