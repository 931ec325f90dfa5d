/** `slot <key>`: where a key lies. */
import { SLOT_COUNT, slotOf } from "../base/slot.ts";
import type { FollowingClient } from "./following-client.ts";
import { decodeReply, type ReplyValue } from "./reply-value.ts";
import { formatAddress } from "./resp-client.ts";

/** Stock clients are shown so many slots of their own for each of dkv's. */
export const CLIENT_SLOTS_PER_SLOT = 16;

interface OwnedBy {
  readonly writer: string;
  readonly replicas: readonly string[];
}

function addressText(node: ReplyValue | undefined): string {
  const [host, port] = Array.isArray(node) ? node : [];
  return formatAddress({ host: `${host}`, port: Number(port) });
}

function ownerOf(slot: number, slots: ReplyValue): OwnedBy | undefined {
  const at = slot * CLIENT_SLOTS_PER_SLOT;
  for (const entry of Array.isArray(slots) ? (slots as ReplyValue[]) : []) {
    const [start, end, writer, ...replicas] = entry as readonly ReplyValue[];
    if (at < Number(start) || at > Number(end)) continue;
    return { writer: addressText(writer), replicas: replicas.map(addressText) };
  }
  return undefined;
}

export async function slotReport(client: FollowingClient, key: Uint8Array): Promise<string> {
  const slot = slotOf(key, 0, key.length);
  const reply = decodeReply(await client.connection.request(["CLUSTER", "SLOTS"]));
  const where = `slot ${slot} of ${SLOT_COUNT}`;
  if (reply instanceof Error) return where;
  const owner = ownerOf(slot, reply);
  if (owner === undefined) return `${where}: no writer serves it now`;
  const copies = owner.replicas.length === 0 ? "none" : owner.replicas.join(", ");
  return `${where}: writer ${owner.writer}, replicas ${copies}`;
}
