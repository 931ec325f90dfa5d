/** Types of node-redis.mjs: those of node-redis. */
import { createCluster as createStockCluster } from "redis";

/** A cluster client that sends every command to the node of dkv that has its key. Options are node-redis's. */
export declare const createCluster: typeof createStockCluster;
