/**
 * What the writers of two replica sets say to each other about a move of slots: JSON, and behind a piece its records.
 *
 *     source ── ask ───► destination      where are you? begin, if you have not; `restart`: that state cannot go on
 *            ── piece ─►                  records, and where the source would go on after them
 *            ◄─ status ──                 what is committed there
 *
 * A message may be lost, come twice or late. A piece is taken only if it follows what the destination has: by its number
 * and by the checksum over all pieces before it. So nothing is written twice and nothing is left out, whoever speaks for
 * the source by then. And it is written only if the checksum with it is `after`.
 */
import { z } from "zod";
import type { ResumePoint } from "../../store/slot-moves.ts";

const count = z.int().min(0);
const resume = z.discriminatedUnion("phase", [
  z.strictObject({ phase: z.literal("keys"), slot: count, cursor: count, index: count }),
  z.strictObject({ phase: z.literal("log"), index: count, skip: count }),
]);
const move = z.string().regex(/^[0-9a-f]{40}$/);

const schema = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("ask"), move, restart: z.string().optional() }),
  z.strictObject({
    type: z.literal("piece"),
    move,
    number: count,
    before: z.string(),
    after: z.string(),
    resume,
    /** Of the last piece: the source's clock when it had frozen the slots. */
    sourceClockMs: count.optional(),
  }),
  z.strictObject({
    type: z.literal("status"),
    move,
    state: z.enum(["importing", "complete", "over"]),
    /** While importing: pieces that are committed, their checksum, where the source goes on. */
    pieces: count,
    chain: z.string(),
    resume: resume.optional(),
  }),
]);

export type MoveMessage = Readonly<z.infer<typeof schema>>;
export type AskMessage = Extract<MoveMessage, { type: "ask" }>;
export type PieceMessage = Extract<MoveMessage, { type: "piece" }>;

/** What a destination has, committed. */
export interface DestinationStatus {
  /** importing, complete: here, not served. over: decided, and what the decision asks of the destination is done. */
  readonly state: "importing" | "complete" | "over";
  readonly pieces: number;
  readonly chain: string;
  readonly resume?: ResumePoint | undefined;
}

export function encodeMoveMessage(message: MoveMessage): Buffer {
  return Buffer.from(JSON.stringify(message));
}

/** Undefined: not a message of this version. */
export function decodeMoveMessage(bytes: Uint8Array): MoveMessage | undefined {
  try {
    return schema.safeParse(JSON.parse(Buffer.from(bytes).toString())).data;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}
