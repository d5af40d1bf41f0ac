// The panel of tables: one tab at a time, hidden tabs are not painted.
import { attr, h, text } from "../dom.js";
import { onKey } from "../keys.js";
import { painter } from "../pace.js";
import { remember, settings } from "../settings.js";
import * as balances from "./balances.js";
import * as fills from "./fills.js";
import { watchAge } from "./head.js";
import * as log from "./log.js";
import * as orders from "./orders.js";
import * as positions from "./positions.js";

/** @typedef {import("../app.js").App} App */

/** What a tab offers: its name, a count for its button, buttons beside the tabs. */
/** @typedef {{ count?: () => string, actions?: HTMLElement[], watch?: string[] }} Tab */

const TABS = /** @type {const} */ ([
  ["positions", "Positions", positions],
  ["orders", "Orders", orders],
  ["fills", "Fills", fills],
  ["balances", "Balances", balances],
  ["log", "Log", log],
]);

/** @param {HTMLElement} root @param {App} app */
export function mount(root, app) {
  const { store } = app;
  const stamp = h("span", { class: "age", "aria-hidden": "true" });
  const list = h("div", { class: "tabs", role: "tablist", "aria-label": "Account" });
  const actions = h("div", { class: "actions" });
  root.setAttribute("aria-labelledby", "tables-title");
  root.append(
    h(
      "div",
      { class: "panel-head" },
      h("h2", { class: "hidden", id: "tables-title" }, "Account tables"),
      list,
      stamp,
      actions,
    ),
  );
  watchAge(root, stamp, app, "orders");
  const tabs = TABS.map(([id, title, module], i) => {
    const count = h("span", { class: "count" });
    const button = h(
      "button",
      {
        type: "button",
        role: "tab",
        id: `tab-${id}`,
        "aria-controls": `pane-${id}`,
        class: "tab",
        "aria-keyshortcuts": String(i + 1),
        onclick: () => show(id),
      },
      title,
      " ",
      count,
    );
    const pane = h("div", {
      role: "tabpanel",
      id: `pane-${id}`,
      class: "pane",
      "aria-labelledby": `tab-${id}`,
      tabindex: "0",
    });
    list.append(button);
    root.append(pane);
    const made = /** @type {Tab} */ (module.mount(pane, app));
    if (made.count) {
      const say = painter(button, 4, () => text(count, made.count?.() ?? ""));
      store.watch(made.watch ?? [id], say);
    }
    onKey(String(i + 1), `tab ${title}`, () => show(id));
    return { id, button, pane, actions: made.actions ?? [] };
  });
  list.addEventListener("keydown", (event) => {
    const step = event.key === "ArrowRight" ? 1 : event.key === "ArrowLeft" ? -1 : 0;
    if (step === 0) return;
    const now = tabs.findIndex(({ id }) => id === settings.tab);
    const next = tabs[(now + step + tabs.length) % tabs.length];
    if (next) {
      show(next.id);
      next.button.focus();
    }
  });

  /** @param {string} id */
  function show(id) {
    remember({ tab: id });
    for (const tab of tabs) {
      const on = tab.id === id;
      tab.pane.hidden = !on;
      attr(tab.button, "aria-selected", String(on));
      attr(tab.button, "tabindex", on ? "0" : "-1");
      if (on) actions.replaceChildren(...tab.actions);
    }
    store.touch("settings");
  }
  show(tabs.some(({ id }) => id === settings.tab) ? settings.tab : "positions");
}
