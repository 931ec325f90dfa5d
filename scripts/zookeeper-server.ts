/** How a ZooKeeper server is started from Debian's jars, for a cluster on one machine and for tests. */
import { existsSync } from "node:fs";
import { join } from "node:path";

const JARS = "/usr/share/java";
const SERVER_JARS = ["zookeeper.jar", "slf4j-simple.jar"];

/** Empty: servers can be started here. Else what is missing, and which Debian packages have it. */
export function missingForZookeeper(): string {
  if (Bun.which("java") === null) return "no java on the PATH (Debian: default-jre-headless)";
  const missing = SERVER_JARS.filter((jar) => !existsSync(join(JARS, jar)));
  return missing.length === 0
    ? ""
    : `no ${missing.join(", ")} in ${JARS} (Debian: libzookeeper-java)`;
}

/** `isDurable`: syncs what it has answered, as a server that matters must. */
export function zookeeperCommand(parts: {
  readonly configFile: string;
  readonly logFile: string;
  readonly isDurable: boolean;
}): string[] {
  return [
    ...["java", "-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"],
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    `-Dorg.slf4j.simpleLogger.logFile=${parts.logFile}`,
    `-Dzookeeper.forceSync=${parts.isDurable ? "yes" : "no"}`,
    ...["-cp", SERVER_JARS.map((jar) => join(JARS, jar)).join(":")],
    ...["org.apache.zookeeper.server.quorum.QuorumPeerMain", parts.configFile],
  ];
}
