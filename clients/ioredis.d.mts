/** Types of ioredis.mjs: those of ioredis's Cluster. */
import { Cluster as StockCluster } from "ioredis";

/** A cluster client that sends every command to the node of dkv that has its key. Options are ioredis's. */
export declare class Cluster<
  Mapping extends "legacy" | "resp3" = "legacy",
> extends StockCluster<Mapping> {}
