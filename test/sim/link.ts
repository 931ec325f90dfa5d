/**
 * One direction of the way between two machines: how long a message takes, and whether it gets through now.
 *
 *   arrival = end of transmission (bandwidth, one message at a time) + latency (at least `minMicros`, a long tail)
 */
import type { SimRandom } from "./random.ts";

export interface LinkOptions {
  readonly minMicros: number;
  /** Beyond the minimum, on average. */
  readonly tailMicros: number;
  /** Now and then a message takes much longer. */
  readonly spikeShare: number;
  readonly spikeMicros: number;
  /** Packets lost: in a connection sent again after a while, else gone. */
  readonly lossShare: number;
  /** Messages outside connections that arrive twice. */
  readonly duplicateShare: number;
  readonly bytesPerMicro: number;
}

export const FAST_LINK: LinkOptions = {
  minMicros: 50,
  tailMicros: 50,
  spikeShare: 0,
  spikeMicros: 0,
  lossShare: 0,
  duplicateShare: 0,
  bytesPerMicro: Number.POSITIVE_INFINITY,
};

/** Shortest time after which a lost packet is sent again; doubled with each further loss. */
const RETRANSMIT_MICROS = 200_000;

export class Link {
  readonly from: string;
  readonly to: string;
  readonly options: LinkOptions;
  readonly #random: SimRandom;
  #freeMicros = 0;
  /** Cuts that are in force: partitions may overlap. */
  cuts = 0;
  /** Everything takes that many times as long. */
  slowness = 1;

  constructor(from: string, to: string, options: LinkOptions, random: SimRandom) {
    this.from = from;
    this.to = to;
    this.options = options;
    this.#random = random;
  }

  get isCut(): boolean {
    return this.cuts > 0;
  }

  get isLost(): boolean {
    return this.#random.chance(this.options.lossShare);
  }

  get isDuplicated(): boolean {
    return this.#random.chance(this.options.duplicateShare);
  }

  /** When the last byte of a message of that size has left, if it is handed over now. */
  transmit(bytes: number, nowMicros: number): number {
    const start = Math.max(nowMicros, this.#freeMicros);
    this.#freeMicros = start + (bytes / this.options.bytesPerMicro) * this.slowness;
    return this.#freeMicros;
  }

  latencyMicros(): number {
    const { minMicros, tailMicros, spikeShare, spikeMicros } = this.options;
    const spike = this.#random.chance(spikeShare) ? this.#random.exponential(spikeMicros) : 0;
    return (minMicros + this.#random.exponential(tailMicros) + spike) * this.slowness;
  }

  /** How much later a message of a connection comes because packets of it were lost. */
  retransmitMicros(): number {
    let delay = 0;
    for (let wait = RETRANSMIT_MICROS; this.isLost && wait < 2 ** 7 * RETRANSMIT_MICROS; wait *= 2)
      delay += wait;
    return delay;
  }

  /** After a cut has healed: until the next attempt. */
  resumeMicros(): number {
    return this.#random.below(RETRANSMIT_MICROS);
  }
}
