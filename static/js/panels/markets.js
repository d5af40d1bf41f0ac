// All markets with last price and the day's change; a filter; a click shows one. Only what is listed is subscribed.
import { attr, cls, h, keyed, text } from "../dom.js";
import { arrow, direction, NONE, onStep, percentPoints, short } from "../format.js";
import { onKey } from "../keys.js";
import { painter } from "../pace.js";
import { remember, settings } from "../settings.js";
import { panelHead } from "./head.js";

/** An exchange may list thousands: so many rows are shown, and so many tickers followed. */
const SHOWN = 40;
const channel = (/** @type {string} */ symbol) => `ticker:${symbol}?rate=1000`;

/** @param {HTMLElement} root @param {App} app */
export function mount(root, app) {
  const { store, link } = app;
  const filter = h("input", {
    type: "text",
    class: "filter",
    placeholder: "Filter /",
    "aria-label": "Filter markets",
    autocomplete: "off",
    spellcheck: "false",
  });
  panelHead(root, "Markets", app, "markets", filter);
  const list = h("ul", { class: "market-rows" });
  const none = h("p", { class: "empty" });
  root.append(list, none);
  /** @type {Row[]} */
  let rows = [];

  const choose = () => {
    const wanted = filter.value.trim().toUpperCase();
    const all = store.rows("markets").filter((m) => String(m.symbol).toUpperCase().includes(wanted));
    all.sort((a, b) => rank(a) - rank(b));
    rows = all.slice(0, SHOWN);
    follow(rows.map((m) => channel(m.symbol)));
    const cut = all.length > SHOWN ? `${SHOWN} of ${all.length} are shown: filter for the others.` : "";
    text(none, rows.length > 0 ? cut : "No market matches.");
    none.hidden = none.textContent === "";
    paint();
  };

  /** @type {string[]} */
  let followed = [];
  /** @param {string[]} names */
  function follow(names) {
    const gone = followed.filter((name) => !names.includes(name));
    const fresh = names.filter((name) => !followed.includes(name));
    followed = names;
    if (gone.length > 0) link.drop(gone);
    if (fresh.length > 0) link.watch(fresh);
  }

  const paint = painter(root, 4, () => {
    keyed(list, rows, (m) => m.symbol, make, update);
  });

  /** @param {Row} market */
  function make(market) {
    const star = h("button", { type: "button", class: "star" }, "☆");
    star.addEventListener("click", () => {
      const has = settings.stars.includes(market.symbol);
      remember({
        stars: has ? settings.stars.filter((s) => s !== market.symbol) : [...settings.stars, market.symbol],
      });
      choose();
    });
    return h(
      "li",
      { class: "market-row" },
      star,
      h(
        "button",
        { type: "button", class: "market-pick", onclick: () => app.select(market.symbol) },
        h("span", { class: "market-name", title: market.symbol }, market.symbol),
        h("span", { class: "market-turnover" }, ""),
        h("span", { class: "market-last" }, NONE),
        h("span", { class: "market-change" }, ""),
      ),
    );
  }

  /** @param {HTMLElement} row @param {Row} market */
  function update(row, market) {
    const [star, pick] = /** @type {HTMLElement[]} */ ([...row.children]);
    if (!star || !pick) return;
    const starred = settings.stars.includes(market.symbol);
    text(star, starred ? "★" : "☆");
    attr(star, "aria-pressed", String(starred));
    attr(star, "aria-label", `Keep ${market.symbol} on top`);
    const chosen = store.get("symbol") === market.symbol;
    attr(pick, "aria-current", chosen ? "true" : null);
    const [, turnover, last, change] = /** @type {HTMLElement[]} */ ([...pick.children]);
    if (!turnover || !last || !change) return;
    const ticker = store.value(channel(market.symbol));
    text(turnover, ticker?.quote_volume ? short(String(ticker.quote_volume).split(".", 1)[0]) : "");
    text(last, onStep(ticker?.last, market.price_tick));
    const day = ticker?.change_pct;
    text(
      change,
      market.active === false
        ? "not trading"
        : ticker
          ? `${arrow(day)} ${percentPoints(day, { plus: true })}`.trim()
          : "",
    );
    cls(change, `market-change ${market.active === false ? "dim" : direction(day, 2)}`);
  }

  filter.addEventListener("input", choose);
  filter.addEventListener("keydown", (event) => {
    const first = rows[0];
    if (event.key === "Enter" && first) app.select(first.symbol);
    if (event.key === "Enter" || event.key === "Escape") {
      filter.value = "";
      choose();
      filter.blur();
    }
  });
  onKey("/", "find a market", () => {
    const symbol = document.getElementById("symbol");
    (filter.checkVisibility() ? filter : symbol)?.focus();
  });
  store.watch(["markets"], choose);
  store.watch(["ticker:", "symbol", "settings"], paint);
}

/** Starred first, spot before derivatives, in the exchange's order. @param {Row} market */
const rank = (market) =>
  (settings.stars.includes(market.symbol) ? 0 : 10) + (market.type === "spot" ? 0 : 1) + (market.active ? 0 : 2);
