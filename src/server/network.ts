/** Addresses to listen on, and who counts as local. */

export const PROTECTED_MODE_REPLY: Buffer = Buffer.from(
  "-DENIED dkv is running in protected mode because protected mode is enabled and no password is set for the default user. " +
    "In this mode connections are only accepted from the loopback interface. " +
    "If you want to connect from external computers, set a password with requirepass, or turn protected mode off with " +
    "protected-mode no, in the configuration file or with CONFIG SET from a local client.\r\n",
);

export interface ListenAddress {
  readonly hostname: string;
  /** It may be unavailable: `-` before the address. */
  readonly isOptional: boolean;
}

/** Redis's `bind` arguments: `*` is all of IPv4, `::*` all of IPv6. */
export function listenAddresses(bind: readonly string[]): ListenAddress[] {
  return bind.map((argument) => {
    const isOptional = argument.startsWith("-");
    const address = isOptional ? argument.slice(1) : argument;
    const hostname = address === "*" ? "0.0.0.0" : address === "::*" ? "::" : address;
    return { hostname, isOptional };
  });
}

export function isLoopback(address: string): boolean {
  return address === "::1" || address.startsWith("127.") || address.startsWith("::ffff:127.");
}
