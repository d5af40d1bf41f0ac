// One keyed store: newest value per key, listeners told once per flush. Channels are keys, so are "link", "symbol", …

/** How many entries of a log stay, by topic. */
const RINGS = /** @type {Record<string, number>} */ ({ trades: 200, fills: 500, events: 500, alerts: 500, logs: 1000 });

export class Store {
  /** @type {Map<string, any>} */
  #values = new Map();
  /** @type {Set<string>} */
  #dirty = new Set();
  /** @type {{ match: (key: string) => boolean, tell: () => void }[]} */
  #listeners = [];
  /** @type {Set<{ at: Record<string, Position>, done: () => void }>} */
  #waiting = new Set();
  /** Called when something became dirty; app.js schedules a frame here. @type {(urgent?: boolean) => void} */
  wake = () => {};

  /** @param {string} key @returns {any} */
  get(key) {
    return this.#values.get(key);
  }

  /** @param {string} key @param {any} value */
  set(key, value) {
    this.#values.set(key, value);
    this.touch(key);
  }

  /** @param {string} key */
  touch(key) {
    this.#dirty.add(key);
    this.wake();
  }

  /** Forgets a channel; its panels clear. @param {string} key */
  forget(key) {
    if (this.#values.delete(key)) this.touch(key);
  }

  /** @param {string} name @returns {Entry | undefined} */
  channel(name) {
    return this.#values.get(name);
  }

  /** The newest value of a `value` channel. @param {string} name */
  value(name) {
    return this.channel(name)?.value;
  }

  /** Rows of a `table` channel. @param {string} name @returns {Row[]} */
  rows(name) {
    return [...(this.channel(name)?.rows?.values() ?? [])];
  }

  /** Entries of a `log` channel, oldest first. @param {string} name @returns {Row[]} */
  list(name) {
    return this.channel(name)?.list ?? [];
  }

  /**
   * Tells `listener` once per flush when a key equal to, or beginning with, one of `keys` changed ("ticker:" is a prefix).
   * @param {string[]} keys @param {() => void} listener
   */
  watch(keys, listener) {
    const exact = new Set(keys.filter((key) => !key.endsWith(":")));
    const prefixes = keys.filter((key) => key.endsWith(":"));
    this.#listeners.push({
      match: (key) => exact.has(key) || prefixes.some((prefix) => key.startsWith(prefix)),
      tell: listener,
    });
  }

  /** One batch of the worker. Channels that nobody asked for any more are ignored by `known`. @param {Change[]} changes @param {(name: string) => boolean} known */
  apply(changes, known) {
    let first = false;
    for (const change of changes) {
      if (!known(change.name)) continue;
      const entry = this.#values.get(change.name) ?? { class: change.class };
      first ||= !entry.position;
      merge(entry, change);
      entry.position = { epoch: change.epoch, seq: change.seq };
      if (change.asof !== undefined) entry.asof = change.asof;
      this.#values.set(change.name, entry);
      this.touch(change.name);
    }
    // The first word of a channel is shown at once, whatever the pace of its panels.
    if (first) this.wake(true);
    this.#settle();
  }

  /**
   * Resolves when every stream named in `at` that this page follows has reached it, or after `limit` ms.
   * @param {Record<string, Position> | undefined} at @param {number} limit
   * @returns {Promise<void>}
   */
  reached(at, limit = 2000) {
    if (!at || this.#has(at)) return Promise.resolve();
    return new Promise((resolve) => {
      const wait = { at, done: resolve };
      this.#waiting.add(wait);
      setTimeout(() => {
        this.#waiting.delete(wait);
        resolve();
      }, limit);
    });
  }

  /** Tells the listeners of dirty keys; called once per frame. */
  flush() {
    if (this.#dirty.size === 0) return;
    const dirty = [...this.#dirty];
    this.#dirty.clear();
    for (const { match, tell } of this.#listeners) if (dirty.some(match)) tell();
  }

  /** @param {Record<string, Position>} at */
  #has(at) {
    return Object.entries(at).every(([name, { epoch, seq }]) => {
      const position = this.channel(name)?.position;
      if (!position) return true; // not followed here
      return position.epoch !== epoch || position.seq >= seq;
    });
  }

  #settle() {
    for (const wait of this.#waiting) {
      if (this.#has(wait.at)) {
        this.#waiting.delete(wait);
        wait.done();
      }
    }
  }
}

/** @param {Entry} entry @param {Change} change */
function merge(entry, change) {
  if (change.class === "value") entry.value = change.value;
  if (change.book) entry.book = change.book;
  if (change.rows) {
    const rows = change.rows.replace ? new Map() : (entry.rows ?? new Map());
    for (const [key, row] of change.rows.set) rows.set(key, row);
    for (const key of change.rows.del) rows.delete(key);
    entry.rows = rows;
  }
  if (change.entries) {
    const list = change.entries.replace ? [] : (entry.list ?? []);
    list.push(...change.entries.list);
    const bound = RINGS[change.name.split(/[:?]/, 1)[0] ?? ""] ?? 500;
    if (list.length > bound) list.splice(0, list.length - bound);
    entry.list = list;
  }
}
