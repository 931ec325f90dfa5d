/**
 * Commands of Redis 7.2 that dkv answers and Redis 7.0 does not have, in the form that extract-commands.ts writes:
 * `info` as COMMAND INFO reports it, `docs` as COMMAND DOCS does.
 */
import type { RawCommand } from "../src/server/command-table.ts";

type Json = string | number | readonly Json[] | { readonly [key: string]: Json };

interface Added {
  readonly container?: string;
  readonly info: RawCommand;
  /** Lines for the container's HELP. */
  readonly help: readonly string[];
  readonly docs: { readonly [key: string]: Json };
}

export const ADDED: readonly Added[] = [
  {
    container: "client",
    info: {
      name: "client|no-touch",
      arity: 3,
      flags: "noscript loading stale",
      acl: "slow connection",
    },
    help: [
      "NO-TOUCH (ON|OFF)",
      "    Keep commands of this connection from counting as accesses of their keys.",
    ],
    docs: {
      summary: "Set whether commands of this connection count as accesses of the keys they touch",
      since: "7.2.0",
      group: "connection",
      complexity: "O(1)",
      arguments: [
        {
          name: "enabled",
          type: "oneof",
          arguments: [
            { name: "on", type: "pure-token", token: "ON" },
            { name: "off", type: "pure-token", token: "OFF" },
          ],
        },
      ],
    },
  },
  {
    container: "client",
    info: {
      name: "client|setinfo",
      arity: 4,
      flags: "noscript loading stale",
      acl: "slow connection",
    },
    help: [
      "SETINFO <option> <value>",
      "    Tell which client library the connection uses. Options are:",
      "    * LIB-NAME: its name.",
      "    * LIB-VER: its version.",
    ],
    docs: {
      summary: "Tell the server which client library a connection uses",
      since: "7.2.0",
      group: "connection",
      complexity: "O(1)",
      arguments: [
        {
          name: "attr",
          type: "oneof",
          arguments: [
            { name: "libname", type: "string", token: "lib-name" },
            { name: "libver", type: "string", token: "lib-ver" },
          ],
        },
      ],
    },
  },
  {
    container: "cluster",
    info: {
      name: "cluster|myshardid",
      arity: 2,
      flags: "stale",
      acl: "slow",
      tips: ["nondeterministic_output"],
    },
    help: ["MYSHARDID", "    Return the node's shard id."],
    docs: {
      summary: "Return the id of the shard that the node belongs to",
      since: "7.2.0",
      group: "cluster",
      complexity: "O(1)",
    },
  },
  {
    info: {
      name: "waitaof",
      arity: 4,
      flags: "blocking",
      acl: "slow blocking connection",
      tips: ["request_policy:all_shards", "response_policy:agg_min"],
    },
    help: [],
    docs: {
      summary:
        "Wait until earlier writes of the connection are in the logs of this node and of replicas",
      since: "7.2.0",
      group: "generic",
      complexity: "O(1)",
      arguments: [
        { name: "numlocal", type: "integer" },
        { name: "numreplicas", type: "integer" },
        { name: "timeout", type: "integer" },
      ],
    },
  },
];
