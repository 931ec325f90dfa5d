/** What the directives of a cluster's node say together; contradictions are found here, before anything is begun. */
import { StartupError } from "./base/errors.ts";
import {
  parseZookeeperAddress,
  type ZookeeperAddress,
} from "./cluster/coordination/zookeeper-address.ts";
import type { SetShape } from "./cluster/node/formation.ts";
import {
  DEFAULT_REPLICATION_OPTIONS,
  type ReplicationOptions,
} from "./cluster/replication/options.ts";
import type { Address } from "./cluster/transport/transport.ts";
import type { Config } from "./config/config.ts";
import { isLoopback, listenAddresses } from "./server/network.ts";

const PEER_PORT_OFFSET = 10_000;
const PORT_MAX = 65_535;
const SECRET_BYTES_MIN = 16;
/** A frame is as long as a segment at most. */
const SEGMENT_BYTES_MAX = 64 * 1024 * 1024;

/** What a node needs to know, whoever coordinates it. */
export interface NodeSettings {
  readonly shape: SetShape;
  readonly replication: ReplicationOptions;
  /** Empty: none. */
  readonly secret: Uint8Array;
  /** Where this node listens for its peers. */
  readonly peerAddress: Address;
  /** What clients and peers are told. */
  readonly announced: {
    readonly host: string;
    readonly port: number;
    readonly peerPort: number;
    readonly hostname: string;
  };
}

export interface ClusterSettings extends NodeSettings {
  readonly zookeeper: ZookeeperAddress;
}

export interface Surroundings {
  /** Of this machine, where others may reach it. */
  readonly addresses: readonly string[];
  readText(path: string): string;
}

/** Throws StartupError. */
export function clusterSettings(config: Config, surroundings: Surroundings): ClusterSettings {
  if (config.get("zookeeper") === "")
    throw new StartupError("cluster-enabled yes needs zookeeper host:port[,host:port…][/path]");
  const port = config.get("port");
  const peerPort = config.get("peer-port") || port + PEER_PORT_OFFSET;
  if (config.get("engine-segment-bytes") > SEGMENT_BYTES_MAX)
    throw new StartupError(
      "in a cluster engine-segment-bytes is at most 64mb: what one message carries",
    );
  if (port === 0) throw new StartupError("a node of a cluster needs a port: port 0 is not one");
  if (peerPort > PORT_MAX)
    throw new StartupError(`peer-port would be ${peerPort}, which is no port: set it`);
  const hosts = listenAddresses(config.get("bind"))
    .filter(({ isOptional }) => !isOptional)
    .map(({ hostname }) => hostname);
  return {
    zookeeper: parseZookeeperAddress(config.get("zookeeper")),
    shape: shapeOf(config),
    replication: { ...DEFAULT_REPLICATION_OPTIONS, ...leaseOf(config) },
    secret: secretOf(config, surroundings),
    peerAddress: { host: hosts.length === 1 ? hosts[0]! : "0.0.0.0", port: peerPort },
    announced: {
      host: config.get("cluster-announce-ip") || addressOf(hosts, surroundings.addresses),
      port: config.get("cluster-announce-port") || port,
      peerPort: config.get("cluster-announce-peer-port") || peerPort,
      hostname: config.get("cluster-announce-hostname"),
    },
  };
}

function shapeOf(config: Config): SetShape {
  const replicationFactor = config.get("replication-factor");
  const writeQuorum = config.get("write-quorum");
  if (writeQuorum > replicationFactor) {
    throw new StartupError(
      `write-quorum ${writeQuorum} is more than replication-factor ${replicationFactor}: no write could be answered`,
    );
  }
  return { initialSets: config.get("cluster-initial-sets"), replicationFactor, writeQuorum };
}

/** A lease must be renewed several times while it runs. */
function leaseOf(config: Config): Pick<ReplicationOptions, "leaseMs" | "heartbeatMs"> {
  const leaseMs = config.get("cluster-lease");
  const heartbeatMs = Math.min(DEFAULT_REPLICATION_OPTIONS.heartbeatMs, Math.ceil(leaseMs / 5));
  return { leaseMs, heartbeatMs };
}

function secretOf(config: Config, { readText }: Surroundings): Uint8Array {
  const file = config.get("cluster-secret-file");
  if (file === "") return Buffer.from(config.get("cluster-secret"));
  if (config.get("cluster-secret") !== "")
    throw new StartupError("cluster-secret and cluster-secret-file are both set");
  let secret: string;
  try {
    secret = readText(file).trim();
  } catch (cause) {
    const reason = (cause as Error).message;
    throw new StartupError(`cannot read cluster-secret-file: ${reason}`, { cause });
  }
  if (Buffer.byteLength(secret) < SECRET_BYTES_MIN)
    throw new StartupError(`${file} must hold at least ${SECRET_BYTES_MIN} characters`);
  return Buffer.from(secret);
}

/** A loopback address only if this node listens on nothing else. */
function addressOf(hosts: readonly string[], interfaces: readonly string[]): string {
  const named = hosts.find((host) => host !== "0.0.0.0" && host !== "::");
  if (named !== undefined && !hosts.includes("0.0.0.0")) return named;
  if (hosts.length > 0 && hosts.every((host) => isLoopback(host))) return hosts[0]!;
  return interfaces[0] ?? "127.0.0.1";
}
