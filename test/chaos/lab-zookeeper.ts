/** ZooKeeper on hosts of the lab, one server each. */
import { join } from "node:path";
import { untilServing, ZookeeperProcess } from "../support/zookeeper.ts";
import type { LabNetwork } from "./lab-network.ts";
import type { Coordination } from "./target.ts";

export function zookeeperHosts(count: 1 | 3): string[] {
  return Array.from({ length: count }, (_, index) => `z${index + 1}`);
}

export class LabZookeeper implements Coordination {
  readonly hosts: readonly string[];
  readonly #servers: readonly ZookeeperProcess[];

  constructor(network: LabNetwork, directory: string, count: 1 | 3) {
    this.hosts = zookeeperHosts(count);
    this.#servers = this.hosts.map((host) => {
      const place = { address: network.addressOf(host), under: network.under(host) };
      return new ZookeeperProcess(join(directory, host), place);
    });
    this.#servers.forEach((server, index) => {
      server.configure(index + 1, this.#servers);
    });
  }

  get address(): string {
    const servers = this.#servers.map(({ place, clientPort }) => `${place.address}:${clientPort}`);
    return `${servers.join()}/chaos`;
  }

  async kill(): Promise<void> {
    await Promise.all(this.#servers.map((server) => server.kill()));
  }

  async killServer(at: number): Promise<void> {
    await this.#servers[at]!.kill();
  }

  pauseServer(at: number): void {
    this.#servers[at]!.pause();
  }

  async restart(): Promise<void> {
    for (const server of this.#servers) server.go();
    for (const server of this.#servers) if (!server.isRunning) server.launch();
    for (const server of this.#servers) await untilServing(server);
  }

  get lastWords(): string {
    return this.#servers.map(({ lastWords }) => lastWords).join("\n");
  }
}
