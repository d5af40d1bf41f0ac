// One order per intention: the client order id belongs to the content of the ticket, not to the click.

export class Intent {
  #content = "";
  #id = "";
  #make;

  /** @param {() => string} make makes a fresh client order id */
  constructor(make) {
    this.#make = make;
  }

  /** The id for this content: the same one until it is settled or the content changes. @param {object} content */
  id(content) {
    const text = JSON.stringify(content);
    if (!this.#id || text !== this.#content) {
      this.#content = text;
      this.#id = this.#make();
    }
    return this.#id;
  }

  /**
   * After an answer. Done, and refused for certain, end the intention; unknown keeps the id, so that sending the
   * same ticket again can never make a second order.
   * @param {"done" | "not_done" | "unknown"} outcome
   */
  settle(outcome) {
    if (outcome !== "unknown") this.#id = "";
  }
}

/** A client order id the wire accepts. */
export function makeId() {
  const bytes = crypto.getRandomValues(new Uint8Array(9));
  return `p-${Array.from(bytes, (b) => b.toString(36).padStart(2, "0"))
    .join("")
    .slice(0, 18)}`;
}
