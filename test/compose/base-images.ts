/**
 * The images that Dockerfile and docker-compose.yml are based on. They are pulled; where no image registry is reached they
 * are made here under the same names: Debian by debootstrap, Node and npm from this machine, ZooKeeper from Debian's
 * packages, which are older than the release that the file names.
 */
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { type Engine, run } from "./engine.ts";

const PULL_MS_MAX = 300_000;
const CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt";
const IMAGES = join(import.meta.dirname, "images");
/** Containers use the machine's network while they are built: not every machine forwards. */
const BUILD = ["build", "--quiet", "--network", "host"];

export interface BaseImages {
  readonly debian: string;
  readonly node: string;
  readonly zookeeper: string;
}

/** Names as the files at the repository's top have them. */
export function baseImagesOf(root: string): BaseImages {
  const dockerfile = readFileSync(join(root, "Dockerfile"), "utf8");
  const compose = readFileSync(join(root, "docker-compose.yml"), "utf8");
  const names = [...dockerfile.matchAll(/^FROM (\S+)/gm)].map(([, name]) => name!);
  const find = (from: readonly string[], prefix: string): string => {
    const name = from.find((each) => each.startsWith(prefix));
    if (name === undefined) throw new Error(`no image ${prefix}…`);
    return name;
  };
  const services = [...compose.matchAll(/^ +image: (\S+)/gm)].map(([, name]) => name!);
  return {
    debian: find(names, "debian:"),
    node: find(names, "node:"),
    zookeeper: find(services, "zookeeper:"),
  };
}

export class BaseImageMaker {
  readonly #engine: Engine;
  readonly #images: BaseImages;
  readonly #say: (line: string) => void;

  constructor(engine: Engine, images: BaseImages, say: (line: string) => void) {
    this.#engine = engine;
    this.#images = images;
    this.#say = say;
  }

  async provide(): Promise<void> {
    const { debian, node, zookeeper } = this.#images;
    await this.#provide(debian, () => this.#makeDebian(debian));
    await this.#provide(node, () => this.#makeNode(node));
    await this.#provide(zookeeper, () => this.#makeZookeeper(zookeeper));
  }

  async #provide(name: string, make: () => Promise<void>): Promise<void> {
    if ((await this.#engine.docker(["images", "--quiet", name])).trim() !== "") {
      this.#say(`image ${name}: there`);
      return;
    }
    try {
      await this.#engine.docker(["pull", "--quiet", name], { timeoutMs: PULL_MS_MAX });
      this.#say(`image ${name}: pulled`);
    } catch {
      this.#say(`image ${name}: cannot be pulled, so it is made here`);
      await make();
    }
  }

  async #makeDebian(name: string): Promise<void> {
    await this.#inDirectory(async (directory) => {
      const tree = join(directory, "tree");
      await run(["debootstrap", "--variant=minbase", "bookworm", tree]);
      const archive = join(directory, "tree.tar");
      await run(["tar", "--directory", tree, "--create", "--file", archive, "."]);
      await this.#engine.docker(["import", archive, name]);
    });
  }

  async #makeNode(name: string): Promise<void> {
    const node = Bun.which("node");
    const npm = Bun.which("npm");
    if (node === null || npm === null) throw new Error("no node or npm on the PATH");
    await this.#inDirectory(async (directory) => {
      cpSync(realpathSync(node), join(directory, "node"));
      const home = dirname(dirname(realpathSync(npm)));
      cpSync(home, join(directory, "npm"), { recursive: true, dereference: true });
      mkdirSync(join(directory, "certificates"));
      if (existsSync(CERTIFICATES))
        cpSync(realpathSync(CERTIFICATES), join(directory, "certificates", "ca-certificates.crt"));
      const file = join(IMAGES, "node.Dockerfile");
      await this.#engine.docker([...BUILD, "-t", name, "-f", file, directory]);
    });
  }

  async #makeZookeeper(name: string): Promise<void> {
    const file = join(IMAGES, "zookeeper.Dockerfile");
    await this.#engine.docker([...BUILD, "-t", name, "-f", file, IMAGES]);
  }

  async #inDirectory(action: (directory: string) => Promise<void>): Promise<void> {
    const directory = mkdtempSync(join(tmpdir(), "dkv-images-"));
    try {
      await action(directory);
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  }
}
