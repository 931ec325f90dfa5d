/** Strings. */
import type { CommandContext, Handlers } from "../handler.ts";

function get({ store, request, reply, server }: CommandContext): void {
  store.select(request.bytes, request.starts[1]!, request.ends[1]!);
  if (!store.find()) {
    server.statistics.keyspaceMisses++;
    reply.nullBulk();
    return;
  }
  server.statistics.keyspaceHits++;
  if (store.isInline) {
    const found = store.found;
    reply.bulk(found.bytes, found.valueStart, found.valueEnd);
    return;
  }
  const pieces = store.valuePieces();
  reply.bulkPieces(pieces);
}

function set({ store, request, reply }: CommandContext): void {
  store.select(request.bytes, request.starts[1]!, request.ends[1]!);
  if (request.isLarge(2)) store.putPieces(request.pieces(2), 0);
  else store.put(request.bytes, request.starts[2]!, request.ends[2]!, 0);
  reply.ok();
}

export const STRING_HANDLERS: Handlers = { get, set };
