// Commands: pending by id, answered once, unlocked when the store shows the effect. Stops go by HTTP when the socket is down.

const PATIENCE = 15_000;
/** A stop goes by HTTP too where the socket has said nothing for so long [ms]: heartbeats are 2 s apart. */
const URGENT = 2500;
/** Only these go by HTTP when the socket is down: stopping must not depend on one path. */
const BY_HTTP = new Set(["trading.halt", "order.cancel_all"]);
/** Ops of one account; halt and resume go to all. */
const OF_ACCOUNT =
  /^(order|position|balance|fill|portfolio|risk|market|indicator|alert)\.|^(event\.list|strategy\.analyze)$/;
const READS =
  /^(order\.(preview|get|list|history)|fill\.list|market\.|risk\.|system\.|balance\.|position\.(list|get|value))/;

export class Commands {
  #link;
  #store;
  #serial = 0;
  /** @type {Map<string, { op: string, done: (reply: Reply) => void, timer: ReturnType<typeof setTimeout> }>} */
  #pending = new Map();
  /** @type {((data: Row) => void)[]} */
  #resolved = [];

  /** @param {import("./link.js").Link} link @param {Store} store */
  constructor(link, store) {
    this.#link = link;
    this.#store = store;
    link.onClosed = () => this.#lost();
  }

  /** A reply or notice of the socket. @param {any} m */
  take(m) {
    if (m.type === "notice" && m.event === "order_resolved") for (const tell of this.#resolved) tell(m.data);
    if (m.type !== "reply" || typeof m.id !== "string") return;
    this.#settle(m.id, m);
  }

  /** Told for each `order_resolved` of this client. @param {(data: Row) => void} tell */
  onResolved(tell) {
    this.#resolved.push(tell);
  }

  /**
   * Sends one op; resolves with its reply, whatever it says, after its effect has reached the store.
   * @template {keyof Arguments} Op
   * @param {Op} op @param {Partial<Arguments[Op]>} [args] @returns {Promise<Reply>}
   */
  async call(op, args = {}) {
    const { state } = this.#link.state;
    const { account } = this.#link;
    /** @type {Row} */
    const full = account && OF_ACCOUNT.test(op) ? { ...args, venue: account } : args;
    const urgent = BY_HTTP.has(op);
    if (urgent && state !== "live") return this.#byHttp(op, full);
    const id = `c-${++this.#serial}`;
    const reply = await new Promise((/** @type {(reply: Reply) => void} */ done) => {
      const timer = setTimeout(() => this.#settle(id, silent(op, "no answer in 15 s")), PATIENCE);
      this.#pending.set(id, { op, done, timer });
      const sent = Date.now();
      if (urgent)
        setTimeout(() => {
          if (this.#link.state.heard <= sent) this.#settle(id, silent(op, "the socket is silent"));
        }, URGENT);
      this.#link.send({ op, id, ...full });
    });
    // Twice does no harm: what is stopped stays stopped.
    const code = reply.error?.code;
    if (urgent && (code === "link_lost" || code === "no_answer")) return this.#byHttp(op, full, code === "no_answer");
    const at = Object.entries(reply.at ?? {}).map(([name, position]) => [this.#link.plain(name), position]);
    await this.#store.reached(Object.fromEntries(at));
    return reply;
  }

  /**
   * As `call`; where the server asks back, shows what it says would happen and repeats with its token.
   * @template {keyof Arguments} Op
   * @param {Op} op @param {Partial<Arguments[Op]>} args @param {string} title @returns {Promise<Reply>}
   */
  async confirmed(op, args, title) {
    let reply = await this.call(op, args);
    while (reply.error?.code === "confirm_required") {
      const late = await import("./confirm.js").catch(() => null);
      if (!late) {
        const message = "the question of the server could not be loaded; nothing was done";
        return { ...reply, error: { code: "no_answer", message, outcome: "not_done" } };
      }
      if (!(await late.confirmEffect(title, reply.error))) return reply;
      reply = await this.call(op, { ...args, confirm: reply.error.details?.confirm });
    }
    return reply;
  }

  /** @param {string} id @param {Reply} reply */
  #settle(id, reply) {
    const waiting = this.#pending.get(id);
    if (!waiting) return;
    this.#pending.delete(id);
    clearTimeout(waiting.timer);
    waiting.done(reply);
  }

  #lost() {
    for (const [id, { op }] of [...this.#pending]) this.#settle(id, silent(op, "connection lost before the answer"));
  }

  /**
   * @param {string} op @param {Row} args @param {boolean} [sent] whether it went by the socket already, without an answer
   * @returns {Promise<Reply>}
   */
  async #byHttp(op, args, sent = false) {
    let reached = sent;
    try {
      const answer = await fetch(`/api/${op}`, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify(args),
        signal: AbortSignal.timeout(5000),
      });
      reached = true;
      return { type: "reply", ts: Date.now(), ...(await answer.json()) };
    } catch (error) {
      // Refused: nobody listens. Anything else may have reached a server that only does not answer.
      const refused = error instanceof TypeError && !reached;
      const known = refused ? "nothing reached the server from here" : "whether it reached the server is not known";
      const reply = silent(op, `socket and HTTP are both down: ${known}. On its machine: realtime call ${op}`);
      if (reply.error && refused) reply.error.outcome = "not_done";
      return reply;
    }
  }
}

/** A reply of our own, for an answer that did not come. @param {string} op @param {string} message @returns {Reply} */
function silent(op, message) {
  const outcome = READS.test(op) ? "not_done" : "unknown";
  return { type: "reply", op, ok: false, ts: Date.now(), error: { code: "no_answer", message, outcome } };
}

/** Code and words of an error, for a line of text. @param {ErrorBody | undefined} error */
export function told(error) {
  if (!error) return "";
  const wait = error.retry_after ? ` (again in ${error.retry_after} s)` : "";
  return `${error.code}: ${error.message}${wait}`;
}

/** One order per intention: the client order id belongs to the content of the ticket, not to the click. */
export class Intent {
  /** By content, what is not settled. @type {Map<string, string>} */
  #ids = new Map();
  #make;

  /** @param {() => string} make makes a fresh client order id */
  constructor(make) {
    this.#make = make;
  }

  /** The id for this content: the same one until it is settled, whatever is asked for meanwhile. @param {object} content */
  id(content) {
    const text = JSON.stringify(content);
    const id = this.#ids.get(text) ?? this.#make();
    this.#ids.set(text, id);
    return id;
  }

  /**
   * After an answer to `id`. Done, and refused for certain, end the intention; unknown keeps the id, so that sending the
   * same ticket again can never make a second order.
   * @param {"done" | "not_done" | "unknown"} outcome @param {string} id
   */
  settle(outcome, id) {
    if (outcome !== "unknown") for (const [text, known] of this.#ids) if (known === id) this.#ids.delete(text);
  }
}

/** A client order id the wire accepts. */
export function makeId() {
  const bytes = crypto.getRandomValues(new Uint8Array(9));
  return `p-${Array.from(bytes, (b) => b.toString(36).padStart(2, "0"))
    .join("")
    .slice(0, 18)}`;
}
