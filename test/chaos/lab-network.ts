/**
 * A network for one campaign: hosts in network namespaces, each with one interface on a bridge, and cuts in it.
 *
 *     host n1 (10.213.0.11) ── veth ──┐
 *     host n2 (10.213.0.12) ── veth ──┼── bridge "lab" ── the campaign itself (10.213.0.1), which no cut concerns
 *     host east (10.213.0.13) ─ veth ─┘        └ nftables drops forwarded packets: their sender hears nothing
 *
 * REQUIRES: runs in namespaces of its own (see isolation.ts), so nothing is ever removed here.
 */

/** Packets from one host to another are lost; with a port, those of connections to that port alone. */
export interface Cut {
  readonly from: string;
  readonly to: string;
  readonly port?: number;
}

const BRIDGE = "lab";
const SUBNET = "10.213.0";
const FIRST_HOST = 11;
const NAMES = "/run/netns";

function run(words: readonly string[], input?: string): void {
  const stdin = input === undefined ? ("ignore" as const) : Buffer.from(input);
  const result = Bun.spawnSync([...words], { stdin });
  if (result.exitCode === 0) return;
  throw new Error(`${words.join(" ")}: ${result.stderr.toString()}${input ?? ""}`);
}

export class LabNetwork {
  readonly hosts: readonly string[];
  readonly #cuts = new Map<string, readonly Cut[]>();

  constructor(hosts: readonly string[]) {
    this.hosts = hosts;
    run(["mkdir", "-p", NAMES]);
    run(["mount", "-t", "tmpfs", "tmpfs", NAMES]);
    run(["ip", "link", "set", "lo", "up"]);
    run(["ip", "link", "add", "name", BRIDGE, "type", "bridge"]);
    run(["ip", "addr", "add", `${SUBNET}.1/24`, "dev", BRIDGE]);
    run(["ip", "link", "set", BRIDGE, "up"]);
    for (const host of hosts) this.#addHost(host);
    run(["nft", "add", "table", "bridge", "lab"]);
    run(["nft", "add chain bridge lab forward { type filter hook forward priority 0; }"]);
  }

  addressOf(host: string): string {
    const index = this.hosts.indexOf(host);
    if (index < 0) throw new Error(`no host ${host}`);
    return `${SUBNET}.${FIRST_HOST + index}`;
  }

  /** What to put before a command that shall run on a host; the process is the command's own. */
  under(host: string): readonly string[] {
    return ["nsenter", `--net=${NAMES}/${host}`];
  }

  /** Loses packets until `heal(name)`. */
  cut(name: string, cuts: readonly Cut[]): void {
    this.#cuts.set(name, cuts);
    this.#apply();
  }

  heal(name: string): void {
    if (this.#cuts.delete(name)) this.#apply();
  }

  healAll(): void {
    this.#cuts.clear();
    this.#apply();
  }

  #addHost(host: string): void {
    run(["ip", "netns", "add", host]);
    const peer = ["peer", "name", "eth0", "netns", host];
    run(["ip", "link", "add", "name", `v-${host}`, "type", "veth", ...peer]);
    run(["ip", "link", "set", `v-${host}`, "master", BRIDGE, "up"]);
    run(["ip", "-n", host, "addr", "add", `${this.addressOf(host)}/24`, "dev", "eth0"]);
    run(["ip", "-n", host, "link", "set", "lo", "up"]);
    run(["ip", "-n", host, "link", "set", "eth0", "up"]);
  }

  /** All rules at once, so that there is no moment between two of them. */
  #apply(): void {
    const rules = [...this.#cuts.values()].flat().flatMap((cut) => this.#rulesOf(cut));
    run(["nft", "-f", "-"], ["flush chain bridge lab forward", ...rules, ""].join("\n"));
  }

  #rulesOf({ from, to, port }: Cut): string[] {
    const pair = `ip saddr ${this.addressOf(from)} ip daddr ${this.addressOf(to)}`;
    const ports = port === undefined ? [""] : [`tcp dport ${port}`, `tcp sport ${port}`];
    return ports.map((match) => `add rule bridge lab forward ${pair} ${match} drop`);
  }
}

/** Both directions between each of some and each of others. */
export function between(some: readonly string[], others: readonly string[], port?: number): Cut[] {
  return some.flatMap((a) =>
    others
      .filter((b) => b !== a)
      .flatMap((b) => [
        { from: a, to: b, ...(port !== undefined && { port }) },
        { from: b, to: a, ...(port !== undefined && { port }) },
      ]),
  );
}
