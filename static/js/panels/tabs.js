// The panel of tables and views: one tab at a time, hidden tabs are not painted. A view that is not needed for every
// decision is loaded when it is first opened, and takes the place of the chart while it is shown.
import { later } from "../dialog.js";
import { attr, h, styles, text } from "../dom.js";
import { icon } from "../icons.js";
import { onKey } from "../keys.js";
import { painter } from "../pace.js";
import { remember, settings } from "../settings.js";
import { ACCOUNT } from "../trade.js";
import { watchAge } from "./head.js";
import * as orders from "./orders.js";
import * as positions from "./positions.js";
import { open } from "./strip.js";

/** What a tab offers: its name, a count for its button, buttons beside the tabs. */
/** @typedef {{ count?: () => string, actions?: HTMLElement[], watch?: string[], columns?: import("../dom.js").Choice }} Tab */
/** @typedef {{ mount: (root: HTMLElement, app: App) => Tab }} Module */

/** @typedef {() => Promise<Module>} Late */

const choosing = later(() => import("./columns.js"));

/** Between the parts of a heading, px. */
const GAP = 8;
/** At once, or on first opening; `large` views take the room of chart and book. @type {[string, string, Module | Late, ("large")?][]} */
const TABS = [
  ["positions", "Positions", positions],
  ["orders", "Orders", orders],
  ["fills", "Fills", () => import("./fills.js")],
  ["balances", "Balances", () => import("./balances.js")],
  ["log", "Log", () => import("./log.js")],
  ["equity", "Equity", () => import("./equity.js"), "large"],
  ["risk", "Risk", () => import("./risk.js"), "large"],
  ["signals", "Signals", () => import("./signals.js"), "large"],
  ["portfolio", "Portfolio", () => import("./portfolio.js"), "large"],
  ["backtest", "Backtest", () => import("./backtest.js"), "large"],
  ["config", "Config", () => import("./config.js"), "large"],
  ["monitoring", "Monitoring", () => import("./monitoring.js"), "large"],
];

/** @param {HTMLElement} root @param {App} app */
export function mount(root, app) {
  const { store } = app;
  const stamp = h("span", { class: "age", "aria-hidden": "true" });
  const list = h("div", { class: "tabs", role: "tablist", "aria-label": "Account" });
  const actions = h("div", { class: "actions" });
  // Where not all tabs have room, all views are one touch away all the same.
  const more = h(
    "select",
    { class: "small more", "aria-label": "More views" },
    h("option", { value: "" }, "More…"),
    ...TABS.map(([id, title]) => h("option", { value: id }, title)),
  );
  more.addEventListener("change", () => {
    const id = more.value;
    more.value = "";
    if (id) void show(id);
  });
  const cut = () => attr(list, "data-cut", list.scrollLeft > 0 ? "" : null);
  const fit = () => {
    const first = /** @type {HTMLElement} */ (list.firstElementChild);
    const last = /** @type {HTMLElement} */ (list.lastElementChild);
    // Widths are told in whole pixels.
    const room = list.clientWidth + 2 + (more.hidden ? 0 : more.offsetWidth + GAP);
    more.hidden = last.offsetLeft + last.offsetWidth - first.offsetLeft <= room;
    cut();
  };
  new ResizeObserver(fit).observe(list);
  list.addEventListener("scroll", cut);
  root.setAttribute("aria-labelledby", "tables-title");
  root.append(
    h(
      "div",
      { class: "panel-head" },
      h("h2", { class: "hidden", id: "tables-title" }, "Account tables"),
      list,
      more,
      stamp,
      actions,
    ),
  );
  watchAge(root, stamp, app, "view:tab");
  const tabs = TABS.map(([id, title, source, size], i) => {
    const count = h("span", { class: "count" });
    const button = h(
      "button",
      {
        type: "button",
        role: "tab",
        id: `tab-${id}`,
        "aria-controls": `pane-${id}`,
        class: "tab",
        "aria-keyshortcuts": i < 9 ? String(i + 1) : undefined,
        onclick: () => void show(id),
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
    if (i < 9) onKey(String(i + 1), `tab ${title}`, () => void show(id));
    const tab = {
      id,
      button,
      pane,
      count,
      large: size === "large",
      load: source,
      made: false,
      actions: [],
    };
    if (typeof source !== "function") fill(tab, source);
    return tab;
  });

  /** @typedef {{ id: string, button: HTMLElement, pane: HTMLElement, count: HTMLElement, large: boolean,
   *   load: Module | Late, made: boolean, actions: HTMLElement[] }} Made */

  /** @param {Made} tab @param {Module} module */
  function fill(tab, module) {
    const made = module.mount(tab.pane, app);
    tab.made = true;
    tab.actions = made.actions ?? [];
    const { columns } = made;
    if (columns) tab.actions = [...tab.actions, columnsButton(columns)];
    if (!made.count) return;
    const say = painter(tab.button, 4, () => text(tab.count, made.count?.() ?? ""));
    store.watch(made.watch ?? [tab.id], say);
  }

  /** @param {import("../dom.js").Choice} columns */
  function columnsButton(columns) {
    const title = `Columns of ${columns.caption.toLowerCase()}`;
    return h(
      "button",
      {
        type: "button",
        class: "quiet columns",
        title,
        "aria-label": title,
        onclick: () => choosing((late) => late.choose(app, columns)),
      },
      icon("columns"),
    );
  }

  // Alerts nobody has seen are counted before the log is opened.
  const log = tabs.find(({ id }) => id === "log");
  if (log) {
    const say = painter(log.button, 4, () => text(log.count, String(open(store).length || "")));
    store.watch(["alerts"], say);
  }

  list.addEventListener("keydown", (event) => {
    const step = event.key === "ArrowRight" ? 1 : event.key === "ArrowLeft" ? -1 : 0;
    if (step === 0) return;
    const now = tabs.findIndex(({ id }) => id === settings.tab);
    const next = tabs[(now + step + tabs.length) % tabs.length];
    if (next) {
      void show(next.id);
      next.button.focus();
    }
  });

  /** @param {string} id */
  async function show(id) {
    remember({ tab: id });
    // Named as the channel that they show; the others say themselves how it stands with theirs.
    store.set("view:tab", id === "equity" ? "risk" : ACCOUNT.includes(id) ? id : "");
    const tab = tabs.find((one) => one.id === id);
    for (const one of tabs) {
      const on = one === tab;
      one.pane.hidden = !on;
      attr(one.button, "aria-selected", String(on));
      attr(one.button, "tabindex", on ? "0" : "-1");
    }
    if (!tab) return;
    attr(document.body, "data-large", tab.large ? id : null);
    actions.replaceChildren(...tab.actions);
    if (!tab.made) {
      await load(tab);
      // Another tab may have been chosen while this one was on its way.
      if (settings.tab !== id) return;
      actions.replaceChildren(...tab.actions);
    }
    // Last, because what is beside the tabs takes room from them.
    fit();
    tab.button.scrollIntoView({ block: "nearest", inline: "nearest" });
    store.touch("settings");
  }

  /** @param {Made} tab */
  async function load(tab) {
    const wait = h("p", { class: "empty" }, "Loading…");
    tab.pane.replaceChildren(wait);
    try {
      const [module] = await Promise.all([/** @type {Late} */ (tab.load)(), styles()]);
      wait.remove();
      // Asked for twice while it was on its way, it is made once.
      if (!tab.made) fill(tab, module);
    } catch {
      text(wait, "This part of the page could not be loaded; choose the tab again to try once more.");
    }
  }
  void show(tabs.some(({ id }) => id === settings.tab) ? settings.tab : "positions");
}
