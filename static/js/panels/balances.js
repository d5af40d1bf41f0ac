// What the account holds, and each currency's share of it.
import { ratio } from "../decimal.js";
import { h, table } from "../dom.js";
import { grouped, money, NONE, percent } from "../format.js";
import { painter } from "../pace.js";
import { unsure } from "../trade.js";

/** @param {HTMLElement} root @param {App} app */
export function mount(root, app) {
  const { store } = app;
  const plain = (/** @type {string | null | undefined} */ value) =>
    value === null || value === undefined ? NONE : grouped(value);
  const show = table(
    root,
    "Balances",
    [
      { head: "Currency", text: (b) => b.currency },
      { head: "Wallet", kind: "wide", text: (b) => b.wallet ?? NONE, tone: () => "dim" },
      { head: "Available", kind: "num", text: (b) => plain(b.available) },
      {
        head: "Reserved",
        kind: "num",
        text: (b) => plain(b.reserved),
        tone: (b) => (Number(b.reserved) === 0 ? "dim" : ""),
      },
      { head: "Total", kind: "num", text: (b) => plain(b.total) },
      { head: "Price", kind: "num wide", text: (b) => plain(b.price) },
      { head: "Value", kind: "num", text: (b) => (b.value === null ? "not priced" : money(b.value)) },
      {
        head: "Share",
        kind: "share",
        make: () =>
          h(
            "span",
            { class: "share-cell" },
            h("span", { class: "share-bar" }, h("span", { class: "fill" })),
            h("span", { class: "share-text" }),
          ),
        cell: (b, cell) => {
          const fill = cell.querySelector(".fill");
          if (fill instanceof HTMLElement)
            fill.style.transform = `scaleX(${ratio(String(b.allocation ?? 0), "1").toFixed(4)})`;
          const said = cell.querySelector(".share-text");
          if (said) said.textContent = percent(b.allocation, { digits: 1 });
        },
      },
    ],
    (b) => String(b.id),
    "No balances.",
  );
  const paint = painter(root, 4, () => {
    const rows = store.rows("balances").filter((b) => Number(b.total) !== 0);
    rows.sort((a, b) => Number(b.value ?? 0) - Number(a.value ?? 0) || (a.currency < b.currency ? -1 : 1));
    show(rows, unsure(store, rows));
  });
  store.watch(["balances", "settings"], paint);
  return { columns: show.choice };
}
