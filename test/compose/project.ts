/** The cluster of docker-compose.yml as a project of its own name, so that it meets nobody else's containers and volumes. */
import type { Engine } from "./engine.ts";

const PROJECT = "dkv-compose-test";
const HEALTHY_MS_MAX = 180_000;
const POLL_MS = 300;

export class Project {
  readonly #engine: Engine;
  readonly #root: string;

  constructor(engine: Engine, root: string) {
    this.#engine = engine;
    this.#root = root;
  }

  /** Resolves when all of it is healthy. */
  async up(profile?: string): Promise<void> {
    await this.#compose([...profileWords(profile), "up", "-d"]);
    await this.healthy();
  }

  async healthy(): Promise<void> {
    const deadline = performance.now() + HEALTHY_MS_MAX;
    for (;;) {
      const states = await this.#states("{{.Name}} {{.State.Health.Status}}");
      const ill = states.filter((line) => !line.endsWith(" healthy"));
      if (states.length > 0 && ill.length === 0) return;
      if (performance.now() > deadline) throw new Error(`not healthy: ${ill.join(", ")}`);
      await Bun.sleep(POLL_MS);
    }
  }

  /** SIGKILL, and nobody starts it again. */
  async kill(service: string): Promise<void> {
    await this.#compose(["kill", service]);
  }

  async stop(service?: string): Promise<void> {
    await this.#compose([...profileWords("grow"), "stop", ...(service ? [service] : [])]);
  }

  async start(service: string): Promise<void> {
    await this.#compose(["start", service]);
  }

  /** `name code` of every node's container that has ended. */
  async exitCodes(): Promise<string[]> {
    const states = await this.#states("{{.Config.Image}} {{.Name}} {{.State.ExitCode}}");
    return states
      .filter((line) => line.startsWith("dkv:"))
      .map((line) => line.slice("dkv:local ".length));
  }

  /** What the command prints that runs in the service's container. */
  inside(service: string, command: readonly string[]): Promise<string> {
    return this.#compose(["exec", "-T", service, ...command]);
  }

  async remove(isWithVolumes: boolean): Promise<void> {
    const words = ["down", "--remove-orphans", ...(isWithVolumes ? ["--volumes"] : [])];
    await this.#compose([...profileWords("grow"), ...words]);
  }

  async #states(format: string): Promise<string[]> {
    const filter = `label=com.docker.compose.project=${PROJECT}`;
    const ids = (await this.#engine.docker(["ps", "--all", "--quiet", "--filter", filter]))
      .split("\n")
      .filter(Boolean);
    if (ids.length === 0) return [];
    const text = await this.#engine.docker(["inspect", "--format", format, ...ids]);
    return text.trim().split("\n");
  }

  #compose(words: readonly string[]): Promise<string> {
    return this.#engine.compose(["-p", PROJECT, ...words], { cwd: this.#root });
  }
}

function profileWords(profile: string | undefined): string[] {
  return profile === undefined ? [] : ["--profile", profile];
}
