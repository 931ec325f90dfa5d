/** What clients and tools are told about the version: Redis's, by which they choose what to use, and dkv's own. */
import packageJson from "../../package.json" with { type: "json" };

/** The Redis whose commands and replies dkv follows. */
export const REDIS_VERSION = "7.0.15";
export const DKV_VERSION: string = packageJson.version;
