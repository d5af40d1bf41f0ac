// Numbers typed into dialogs and forms, where a keypad may have a comma only. Loaded with those.
import { reading, typed } from "./decimal.js";
import { h } from "./dom.js";
import { tell } from "./panels/ticket-parts.js";

/** A field of a dialog, with a line that says how its number is read. @param {string} label @param {Record<string, unknown>} more */
export function number(label, more) {
  const id = `${more.name}-note`;
  const note = h("span", { class: "field-note", role: "status", id });
  const input = h("input", {
    type: "text",
    inputmode: "decimal",
    autocomplete: "off",
    "aria-describedby": id,
    ...more,
  });
  input.addEventListener("input", () => tell(input, note, reading(input.value).why ?? ""));
  return {
    root: h("div", { class: "field" }, h("label", { class: "field" }, h("span", {}, label), input), note),
    input,
    get value() {
      return typed(input.value);
    },
  };
}

/** Writes a number as it is read, once it has been typed. @param {Event} event */
export function spell({ target }) {
  if (!(target instanceof HTMLInputElement)) return;
  const value = typed(target.value);
  if (value === target.value.trim()) return;
  target.value = value;
  target.dispatchEvent(new Event("input", { bubbles: true }));
}
