/**
 * The frames that came behind a message, before anything is done with them: that they are the ones that the message
 * speaks of, each whole. So the core can be stepped with the message, and the log take what the core asks for.
 *
 *     message (previous.index, last], runs     payload │ frame │ frame │ frame │     starts: 0 … bytes.length
 *
 * That they continue the log (their chain) the log itself verifies.
 */
import { assert } from "../../base/assert.ts";
import { checksumMatches } from "../../base/checksum.ts";
import { FRAME_HEADER_BYTES, FRAME_MAGIC } from "../../wal/frame.ts";
import { epochInMessage, type FrameMessage, type Message } from "../replication/message.ts";

const TWO_32 = 0x1_0000_0000;
const CHECKSUM_OFFSET = 8;
const COVERED_OFFSET = 16;
const EPOCH_OFFSET = 24;
const INDEX_OFFSET = 32;

export class FrameList {
  readonly #bytes: Uint8Array;
  readonly #first: number;
  /** Where each frame begins, and where the last one ends. */
  readonly #starts: readonly number[];

  private constructor(bytes: Uint8Array, first: number, starts: readonly number[]) {
    this.#bytes = bytes;
    this.#first = first;
    this.#starts = starts;
  }

  /** The frames of `message`, or undefined when `bytes` are not these. */
  static read(message: FrameMessage, bytes: Uint8Array): FrameList | undefined {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const starts = [0];
    let at = 0;
    for (let index = message.previous.index + 1; index <= message.last; index++) {
      const end = at + wholeLength(view, at);
      if (end === at) return undefined;
      if (readUint64(view, at + INDEX_OFFSET) !== index) return undefined;
      if (readUint64(view, at + EPOCH_OFFSET) !== epochInMessage(message, index)) return undefined;
      const covered = bytes.subarray(at + COVERED_OFFSET, end);
      if (!checksumMatches(covered, bytes, at + CHECKSUM_OFFSET)) return undefined;
      starts.push(end);
      at = end;
    }
    if (at !== bytes.length) return undefined;
    return new FrameList(bytes, message.previous.index + 1, starts);
  }

  /** The bytes of the frames [first, last]. */
  slice(first: number, last: number): Uint8Array {
    const start = this.#starts[first - this.#first];
    const end = this.#starts[last - this.#first + 1];
    assert(start !== undefined && end !== undefined && start < end, "frames that did not come");
    return this.#bytes.subarray(start, end);
  }
}

/** Length of the frame at `at`; 0 when it is none, or not whole. */
function wholeLength(view: DataView, at: number): number {
  const room = view.byteLength - at;
  if (room < FRAME_HEADER_BYTES || view.getUint32(at, true) !== FRAME_MAGIC) return 0;
  const length = view.getUint32(at + 4, true);
  return length < FRAME_HEADER_BYTES || length > room ? 0 : length;
}

function readUint64(view: DataView, at: number): number {
  return view.getUint32(at, true) + view.getUint32(at + 4, true) * TWO_32;
}

/** Whether frames follow the message. */
export function hasFrames(message: Message): message is FrameMessage {
  const isFrameMessage = message.type === "append" || message.type === "fetch-reply";
  return isFrameMessage && message.runs.length > 0;
}
