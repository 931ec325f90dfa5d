/**
 * The writer's role moves, again and again on one cluster, under a stock client's constant load:
 *
 *     failover   kill -9 of the writer: how long until a write that is sent afterwards is answered
 *     stop       SIGTERM to the writer, and its start: the longest that any command took
 *     request    CLUSTER FAILOVER at a replica: the same
 *
 * Before each run the set is complete. After it everything that was acknowledged in it is read back, and at the end
 * everything of all runs.
 */

import { command, info } from "../client.ts";
import type { Progress, ServerProcess, Workspace } from "../harness.ts";
import { ConstantLoad, type LoadMark } from "./constant-load.ts";
import { DkvGroup } from "./groups.ts";
import { openStockClient, type StockClient, type StockClientName } from "./stock-client.ts";
import { type Timeline, timelineOf } from "./timeline.ts";

/** Of load before the role moves, which says what is usual; and after. */
const CALM_MS = 500;
/** Longer than a node tries to hand over. CLUSTER FAILOVER promises nothing: it is asked again then. */
const HANDOVER_MS_MAX = 8000;
const ROLE_POLL_MS = 10;

export type Handover = "stop" | "request";

interface TakeoverRun {
  client: StockClientName;
  acknowledged: number;
  /** Keys that were acknowledged and are not there as written, after the run. */
  lost: number;
  /** Reads of acknowledged keys that were answered with something else. */
  wrongReads: string[];
  /** Messages of errors that the client handed to its user, and how often. */
  failures: Record<string, number>;
  timeline: Timeline | undefined;
}

export interface FailoverRun extends TakeoverRun {
  resumedMs: number;
}

export interface HandoverRun extends TakeoverRun {
  kind: Handover;
  /** How often the node had to be asked. */
  requests: number;
  pauseMs: number;
  /** The longest command before the role moved. */
  usualMs: number;
  /** How late the client's own timer was while the role moved. */
  ownLagMs: number;
}

export interface TakeoverOptions {
  /** Runs by each client. */
  failovers: Record<StockClientName, number>;
  handovers: Record<Handover, number>;
  maxmemory: string;
}

export interface TakeoverResult {
  failovers: FailoverRun[];
  handovers: HandoverRun[];
  /** Of all runs together, read once more at the end. */
  acknowledged: number;
  lostAtTheEnd: number;
}

export async function measureTakeovers(
  options: TakeoverOptions,
  workspace: Workspace,
  progress: Progress,
): Promise<TakeoverResult> {
  // The default of a node: what it answers is on two disks.
  const settings = { fsync: "always", maxmemory: options.maxmemory } as const;
  progress.show("failovers and handovers: starting", true);
  const run = new Takeovers(await DkvGroup.start(workspace, settings), progress);
  const failovers: FailoverRun[] = [];
  const handovers: HandoverRun[] = [];
  for (const client of ["ioredis", "node-redis"] as const)
    for (let count = 0; count < options.failovers[client]; count++)
      failovers.push(await run.failover(client));
  for (const kind of ["stop", "request"] as const)
    for (let count = 0; count < options.handovers[kind]; count++)
      handovers.push(await run.handover(kind));
  const end = await run.end();
  return { failovers, handovers, ...end };
}

class Takeovers {
  readonly #group: DkvGroup;
  readonly #progress: Progress;
  readonly #loads: ConstantLoad[] = [];

  constructor(group: DkvGroup, progress: Progress) {
    this.#group = group;
    this.#progress = progress;
  }

  async failover(name: StockClientName): Promise<FailoverRun> {
    return await this.#underLoad(name, async (load) => {
      const writer = await this.#group.writer();
      const killedAt = performance.now();
      await writer.crash();
      const answeredAt = await load.nextAcknowledgement();
      const timeline = this.#timeline(killedAt, answeredAt);
      await Bun.sleep(CALM_MS);
      await writer.launch();
      await this.#group.untilComplete();
      this.#progress.show(`failover, ${name}: ${(answeredAt - killedAt).toFixed(0)} ms`);
      return { resumedMs: answeredAt - killedAt, timeline };
    });
  }

  async handover(kind: Handover): Promise<HandoverRun> {
    return await this.#underLoad("ioredis", async (load) => {
      const usual = load.mark();
      const beganAt = performance.now();
      const requests = await (kind === "stop" ? this.#restartWriter() : this.#requestRole());
      await this.#group.untilComplete();
      await load.nextAcknowledgement();
      await Bun.sleep(CALM_MS);
      const moved: LoadMark = load.mark();
      const { longestMs: pauseMs, ownLagMs } = moved;
      this.#progress.show(`handover, ${kind}: ${pauseMs.toFixed(0)} ms`);
      const timeline = this.#timeline(beganAt, undefined);
      return { kind, requests, pauseMs, ownLagMs, usualMs: usual.longestMs, timeline };
    });
  }

  /** Reads once more what any run was answered; stops the cluster. */
  async end(): Promise<Pick<TakeoverResult, "acknowledged" | "lostAtTheEnd">> {
    this.#progress.show("reading back", true);
    const client = await this.#open("ioredis");
    let acknowledged = 0;
    let lostAtTheEnd = 0;
    for (const load of this.#loads) {
      acknowledged += load.acknowledged.length;
      lostAtTheEnd += (await load.readBack(client)).length;
    }
    client.close();
    await this.#group.stop();
    return { acknowledged, lostAtTheEnd };
  }

  async #underLoad<Measured>(
    name: StockClientName,
    move: (load: ConstantLoad) => Promise<Measured>,
  ): Promise<Measured & Omit<TakeoverRun, "timeline">> {
    await this.#group.untilComplete();
    const client = await this.#open(name);
    const load = new ConstantLoad(client, `load${this.#loads.length}:`);
    this.#loads.push(load);
    load.start();
    await load.nextAcknowledgement();
    await Bun.sleep(CALM_MS);
    const measured = await move(load);
    await load.stop();
    const lost = await load.readBack(client);
    client.close();
    return {
      ...measured,
      client: name,
      acknowledged: load.acknowledged.length,
      lost: lost.length,
      wrongReads: load.wrongReads,
      failures: tally(load.failures),
    };
  }

  async #restartWriter(): Promise<number> {
    const writer = await this.#group.writer();
    await writer.stop();
    await writer.launch();
    return 1;
  }

  async #requestRole(): Promise<number> {
    for (let requests = 1; ; requests++) {
      const writer = await this.#group.writer();
      const replica = this.#group.processes.find((server) => server !== writer)!;
      await command(replica.port, "CLUSTER", "FAILOVER");
      const deadline = performance.now() + HANDOVER_MS_MAX;
      while (performance.now() < deadline) {
        if (await isWriter(replica)) return requests;
        await Bun.sleep(ROLE_POLL_MS);
      }
      this.#progress.show("CLUSTER FAILOVER came to nothing: asking again", true);
      await this.#group.untilComplete();
    }
  }

  async #open(name: StockClientName): Promise<StockClient> {
    return await openStockClient(
      name,
      this.#group.processes.map(({ port }) => port),
    );
  }

  #timeline(beganAt: number, answeredAt: number | undefined): Timeline | undefined {
    const { timeOrigin } = performance;
    const answered = answeredAt === undefined ? undefined : timeOrigin + answeredAt;
    return timelineOf(this.#group.processes, timeOrigin + beganAt, answered);
  }
}

async function isWriter(server: ServerProcess): Promise<boolean> {
  return (await info(server.port, "replication")).get("role") === "master";
}

function tally(messages: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const message of messages) counts[message] = (counts[message] ?? 0) + 1;
  return counts;
}
