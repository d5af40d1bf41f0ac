// The client rule of protocol section 6.4: subscribe, snapshot, update, gap, resume. Pure: no socket, no clock.
import { Book, checksum } from "./book.js";

/** @typedef {{ epoch: string, seq: number, book?: Book, rows?: Map<string, Row>, value?: any }} Held */

/** Entries a log keeps for the page between two paints. */
const LOG_BOUND = 1000;
/** Times a book is fetched again for a checksum that differs. */
const DOUBTS = 3;

export class Wire {
  /** @type {Set<string>} canonical names that are wanted */
  wanted = new Set();
  /** @type {Map<string, Held>} */
  #have = new Map();
  /** @type {Map<string, Info>} */
  #info = new Map();
  /** @type {Map<string, number>} */
  #doubts = new Map();
  /** @type {Map<string, Change>} what the page has not been told yet */
  #pending = new Map();

  /**
   * Wants more channels; returns those that are new. A name wanted again starts from nothing.
   * @param {string[]} names
   */
  watch(names) {
    const fresh = names.filter((name) => !this.wanted.has(name));
    for (const name of fresh) this.wanted.add(name);
    return fresh;
  }

  /** Gives channels up and forgets them; returns those that were wanted. @param {string[]} names */
  drop(names) {
    const gone = names.filter((name) => this.wanted.delete(name));
    for (const name of gone) {
      this.#have.delete(name);
      this.#info.delete(name);
      this.#pending.delete(name);
    }
    return gone;
  }

  /** What to ask for, on a new connection all that is wanted: resume where there is a position. */
  resume(names = [...this.wanted]) {
    const wanted = names.filter((name) => this.wanted.has(name));
    return wanted.map((channel) => {
      const held = this.#have.get(channel);
      return held ? { channel, since: { epoch: held.epoch, seq: held.seq } } : channel;
    });
  }

  /** The channels of a subscribe reply. @param {Info[]} channels */
  subscribed(channels) {
    for (const info of channels) if (this.wanted.has(info.channel)) this.#info.set(info.channel, info);
  }

  /**
   * Takes one snapshot or update; answers "gap" when the channel must be subscribed again.
   * @param {Data} m @returns {"ok" | "gap" | "ignored"}
   */
  take(m) {
    const info = this.#info.get(m.channel);
    if (!info) return "ignored"; // not wanted any more
    const snapshot = m.type === "snapshot";
    const old = this.#have.get(m.channel);
    if (!snapshot && !old) return "ignored"; // a snapshot is on its way
    if (!snapshot && old && info.class !== "value" && m.seq !== old.seq + 1) return this.#gap(m.channel);
    if (!snapshot && old && info.class === "value" && m.seq <= old.seq) return "ignored";
    const held = /** @type {Held} */ (old ?? { epoch: "", seq: 0 });
    held.epoch = m.epoch ?? held.epoch;
    held.seq = m.seq;
    this.#have.set(m.channel, held);
    const change = this.#change(m, info, held);
    if (info.class === "value") change.value = m.data;
    else if (info.class === "log") takeLog(change, m.data, snapshot, m.lost ?? 0);
    else if (info.key === "price") {
      held.book ??= new Book();
      held.book.apply(m.data, snapshot);
      if (m.checksum !== undefined) {
        const { bids, asks } = held.book.levels();
        if (checksum(bids, asks) !== m.checksum && this.#doubt(m.channel)) return this.#gap(m.channel);
      }
    } else takeRows(change, info.key ?? "id", m.data, snapshot);
    return "ok";
  }

  /** Everything that changed since the last call, newest only. @returns {Change[]} */
  changes() {
    const all = [...this.#pending.values()];
    this.#pending.clear();
    for (const change of all) {
      const book = this.#have.get(change.name)?.book;
      if (book) change.book = book.levels();
    }
    return all;
  }

  /** Whether `changes()` would tell anything. */
  get waiting() {
    return this.#pending.size > 0;
  }

  /**
   * A checksum differs: fetch the book again, but not for ever. Correctness rests on `seq`; a server that cannot
   * count must not be flooded.
   * @param {string} name
   */
  #doubt(name) {
    const times = (this.#doubts.get(name) ?? 0) + 1;
    this.#doubts.set(name, times);
    return times <= DOUBTS;
  }

  /** @param {string} name @returns {"gap"} */
  #gap(name) {
    this.#have.delete(name);
    this.#pending.delete(name);
    return "gap";
  }

  /** @param {Data} m @param {Info} info @param {Held} held */
  #change(m, info, held) {
    let change = this.#pending.get(m.channel);
    if (!change) {
      change = { name: m.channel, class: info.class, epoch: held.epoch, seq: held.seq };
      this.#pending.set(m.channel, change);
    }
    change.epoch = held.epoch;
    change.seq = held.seq;
    if (m.asof !== undefined) change.asof = m.asof;
    return change;
  }
}

/** @param {Change} change @param {Row[]} entries @param {boolean} snapshot @param {number} lost */
function takeLog(change, entries, snapshot, lost) {
  if (snapshot || !change.entries) change.entries = { replace: snapshot, list: [...entries], lost };
  else change.entries.list.push(...entries);
  const { list } = change.entries;
  if (list.length > LOG_BOUND) list.splice(0, list.length - LOG_BOUND);
}

/**
 * Rows by key; a later change of a row takes the place of an earlier one.
 * @param {Change} change @param {string} key @param {{ set?: Row[], del?: string[] }} data @param {boolean} snapshot
 */
function takeRows(change, key, data, snapshot) {
  const before = snapshot ? undefined : change.rows;
  const set = new Map(before?.set);
  const del = new Set(before?.del);
  for (const row of data.set ?? []) {
    set.set(row[key], row);
    del.delete(row[key]);
  }
  for (const id of data.del ?? []) {
    set.delete(id);
    del.add(id);
  }
  change.rows = { replace: snapshot || (before?.replace ?? false), set: [...set], del: [...del] };
}
