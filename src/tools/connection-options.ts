/** The options by which every tool that talks to a server is told where it is. */
import { type Command, InvalidArgumentError } from "commander";
import type { ToolEnvironment } from "./environment.ts";
import type { Address, ClientOptions } from "./resp-client.ts";

export interface ConnectionFlags {
  readonly host: string;
  readonly port: number;
  readonly password?: string;
}

const PORT_MAX = 65_535;

export function integerArgument(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
    if (value >= min && value <= max) return value;
    throw new InvalidArgumentError(`It must be an integer between ${min} and ${max}.`);
  };
}

/** `-h` is the host, as in redis-cli; help is `--help`. */
export function addConnectionOptions(command: Command): Command {
  return command
    .helpOption("--help", "show this help")
    .option("-h, --host <host>", "any node of the cluster, or the server", "127.0.0.1")
    .option("-p, --port <port>", "its port", integerArgument(1, PORT_MAX), 6379)
    .option("-a, --password <password>", "password; better in the environment, as DKV_CLI_AUTH");
}

export function addressOf({ host, port }: ConnectionFlags): Address {
  return { host, port };
}

export function clientOptions(
  { password }: ConnectionFlags,
  { clock, variables }: ToolEnvironment,
): ClientOptions {
  const given = variables["DKV_CLI_AUTH"] ?? variables["REDISCLI_AUTH"] ?? "";
  return { clock, password: password ?? given };
}
