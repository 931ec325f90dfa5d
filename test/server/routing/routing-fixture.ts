/** What the tests of routing share: a cluster of two sets, connections to it, and a key of each set. */

import { expect } from "bun:test";
import { encodeRequest, RawConnection } from "../../support/raw-connection.ts";
import { type ClusterLinks, StaticCluster, slotOfKey } from "../../support/static-cluster.ts";

export const bulk = (text: string) => `$${text.length}\r\n${text}\r\n`;

/** Sends requests, words separated by spaces, in one piece; their replies. */
export async function ask(connection: RawConnection, ...requests: string[]): Promise<string[]> {
  connection.send(Buffer.concat(requests.map((each) => encodeRequest(each.split(" ")))));
  const replies: string[] = [];
  for (const _ of requests) {
    const reply = await connection.reply();
    replies.push(reply === undefined ? "(closed)" : Buffer.from(reply).toString("latin1"));
  }
  return replies;
}

export class RoutingFixture {
  readonly cluster: StaticCluster;
  readonly #open = new Set<RawConnection>();
  #serial = 0;
  /** Keys of the first and of the second set, new for each test. */
  here = "";
  there = "";

  private constructor(cluster: StaticCluster) {
    this.cluster = cluster;
  }

  static async start(links: ClusterLinks): Promise<RoutingFixture> {
    return new RoutingFixture(await StaticCluster.start({ sets: [2, 1], links }));
  }

  /** Before each test. */
  renew(): void {
    const { cluster } = this;
    for (const connection of this.#open) connection.close();
    this.#open.clear();
    cluster.links.modes.clear();
    cluster.clock.speed = 1;
    cluster.links.frames.length = 0;
    this.redirect("auto");
    const prefix = `t${this.#serial++}:`;
    this.here = cluster.keyOf(0, 0, prefix);
    this.there = cluster.keyOf(1, 0, prefix);
  }

  async connect(set = 0, node = 0): Promise<RawConnection> {
    const connection = await RawConnection.open(this.cluster.nodesOf(set)[node]!.port);
    this.#open.add(connection);
    return connection;
  }

  /** A connection that has said which library it is. */
  async named(set = 0, node = 0): Promise<RawConnection> {
    const connection = await this.connect(set, node);
    expect(await ask(connection, "CLIENT SETINFO LIB-NAME tester")).toEqual(["+OK\r\n"]);
    return connection;
  }

  redirect(mode: string): void {
    for (const member of this.cluster.members) member.config.set([["cluster-redirect", mode]]);
  }

  movedTo(key: string): string {
    return `-MOVED ${slotOfKey(key)} 127.0.0.1:${this.cluster.ownerOf(key).port}\r\n`;
  }
}
