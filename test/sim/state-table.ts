/**
 * Numbers for states, so that a set of configurations does not hold every state's text again.
 */
export class StateTable {
  readonly #ids = new Map<string, number>();

  idOf(state: string): number {
    let id = this.#ids.get(state);
    if (id === undefined) {
      id = this.#ids.size;
      this.#ids.set(state, id);
    }
    return id;
  }
}
