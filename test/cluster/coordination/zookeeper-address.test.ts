/** How an ensemble is named. */
import { expect, test } from "bun:test";
import { StartupError } from "../../../src/base/errors.ts";
import { parseZookeeperAddress } from "../../../src/cluster/coordination/zookeeper-address.ts";

test("parseZookeeperAddress reads servers, ports and chroot", () => {
  expect(parseZookeeperAddress("zk")).toEqual({
    servers: [{ host: "zk", port: 2181 }],
    chroot: "",
  });
  expect(parseZookeeperAddress("a:1,10.0.0.1:65535,[::1]:2,[fe80::1]/dkv/x")).toEqual({
    servers: [
      { host: "a", port: 1 },
      { host: "10.0.0.1", port: 65_535 },
      { host: "::1", port: 2 },
      { host: "fe80::1", port: 2181 },
    ],
    chroot: "/dkv/x",
  });
  expect(parseZookeeperAddress("a:1/").chroot).toBe("");
});

test("parseZookeeperAddress refuses what it cannot mean", () => {
  const wrong = [
    "",
    ":1",
    "a:0",
    "a:65536",
    "a:x",
    "a,",
    "a b",
    "::1",
    "[::1",
    "a//x",
    "a/../b",
    "a/x/",
  ];
  for (const text of wrong) expect(() => parseZookeeperAddress(text)).toThrow(StartupError);
  expect(() => parseZookeeperAddress(Array(65).fill("a").join(","))).toThrow(StartupError);
});
