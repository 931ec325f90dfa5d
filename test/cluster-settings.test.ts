import { describe, expect, test } from "bun:test";
import { type ClusterSettings, clusterSettings } from "../src/cluster-settings.ts";
import { Config } from "../src/config/config.ts";

function settingsOf(flags: readonly string[], text = ""): ClusterSettings {
  const config = Config.load({ argv: ["--cluster-enabled", "yes", ...flags], environment: {} });
  return clusterSettings(config, { addresses: ["10.1.2.3"], readText: () => text });
}

const ZOOKEEPER = ["--zookeeper", "zk1:2181,zk2/dkv"];

describe("clusterSettings", () => {
  test("ports and addresses follow from each other", () => {
    const { announced, peerAddress, zookeeper } = settingsOf([...ZOOKEEPER, "--port", "7000"]);
    expect(announced).toEqual({ host: "10.1.2.3", port: 7000, peerPort: 17_000, hostname: "" });
    expect(peerAddress).toEqual({ host: "0.0.0.0", port: 17_000 });
    expect(zookeeper.chroot).toBe("/dkv");
  });

  test("a node that listens on one address announces it, unless it is told another", () => {
    const bind = [...ZOOKEEPER, "--port", "7000", "--bind", "127.0.0.1"];
    expect(settingsOf(bind).announced.host).toBe("127.0.0.1");
    expect(settingsOf(bind).peerAddress.host).toBe("127.0.0.1");
    const other = ["--cluster-announce-ip", "192.0.2.1", "--cluster-announce-port", "1"];
    expect(settingsOf([...bind, ...other]).announced).toMatchObject({ host: "192.0.2.1", port: 1 });
  });

  test("the secret comes from its file, without the line's end", () => {
    const file = [...ZOOKEEPER, "--cluster-secret-file", "/secret"];
    expect(Buffer.from(settingsOf(file, "sixteen-characters\n").secret).toString()).toBe(
      "sixteen-characters",
    );
    expect(() => settingsOf(file, "short\n")).toThrow("at least 16 characters");
    const both = [...file, "--cluster-secret", "sixteen-characters"];
    expect(() => settingsOf(both)).toThrow("both set");
  });

  test("a short lease is renewed more often than by default", () => {
    const { replication } = settingsOf([...ZOOKEEPER, "--cluster-lease", "50"]);
    expect(replication).toMatchObject({ leaseMs: 50, heartbeatMs: 10 });
  });

  test.each([
    [[], "needs zookeeper"],
    [[...ZOOKEEPER, "--port", "0"], "needs a port"],
    [[...ZOOKEEPER, "--port", "60000"], "peer-port would be 70000"],
    [[...ZOOKEEPER, "--write-quorum", "4"], "more than replication-factor 3"],
    [[...ZOOKEEPER, "--engine-segment-bytes", "128mb"], "at most 64mb"],
    [["--zookeeper", "zk1:port"], "expected host:port"],
  ])("%p is refused", (flags, message) => {
    expect(() => settingsOf(flags)).toThrow(message);
  });
});
