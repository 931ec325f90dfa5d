/**
 * Where the ensemble is, as ZooKeeper's own tools write it: `host:port[,host:port…][/chroot]`. The port is 2181 if
 * not given; an IPv6 address stands in brackets. The chroot is "" or begins with "/".
 */
import { StartupError } from "../../base/errors.ts";
import { isPath } from "./coordinator.ts";

export interface ZookeeperServer {
  readonly host: string;
  readonly port: number;
}

export interface ZookeeperAddress {
  readonly servers: readonly ZookeeperServer[];
  readonly chroot: string;
}

const PORT_DEFAULT = 2181;
const PORT_MAX = 65_535;
const SERVERS_MAX = 64;
const SERVER = /^(?:\[([0-9a-fA-F:.]+)\]|([A-Za-z0-9_.-]+))(?::(\d{1,5}))?$/;

/** Throws StartupError, which says what is wrong. */
export function parseZookeeperAddress(text: string): ZookeeperAddress {
  const slash = text.indexOf("/");
  const list = slash < 0 ? text : text.slice(0, slash);
  const chroot = slash < 0 || slash === text.length - 1 ? "" : text.slice(slash);
  if (chroot !== "" && !isPath(chroot)) throw new StartupError(`ZooKeeper: no path: ${chroot}`);
  const servers = list.split(",").map(parseServer);
  if (servers.length > SERVERS_MAX) throw new StartupError("ZooKeeper: too many servers");
  return { servers, chroot };
}

function parseServer(text: string): ZookeeperServer {
  const match = SERVER.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3] ?? PORT_DEFAULT);
  if (host === undefined || port < 1 || port > PORT_MAX) {
    throw new StartupError(`ZooKeeper: expected host:port[,host:port…][/chroot], found "${text}"`);
  }
  return { host, port };
}
