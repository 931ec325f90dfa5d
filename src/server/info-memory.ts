/**
 * INFO memory. used_memory is what the process has allocated, of which maxmemory is the limit: not the data, most of
 * which lies on disk.
 */
import type { MemoryReading, ProcessMemory } from "../base/process-memory.ts";
import type { ServerContext } from "./handler.ts";
import { type InfoField, percentText, sizeFields, zeros } from "./info-text.ts";

/** What the process has taken so far. */
export class MemoryGauge {
  readonly #source: ProcessMemory;
  /** At the start of the server. */
  readonly startupBytes: number;
  peakBytes = 0;

  constructor(source: ProcessMemory) {
    this.#source = source;
    this.startupBytes = this.read().allocatedBytes;
  }

  /** Call it now and then, so that the peak is noticed. */
  read(): MemoryReading {
    const reading = this.#source.read();
    if (reading.allocatedBytes > this.peakBytes) this.peakBytes = reading.allocatedBytes;
    return reading;
  }
}

export interface MemoryParts {
  readonly segments: number;
  readonly memtable: number;
  readonly blockCache: number;
  readonly tables: number;
  readonly clients: number;
}

/** The memory that is accounted for, by what it is used for. */
export function memoryParts({ store, clients }: ServerContext): MemoryParts {
  const { memtable, segments, lsm } = store.internals;
  const { cache, tableMemoryBytes } = lsm.info;
  let segmentBytes = 0;
  let indexBytes = memtable.memoryBytes;
  for (const { segment, memory } of segments.residents) {
    segmentBytes += segment.bytes.length;
    indexBytes += memory.offsets.byteLength + memory.next.byteLength + memory.dead.byteLength;
    indexBytes += memory.chains.byteLength + memory.knownDeltas.byteLength;
  }
  let clientBytes = 0;
  for (const session of clients.all()) clientBytes += session.bufferBytes;
  return {
    segments: segmentBytes,
    memtable: indexBytes,
    blockCache: cache.slabBytes,
    tables: tableMemoryBytes,
    clients: clientBytes,
  };
}

export function memoryFields(server: ServerContext): InfoField[] {
  const reading = server.memory.read();
  const { startupBytes, peakBytes } = server.memory;
  const parts = memoryParts(server);
  const used = reading.allocatedBytes;
  const dataset = Math.min(used, parts.segments + parts.blockCache);
  const resident = reading.residentBytes;
  return [
    ...sizeFields("used_memory", used),
    ...sizeFields("used_memory_rss", resident),
    ...sizeFields("used_memory_peak", peakBytes),
    ["used_memory_peak_perc", percentText(used, peakBytes)],
    ["used_memory_overhead", used - dataset],
    ["used_memory_startup", startupBytes],
    ["used_memory_dataset", dataset],
    ["used_memory_dataset_perc", percentText(dataset, used - Math.min(startupBytes, used))],
    ...sizeFields("total_system_memory", server.host.memoryBytes),
    ...sizeFields("used_memory_lua", 0),
    ...zeros("number_of_cached_scripts number_of_functions number_of_libraries"),
    ...sizeFields("used_memory_scripts", 0),
    ...sizeFields("maxmemory", server.config.memoryBytes),
    ["maxmemory_policy", server.config.get("maxmemory-policy")],
    ["mem_fragmentation_ratio", (resident / Math.max(1, used)).toFixed(2)],
    ["mem_fragmentation_bytes", resident - used],
    ["mem_not_counted_for_evict", 0],
    ...zeros("mem_replication_backlog mem_total_replication_buffers mem_clients_slaves"),
    ["mem_clients_normal", parts.clients],
    ...zeros("mem_cluster_links mem_aof_buffer"),
    ["mem_allocator", server.host.runtime],
    ...zeros("active_defrag_running lazyfree_pending_objects lazyfreed_objects"),
  ];
}
