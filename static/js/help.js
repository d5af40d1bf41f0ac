// The list of keys, and whose work the page stands on.
import { dialog } from "./dialog.js";
import { h } from "./dom.js";
import { keys } from "./keys.js";

/** The list, as a dialog. */
export function help() {
  const rows = keys.map(({ shown, does }) => [h("dt", {}, h("kbd", {}, shown)), h("dd", {}, does)]);
  const more = [h("dt", {}, h("kbd", {}, "Ctrl+Enter")), h("dd", {}, "send the ticket, from any of its fields")];
  const notice = "TradingView Lightweight Charts™, Copyright (c) 2025 TradingView, Inc. https://www.tradingview.com/";
  return dialog({
    title: "Keys and about",
    body: [
      h("dl", { class: "keys" }, ...rows.flat(), ...more),
      h("p", { class: "dim" }, "A bare key never trades. Keys are off while you type in a field."),
      h("p", { class: "dim" }, notice),
    ],
    yes: "Close",
    no: null,
  });
}
