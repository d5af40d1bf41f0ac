// The page's side of the worker: owns channels wanted, tells link state, hands batches to the store.

const HIDDEN_AFTER = 30_000;
/** Lost by our own clock; the worker may still hold the socket, and a frame proves it alive. */
const SILENT = "no frame";
/** Topics of the whole server; all others have one stream per account. */
const WHOLE = new Set(["signals", "bots", "bot", "backtest", "config", "monitoring", "logs", "status"]);
/** Channels given up after 30 s in a hidden tab. */
const SHOWN_ONLY = ["orderbook:", "trades:"];

/** Made before the rest of the page is fetched (index.html names this module first). */
const worker = new Worker(scriptUrl("./socket.worker.js"), { type: "module" });

export class Link {
  #store;
  /** @type {Set<string>} */
  #wanted = new Set();
  /** @type {string[]} */
  #parked = [];
  #heartbeat = 2;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #hiding;
  /** @type {LinkState} */
  state = { state: "connecting", heard: Date.now() };
  /** The account that is shown; "" is the first one, whose channels have no mark. Set before the first `watch`. */
  account = "";
  /** Every message that is not data. @type {(message: any) => void} */
  onMessage = () => {};
  /** The socket is gone: pending commands have no answer. */
  onClosed = () => {};

  /** @param {Store} store */
  constructor(store) {
    this.#store = store;
    worker.onmessage = (event) => this.#take(event.data);
    document.addEventListener("visibilitychange", () => this.#visible(!document.hidden));
    addEventListener("online", () => this.again());
    setInterval(() => this.#judge(), 500);
  }

  /** @param {string} client */
  open(client) {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    this.#post({
      t: "open",
      url: `${scheme}://${location.host}/ws?batch=1&client=${client}&every=50&heartbeat=2`,
    });
    this.#publish({});
  }

  /** Connects now, without waiting for the back-off. */
  again() {
    if (this.state.state !== "live") this.#post({ t: "again" });
  }

  /** @param {string[]} names */
  watch(names) {
    for (const name of names) this.#wanted.add(name);
    this.#post({ t: "watch", names: names.map((name) => this.wire(name)) });
  }

  /** A channel's name on the wire: panels know one account, the wire may have several. @param {string} name */
  wire(name) {
    const [front = "", ...options] = name.split("?");
    if (!this.account || WHOLE.has(front.split(":", 1)[0] ?? "")) return name;
    return [`${front}@${this.account}`, ...options].join("?");
  }

  /** The panels' name of a channel of the wire; one that none has where it is another account's. @param {string} name */
  plain(name) {
    if (!this.account) return name;
    const own = name.replace(`@${this.account}`, "");
    return own !== name || WHOLE.has(name.split(/[:?]/, 1)[0] ?? "") ? own : `${name}@`;
  }

  /** @param {string[]} names */
  drop(names) {
    for (const name of names) {
      this.#wanted.delete(name);
      this.#store.forget(name);
    }
    this.#post({ t: "drop", names: names.map((name) => this.wire(name)) });
  }

  /** @param {Record<string, any>} frame */
  send(frame) {
    this.#post({ t: "send", frame });
  }

  /** The last batch is on the screen: the next may come. */
  painted() {
    if (this.#owed) this.#post({ t: "ready" });
    this.#owed = false;
  }
  #owed = false;

  /** @param {ToWorker} message */
  #post(message) {
    worker.postMessage(message);
  }

  /** @param {FromWorker} m */
  #take(m) {
    switch (m.t) {
      case "batch":
        this.#owed = true;
        this.#heard();
        if (this.account) for (const change of m.changes) change.name = this.plain(change.name);
        this.#store.apply(m.changes, (name) => this.#wanted.has(name));
        this.#store.wake();
        return;
      case "message":
        this.#heard();
        return this.#message(m.message);
      case "alive":
        return this.#heard();
      case "latency":
        return this.#publish({ latency: m.ms, offset: m.offset });
      case "link":
        return this.#link(m);
    }
  }

  /** @param {any} message */
  #message(message) {
    if (message.type === "welcome") this.#heartbeat = message.heartbeat;
    if (message.type === "reply" && message.op === "subscribe" && message.ok) {
      for (const info of message.result.channels) this.#stale(info.channel, info.stale, info.asof, undefined);
      for (const { channel, ...error } of message.result.failed) {
        const name = this.plain(channel);
        const entry = this.#store.channel(name) ?? { class: "value" };
        this.#store.set(name, { ...entry, error });
      }
    }
    if (message.type === "notice" && message.event === "stale") {
      for (const name of message.channels ?? []) {
        this.#stale(name, message.data.stale, message.data.asof, message.data.cause);
      }
    }
    this.onMessage(message);
  }

  /** @param {string} channel @param {boolean} stale @param {number | undefined} asof @param {string | undefined} cause */
  #stale(channel, stale, asof, cause) {
    const name = this.plain(channel);
    if (!this.#wanted.has(name)) return;
    const entry = this.#store.channel(name) ?? { class: "value" };
    entry.stale = stale;
    entry.cause = cause;
    entry.error = undefined;
    entry.staleSince = stale ? (asof ?? entry.asof) : undefined;
    this.#store.set(name, entry);
  }

  /** @param {Extract<FromWorker, { t: "link" }>} m */
  #link(m) {
    if (m.state === "open") this.#publish({ state: "live", heard: Date.now(), code: undefined, reason: undefined });
    else if (m.state === "stopped" || m.state === "closed") {
      this.#publish({ state: m.state === "closed" ? "lost" : "stopped", code: m.code, reason: m.reason });
      this.onClosed();
    } else if (this.state.state === "stopped") this.#publish({ state: "connecting" });
  }

  #heard() {
    this.state.heard = Date.now();
    const judged = this.state.state === "late" || (this.state.state === "lost" && this.state.reason === SILENT);
    if (judged) this.#publish({ state: "live", reason: undefined });
  }

  /** Late after 1.5 heartbeats without a frame, lost after 2.5. */
  #judge() {
    const silent = (Date.now() - this.state.heard) / 1000 / this.#heartbeat;
    const { state } = this.state;
    // After a sleep both are over at once.
    if (/live|late/.test(state) && silent >= 2.5) this.#publish({ state: "lost", reason: SILENT });
    else if (state === "live" && silent >= 1.5) this.#publish({ state: "late" });
    else if (state !== "live") this.#publish({});
  }

  /** @param {Partial<LinkState>} patch */
  #publish(patch) {
    Object.assign(this.state, patch);
    this.#store.set("link", this.state);
    if (patch.state) this.#store.wake(true);
  }

  /** @param {boolean} shown */
  #visible(shown) {
    clearTimeout(this.#hiding);
    this.#post({ t: "pace", every: shown ? 50 : 1000 });
    if (!shown) {
      this.#hiding = setTimeout(() => {
        this.#parked = [...this.#wanted].filter((name) => SHOWN_ONLY.some((topic) => name.startsWith(topic)));
        this.#post({ t: "drop", names: this.#parked.map((name) => this.wire(name)) });
      }, HIDDEN_AFTER);
      return;
    }
    const back = this.#parked.filter((name) => this.#wanted.has(name));
    if (back.length > 0) this.#post({ t: "watch", names: back.map((name) => this.wire(name)) });
    this.#parked = [];
    this.#judge();
    this.again();
    this.#store.wake();
  }
}

/** The only value the Trusted Types policy `realtime` makes: the address of our own worker. @param {string} path */
function scriptUrl(path) {
  const url = new URL(path, import.meta.url).href;
  const types = /** @type {any} */ (globalThis).trustedTypes;
  if (!types) return url;
  return types.createPolicy("realtime", { createScriptURL: (/** @type {string} */ text) => text }).createScriptURL(url);
}
