// Mode, symbol, last price, link and feed state, latency, theme, clock.
import { later } from "../dialog.js";
import { attr, cls, h, styles, text } from "../dom.js";
import { flash } from "../flash.js";
import { age, arrow, direction, NONE, onStep, percentPoints } from "../format.js";
import { icon } from "../icons.js";
import { onKey } from "../keys.js";
import { painter } from "../pace.js";
import { remember, settings } from "../settings.js";
import { marketOf, traded } from "../trade.js";
import { haltButton } from "./halt.js";

/** @param {HTMLElement} root @param {App} app */
export function mount(root, app) {
  const { store } = app;
  const badge = h("span", { class: "badge" }, "…");
  const select = h("select", { id: "symbol", class: "symbol", "aria-keyshortcuts": "/", title: "Symbol ( / )" });
  select.addEventListener("change", () => app.select(select.value));
  const account = h("select", { class: "symbol accounts", "aria-label": "Account", title: "Account", hidden: true });
  account.addEventListener("change", () => app.show(account.selectedIndex === 0 ? "" : account.value));
  store.watch(["welcome"], () => {
    /** @type {{ id: string }[]} */
    const all = store.get("welcome")?.venues ?? [];
    account.hidden = all.length < 2;
    account.replaceChildren(...all.map(({ id }) => h("option", { value: id }, id)));
    account.value = app.link.account || (all[0]?.id ?? "");
  });
  const last = h("output", { class: "last", "aria-live": "off", "aria-label": "Last price" }, NONE);
  const change = h("span", { class: "change" });
  const high = h("dd");
  const low = h("dd");
  const volume = h("dd");
  const dot = h("span", { class: "dot", "aria-hidden": "true" });
  const word = h("span");
  // Seen, but not read out twice a second.
  const silence = h("span", { "aria-hidden": "true" });
  const latency = h("span", { class: "latency" });
  const feed = h("span", { class: "feed" });
  const theme = button("theme", "Theme ( t )", () => nextTheme(store));
  const sound = h("button", { type: "button", class: "icon-button sound", onclick: () => hush(app) });
  const sounds = () => {
    const on = Object.values(settings.sounds).includes(true);
    if (sound.dataset.on === String(on)) return;
    sound.dataset.on = String(on);
    sound.replaceChildren(icon(on ? "sound" : "silent"));
    attr(sound, "aria-pressed", String(on));
    attr(sound, "aria-label", "Sounds");
    sound.title = on ? "Sounds are on: press for silence" : "Sounds are off";
  };
  store.watch(["settings"], sounds);
  sounds();
  const zone = h("button", { class: "icon-button zone", type: "button", title: "Time zone: UTC or local" });
  zone.addEventListener("click", () => {
    remember({ utc: !settings.utc });
    store.touch("settings");
  });
  root.append(
    h(
      "h1",
      { class: "brand" },
      h("img", { src: "icon.svg", alt: "", width: "20", height: "20" }),
      h("span", {}, "realtime"),
    ),
    badge,
    account,
    h("label", { class: "hidden", for: "symbol" }, "Symbol"),
    select,
    h("div", { class: "price" }, last, change),
    h(
      "dl",
      { class: "day", "aria-label": "Last 24 hours" },
      h("div", {}, h("dt", {}, "24 h high"), high),
      h("div", {}, h("dt", {}, "24 h low"), low),
      h("div", {}, h("dt", {}, "24 h volume"), volume),
    ),
    h(
      "div",
      { class: "state" },
      h("span", { class: "link", role: "status" }, dot, h("span", { class: "link-word" }, word, silence)),
      latency,
      feed,
    ),
    h(
      "div",
      { class: "tools" },
      theme,
      sound,
      zone,
      button("settings", "Settings", () => preferences(app)),
      button("help", "Keys and about ( ? )", help),
    ),
    haltButton(app),
  );
  onKey("t", "light or dark", () => nextTheme(store));
  onKey("?", "this list", help);

  const symbols = () => {
    const names = store.rows("markets").map((row) => String(row.symbol));
    if (names.join() !== [...select.options].map((o) => o.value).join()) {
      select.replaceChildren(...names.map((name) => h("option", { value: name }, name)));
    }
    select.value = store.get("symbol") ?? "";
  };
  store.watch(["markets", "symbol"], symbols);

  const paint = painter(root, 10, () => {
    const { state, latency: ms } = app.link.state;
    const mode = store.get("welcome")?.mode;
    text(badge, mode ? mode.toUpperCase() : "…");
    cls(badge, `badge ${mode ?? ""}`);
    cls(dot, `dot ${state}`);
    const silent = state === "late" || state === "lost";
    text(word, state);
    text(silence, silent ? ` ${age(Date.now() - app.link.state.heard)}` : "");
    text(latency, state === "live" && ms !== undefined ? `${ms} ms` : NONE);
    const source = app.feed();
    text(
      feed,
      source.stale
        ? `feed late ${age(source.age)}`
        : state === "live" && source.known
          ? `feed ${age(source.age)}`
          : "feed –",
    );
    cls(feed, source.stale ? "feed warn" : "feed");
    text(zone, settings.utc ? "UTC" : "local");
    attr(zone, "aria-label", `Times in ${settings.utc ? "UTC" : "local time"}; change`);
    const ticker = store.value(store.get("view:ticker"));
    const market = marketOf(store, store.get("symbol"));
    const tick = market?.price_tick;
    text(last, onStep(ticker?.last, tick));
    flash(last, ticker?.last, String(store.get("symbol")));
    const old = state !== "live" || source.stale;
    cls(last, `last ${old ? "frozen" : ""}`);
    text(
      change,
      ticker ? `${arrow(ticker.change_pct)} ${percentPoints(ticker.change_pct, { plus: true })}`.trim() : "",
    );
    cls(change, `change ${old ? "frozen" : direction(ticker?.change_pct, 2)}`);
    text(high, onStep(ticker?.high, tick));
    text(low, onStep(ticker?.low, tick));
    text(volume, traded(ticker, market));
  });
  // The title is another program's window: each change of it costs more than the whole header.
  const entitle = () => {
    const last = store.value(store.get("view:ticker"))?.last;
    const { state } = app.link.state;
    // No price that may be old: a title has neither colour nor age.
    const old = app.feed().stale ? "feed late" : state === "live" ? "" : state;
    const price = old ? `${old} · ` : last ? `${onStep(last, marketOf(store, store.get("symbol"))?.price_tick)} ` : "";
    const live = store.get("welcome")?.mode === "live" ? "LIVE " : "";
    const title = `${live}${price}${store.get("symbol") ?? ""} · realtime`;
    if (document.title !== title) document.title = title;
  };
  const titled = painter(root, 1, entitle);
  const keep = () => (document.hidden ? entitle() : titled());
  store.watch(["ticker:", "link", "beat", "welcome", "symbol", "markets"], keep);
  store.watch(["ticker:", "link", "welcome", "symbol", "markets", "settings", "beat"], paint);
  store.watch(["symbol"], () => {
    paint(true);
    titled(true);
  });
}

const choosing = later(() => Promise.all([import("./preferences.js"), styles()]));
const sounding = later(() => import("../sound.js"));
const helping = later(() => import("../help.js"));

/** @param {App} app */
const preferences = (app) => choosing(([view]) => view.open(app));

/** All sounds off, or on again; where none was chosen yet, the choice. @param {App} app */
const hush = (app) => sounding((tones) => tones.hush(app) || preferences(app));

const help = () => helping((late) => late.help());

/** @param {string} name @param {string} title @param {() => void} act */
function button(name, title, act) {
  return h("button", { class: "icon-button", type: "button", title, "aria-label": title, onclick: act }, icon(name));
}

/** @param {Store} store */
function nextTheme(store) {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const now = settings.theme === "system" ? (dark ? "dark" : "light") : settings.theme;
  remember({ theme: now === "dark" ? "light" : "dark" });
  store.touch("settings");
}
