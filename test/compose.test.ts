/** The files at the top that make containers, as far as that goes without an engine; `npm run test:compose` runs them. */
import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import packageJson from "../package.json" with { type: "json" };
import { Config } from "../src/config/config.ts";
import { parseWriters } from "./compose/cluster-view.ts";

const ROOT = join(import.meta.dirname, "..");
const read = (name: string) => readFileSync(join(ROOT, name), "utf8");

interface Service {
  readonly image: string;
  readonly build?: string;
  readonly pull_policy?: string;
  readonly depends_on?: readonly string[];
  readonly logging: { readonly options: Readonly<Record<string, string>> };
  readonly environment: Readonly<Record<string, string | number>>;
  readonly ports?: readonly string[];
  readonly profiles?: readonly string[];
  readonly networks: { readonly cluster: { readonly ipv4_address: string } };
  readonly volumes: readonly string[];
  readonly read_only?: boolean;
}

const compose = Bun.YAML.parse(read("docker-compose.yml")) as {
  readonly services: Readonly<Record<string, Service>>;
  readonly volumes: Readonly<Record<string, unknown>>;
  readonly secrets: Readonly<Record<string, { readonly file: string }>>;
};
const services = Object.entries(compose.services);
const nodes = services.filter(([name]) => name.startsWith("dkv"));

/** `${NAME:-default}` as compose reads it when nothing is set. */
const withDefaults = (text: string) => text.replace(/\$\{\w+:-([^}]*)\}/g, "$1");

describe("docker-compose.yml", () => {
  test("has three ZooKeeper servers, two sets of three nodes, and a third one in another profile", () => {
    const names = services.map(([name]) => name).filter((name) => name.startsWith("zk"));
    expect(names).toEqual(["zk1", "zk2", "zk3"]);
    expect(nodes.filter(([, { profiles }]) => profiles === undefined)).toHaveLength(6);
    expect(nodes.filter(([, { profiles }]) => profiles?.[0] === "grow")).toHaveLength(3);
  });

  test("pins ZooKeeper to a release that loses no transactions", () => {
    const [, version] = /^zookeeper:(\d+\.\d+\.\d+)$/.exec(compose.services["zk1"]!.image)!;
    expect(Bun.semver.satisfies(version!, ">=3.9.4")).toBe(true);
  });

  test("gives every node a port that is the same outside, an address and a volume of its own", () => {
    for (const [name, { environment, ports, volumes }] of nodes) {
      const port = withDefaults(`${environment["DKV_PORT"]}`);
      expect(ports!.map(withDefaults)).toEqual([
        `127.0.0.1:${port}:${port}`,
        `127.0.0.1:1${port}:1${port}`,
      ]);
      expect(volumes).toEqual([`${name}:/data`]);
    }
    const addresses = nodes.map(([, { networks }]) => withDefaults(networks.cluster.ipv4_address));
    expect(new Set(addresses).size).toBe(nodes.length);
    for (const volume of services.flatMap(([, each]) => each.volumes))
      expect(Object.keys(compose.volumes)).toContain(volume.split(":")[0]!);
  });

  test("builds the image once: builds of one name beside each other fail on current releases of Docker", () => {
    expect(nodes.filter(([, { build }]) => build !== undefined).map(([name]) => name)).toEqual([
      "dkv0",
    ]);
    for (const [, { image, pull_policy }] of nodes)
      expect([image, pull_policy]).toEqual(["dkv:local", "never"]);
  });

  test("bounds every log, and starts and stops nodes around ZooKeeper, whichever server of it is ill", () => {
    for (const [, { logging }] of services)
      expect(logging.options).toEqual({ "max-size": "10m", "max-file": "3" });
    // A list: started, not healthy.
    for (const [, { depends_on }] of nodes) expect(depends_on).toEqual(["zk1", "zk2", "zk3"]);
  });

  test("lets a third set take its share, unless it is told not to", () => {
    for (const [, { environment }] of nodes)
      expect(withDefaults(`${environment["DKV_CLUSTER_AUTO_REBALANCE"]}`)).toBe("yes");
  });

  test("says at its top what may be set, and docs/docker.md too", () => {
    const text = read("docker-compose.yml");
    const names = new Set([...text.matchAll(/\$\{(\w+):-/g)].map(([, name]) => name!));
    const head = text.slice(0, text.indexOf("\nx-"));
    const page = read("docs/docker.md");
    expect([...names].filter((name) => !head.includes(`#     ${name} `))).toEqual([]);
    expect([...names].filter((name) => !page.includes(`| \`${name}\` |`))).toEqual([]);
  });

  test("sets only directives that there are, and names files of secrets that are there", () => {
    const files = Object.values(compose.secrets).map(({ file }) => withDefaults(file));
    for (const file of files) expect(existsSync(join(ROOT, file))).toBe(true);
    for (const [, { environment, read_only }] of nodes) {
      const variables = Object.fromEntries(
        Object.entries(environment).map(([name, value]) => [name, withDefaults(`${value}`)]),
      );
      // Where a container finds it, which is not here.
      const { DKV_REQUIREPASS_FILE: password, ...others } = variables;
      expect(password).toBe("/run/secrets/password");
      expect(Config.load({ argv: [], environment: others }).warnings).toEqual([]);
      expect(read_only).toBe(true);
    }
  });
});

describe("Dockerfile", () => {
  const dockerfile = read("Dockerfile");

  test("names pinned images", () => {
    const images = [...dockerfile.matchAll(/^FROM (\S+)/gm)].map(([, image]) => image!);
    expect(images).toHaveLength(2);
    for (const image of images) expect(image).toMatch(/^[a-z]+:\d+\.\d+(\.\d+)?(-[a-z]+)+$/);
    const [, version] = /^FROM node:(\S+?)-/m.exec(dockerfile)!;
    expect(Bun.semver.satisfies(version!, packageJson.engines.node)).toBe(true);
  });

  test("makes Bun process 1, of a user without rights", () => {
    expect(dockerfile).toMatch(/^ENTRYPOINT \["bun", "src\/main\.ts"\]$/m);
    expect(dockerfile).toMatch(/^USER 999:999$/m);
  });

  test("copies what .dockerignore lets through", () => {
    const allowed = [...read(".dockerignore").matchAll(/^!(.+)$/gm)].map(([, name]) => name!);
    const copied = [...dockerfile.matchAll(/^COPY (?!--from)(.+) \S+$/gm)].flatMap(([, names]) =>
      names!.split(" "),
    );
    expect([...new Set(copied)].sort()).toEqual(allowed.sort());
  });
});

test("parseWriters finds writers in CLUSTER NODES, and counts their slots as dkv does", () => {
  const nodes = [
    "aa 172.28.70.10:7000@17000 myself,master - 0 0 3 connected 0-5455 16368-16383",
    "bb 172.28.70.11:7001@17001,host slave aa 0 0 3 connected",
    "cc 172.28.70.16:7006@17006 master - 0 0 1 connected",
    "",
  ];
  expect(parseWriters(nodes.join("\n"))).toEqual([
    { id: "aa", port: 7000, slots: 342 },
    { id: "cc", port: 7006, slots: 0 },
  ]);
});
