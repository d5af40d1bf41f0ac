// Bots: start and stop of all, and a card of each.
import { later } from "../dialog.js";
import { h, keyed } from "../dom.js";
import { painter } from "../pace.js";
import { lock } from "../trade.js";
import { panelHead } from "./head.js";

/** @param {HTMLElement} root @param {App} app */
export function mount(root, app) {
  const { store } = app;
  const startAll = h(
    "button",
    { type: "button", class: "quiet", onclick: () => doing((acts) => acts.every(app, "bot.start")) },
    "Start all…",
  );
  const stopAll = h(
    "button",
    { type: "button", class: "quiet danger", onclick: () => doing((acts) => acts.every(app, "bot.stop")) },
    "Stop all…",
  );
  panelHead(root, "Bots", app, "bots", h("div", { class: "actions" }, startAll, stopAll));
  const list = h("ul", { class: "bot-rows" });
  const none = h("p", { class: "empty" }, "No bots. Add one under Config, section bots.");
  root.append(list, none);
  /** Loaded with the first bot. @type {typeof import("./bot-card.js") | null} */
  let cards = null;
  let loading = false;
  function fetchCards() {
    if (loading || app.link.state.state !== "live") return;
    loading = true;
    import("./bot-card.js").then(
      (late) => {
        cards = late;
        paint();
      },
      () => {
        loading = false; // the next paint tries again
      },
    );
  }
  const paint = painter(root, 2, () => {
    const rows = store.rows("bots").sort((a, b) => String(a.id).localeCompare(String(b.id)));
    none.hidden = rows.length > 0;
    for (const button of [startAll, stopAll]) lock(button, may(app) ? "" : DENIED);
    if (!cards) {
      if (rows.length > 0) fetchCards();
      return;
    }
    const { card, show } = cards;
    keyed(
      list,
      rows,
      (bot) => String(bot.id),
      (bot) => card(bot, app),
      (element, bot) => show(element, bot, app),
    );
  });
  store.watch(["bots", "bot:", "fills", "welcome", "settings", "beat"], paint);
}

/** What is done to several, or is done once in a while. */
export const doing = later(() => import("./bot-acts.js"));

export const DENIED = "View only: your role may not control bots.";

/** @param {App} app */
export const may = (app) => app.store.get("welcome")?.scopes?.includes("bots") ?? false;
