// The last line of the page: the newest alert, venue states, server and time.
import { add, trim } from "../decimal.js";
import { attr, cls, h, text } from "../dom.js";
import { clock, words } from "../format.js";
import { painter } from "../pace.js";
import { settings } from "../settings.js";
import { marketOf } from "../trade.js";

/** @typedef {import("../app.js").App} App */
/** @typedef {import("../shapes.d.ts").Row} Row */

/** Fills of so long are said together, or a screen reader is still busy with a storm when it is over [ms]. */
const JOINED = 3000;

/** @param {HTMLElement} root @param {App} app */
export function mount(root, app) {
  const { store } = app;
  const alert = h("p", { class: "strip-alert", role: "status" });
  const venues = h("span", { class: "strip-venues" });
  const server = h("span", { class: "strip-server" });
  const time = h("time", { class: "strip-time" });
  root.append(alert, venues, server, time);
  const paint = painter(root, 2, () => {
    const newest = open(store).at(-1);
    text(alert, newest ? `${newest.level}: ${words(newest.code)} – ${newest.text}` : "No open alerts");
    cls(
      alert,
      `strip-alert ${newest ? (/error|critical/.test(newest.level) ? "bad" : newest.level === "warning" ? "warn" : "") : "dim"}`,
    );
    const welcome = store.get("welcome");
    /** @type {{ id: string, status: string }[]} */
    const list = store.value("status")?.venues ?? welcome?.venues ?? [];
    text(venues, list.map((v) => `${v.id} ${v.status}`).join(", "));
    text(server, welcome ? `${welcome.server}${welcome.subject ? ` · ${welcome.subject}` : ""}` : "");
    const now = app.serverNow();
    text(time, `${clock(now, settings.utc)} ${settings.utc ? "UTC" : ""}`.trim());
    attr(time, "datetime", new Date(now).toISOString());
  });
  store.watch(["alerts", "status", "welcome", "beat", "settings"], paint);
  announce(app);
}

/** Alerts that nobody has acknowledged. @param {import("../store.js").Store} store */
export function open(store) {
  const latest = new Map(store.list("alerts").map((a) => [a.id, a]));
  return [...latest.values()].filter((a) => !a.acked_by);
}

/** Says fills to who does not see them, joined; an amount where they are of one market. @param {App} app */
function announce({ store }) {
  const spoken = h("p", { class: "hidden", role: "status" });
  document.body.append(spoken);
  /** The newest one; null before the first look, "" while there is none. @type {string | null} */
  let last = null;
  /** Not said yet. @type {Row[]} */
  let unsaid = [];
  let waiting = false;
  function say() {
    const [one] = unsaid;
    waiting = one !== undefined;
    // Emptied after a while: the same words again are news.
    if (!one) return text(spoken, "");
    const sum = unsaid.reduce((n, f) => add(n, f.amount), "0");
    const what = unsaid.every((f) => f.symbol === one.symbol)
      ? `, ${trim(sum)} ${marketOf(store, one.symbol)?.base ?? ""}`
      : "";
    text(spoken, `${unsaid.length} ${unsaid.length === 1 ? "fill" : "fills"}${what}`);
    unsaid = [];
    setTimeout(say, JOINED);
  }
  store.watch(["fills"], () => {
    const all = store.channel("fills")?.list;
    if (!all) return;
    const from = all.findIndex((f) => String(f.id) === last);
    const fresh = last === "" ? all : from < 0 ? [] : all.slice(from + 1);
    unsaid.push(...fresh);
    if (fresh.length > 0 && !waiting) say();
    last = String(all.at(-1)?.id ?? "");
  });
}
