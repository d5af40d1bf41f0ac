// Few keys, listed by `?`, inert while typing. No bare key trades.
import { dialog } from "./dialog.js";
import { h } from "./dom.js";

/** @type {{ key: string, shown: string, does: string, act: () => void }[]} */
const keys = [];

/**
 * @param {string} key as KeyboardEvent.key @param {string} does what it does, for the list @param {() => void} act
 * @param {string} [shown] how the list writes it
 */
export function onKey(key, does, act, shown = key) {
  keys.push({ key, shown, does, act });
}

/** @param {EventTarget | null} target */
const typing = (target) =>
  target instanceof HTMLElement && (target.isContentEditable || /^(INPUT|SELECT|TEXTAREA)$/.test(target.tagName));

export function listen() {
  document.addEventListener("keydown", (event) => {
    if (event.repeat || event.altKey || event.metaKey || event.ctrlKey) return;
    if (typing(event.target) || document.querySelector("dialog[open]")) return;
    const found = keys.find(({ key }) => key === event.key);
    if (!found) return;
    event.preventDefault();
    found.act();
  });
}

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
