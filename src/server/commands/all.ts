/** Every command's handler, by family. */
import type { Handlers } from "../handler.ts";
import { BIT_HANDLERS } from "./bits.ts";
import { BITFIELD_HANDLERS } from "./bits-field.ts";
import { BIT_OPERATION_HANDLERS } from "./bits-operation.ts";
import { CLIENT_HANDLERS } from "./client.ts";
import { CLUSTER_HANDLERS } from "./cluster.ts";
import { COMMAND_INTROSPECTION_HANDLERS } from "./command.ts";
import { CONFIG_HANDLERS } from "./config.ts";
import { CONNECTION_HANDLERS } from "./connection.ts";
import { DEBUG_HANDLERS } from "./debug.ts";
import { EXPIRY_HANDLERS } from "./expiry.ts";
import { INFO_HANDLERS } from "./info.ts";
import { KEY_HANDLERS } from "./keys.ts";
import { KEYSPACE_HANDLERS } from "./keyspace.ts";
import { LATENCY_HANDLERS } from "./latency.ts";
import { OBJECT_HANDLERS } from "./object.ts";
import { SCAN_HANDLERS } from "./scan.ts";
import { SERVER_HANDLERS } from "./server.ts";
import { WAIT_HANDLERS } from "./server-wait.ts";
import { SLOWLOG_HANDLERS } from "./slowlog.ts";
import { STRING_HANDLERS } from "./strings.ts";
import { COUNTER_HANDLERS } from "./strings-counters.ts";
import { LCS_HANDLERS } from "./strings-lcs.ts";
import { RANGE_HANDLERS } from "./strings-ranges.ts";
import { TRANSACTION_HANDLERS } from "./transactions.ts";

export const COMMAND_HANDLERS: Handlers = {
  ...CONNECTION_HANDLERS,
  ...CLIENT_HANDLERS,
  ...CLUSTER_HANDLERS,
  ...COMMAND_INTROSPECTION_HANDLERS,
  ...CONFIG_HANDLERS,
  ...DEBUG_HANDLERS,
  ...INFO_HANDLERS,
  ...LATENCY_HANDLERS,
  ...SERVER_HANDLERS,
  ...SLOWLOG_HANDLERS,
  ...WAIT_HANDLERS,
  ...STRING_HANDLERS,
  ...COUNTER_HANDLERS,
  ...RANGE_HANDLERS,
  ...LCS_HANDLERS,
  ...BIT_HANDLERS,
  ...BITFIELD_HANDLERS,
  ...BIT_OPERATION_HANDLERS,
  ...EXPIRY_HANDLERS,
  ...KEY_HANDLERS,
  ...KEYSPACE_HANDLERS,
  ...OBJECT_HANDLERS,
  ...SCAN_HANDLERS,
  ...TRANSACTION_HANDLERS,
};
