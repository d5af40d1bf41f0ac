// On a narrow screen one panel at a time, chosen by the tabs at the bottom.
import { attr, h } from "../dom.js";

const VIEWS = /** @type {const} */ ([
  ["chart", "Chart"],
  ["book", "Book"],
  ["trade", "Trade"],
  ["account", "Positions"],
  ["bots", "Bots"],
]);

/** @param {HTMLElement} root */
export function mount(root) {
  const buttons = VIEWS.map(([id, title]) =>
    h("button", { type: "button", class: "phone-tab", "data-view": id, onclick: () => show(id) }, title),
  );
  root.append(...buttons);
  /** @param {string} id */
  function show(id) {
    document.body.dataset.view = id;
    for (const b of buttons) attr(b, "aria-current", b.dataset.view === id ? "true" : null);
    scrollTo(0, 0);
    dispatchEvent(new Event("resize"));
  }
  show("chart");
  return show;
}
