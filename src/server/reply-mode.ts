/** CLIENT REPLY: which replies a client wants to hear (https://redis.io/docs/latest/commands/client-reply/). */

export class ReplyMode {
  #mode: "on" | "off" | "skip" = "on";
  /** The reply to the next command is kept, too. */
  #skipsNext = false;

  /** True while the current command's reply is kept from the client. */
  get isSilent(): boolean {
    return this.#mode !== "on" || this.#skipsNext;
  }

  /** "on" counts at once: its own reply is sent, also behind SKIP. "skip" changes nothing behind "off". */
  set(mode: "on" | "off" | "skip"): void {
    if (mode !== "skip" || this.#mode !== "off") this.#mode = mode;
    if (mode === "on") this.#skipsNext = false;
  }

  /** A reply has been kept: SKIP ends after the command behind its own. */
  next(): void {
    this.#skipsNext = this.#mode === "skip";
    if (this.#mode === "skip") this.#mode = "on";
  }
}
