// One dialog for every question. Native <dialog>: focus is trapped inside and returned afterwards.
import { h } from "./dom.js";
import { grouped, words } from "./format.js";

/** @typedef {import("./shapes.d.ts").ErrorBody} ErrorBody */

/**
 * Shows a dialog; resolves with the form's values when the main button is pressed, null otherwise.
 * @param {{
 *   title: string, body: (Node | string)[], yes: string, tone?: string, no?: string | null,
 *   focus?: "yes" | "no" | "field", ready?: (form: HTMLFormElement) => boolean,
 * }} ask
 * @returns {Promise<FormData | null>}
 */
export function dialog({ title, body, yes, tone = "primary", no = "Cancel", focus = "yes", ready }) {
  return new Promise((resolve) => {
    const main = h("button", { class: `button ${tone}`, value: "yes", type: "submit" }, yes);
    const back =
      no === null
        ? null
        : h("button", { class: "button", value: "no", type: "button", onclick: () => box.close("no") }, no);
    const form = h(
      "form",
      { method: "dialog" },
      h("h2", { id: "dialog-title" }, title),
      ...body,
      h("div", { class: "dialog-buttons" }, back, main),
    );
    const box = h("dialog", { class: "dialog", "aria-labelledby": "dialog-title" }, form);
    const check = () => {
      main.disabled = ready ? !ready(form) : false;
    };
    form.addEventListener("input", check);
    form.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && event.repeat) event.preventDefault();
    });
    box.addEventListener("close", () => {
      resolve(box.returnValue === "yes" ? new FormData(form) : null);
      box.remove();
    });
    check();
    document.body.append(box);
    box.showModal();
    const field = form.querySelector("input, textarea");
    if (focus === "field" && field instanceof HTMLElement) field.focus();
    else if (focus === "no") back?.focus();
    else main.focus();
  });
}

/** A list of facts. @param {[string, string][]} pairs */
export const facts = (pairs) =>
  h("dl", { class: "facts" }, ...pairs.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));

/** The server asks back: what it says would happen. @param {string} title @param {ErrorBody} error */
export async function confirmEffect(title, error) {
  const effect = Object.entries(error.details?.effect ?? {});
  const why = error.details?.reason ? [h("p", { class: "warn" }, words(error.details.reason))] : [];
  const answer = await dialog({
    title,
    body: [
      ...why,
      h("p", {}, "The server asks to confirm. The effect now would be:"),
      facts(effect.map(([name, value]) => [words(name), show(value)])),
    ],
    yes: "Confirm",
    tone: "danger",
    focus: "no",
  });
  return answer !== null;
}

/** @param {unknown} value */
function show(value) {
  if (Array.isArray(value)) return value.length === 0 ? "none" : value.join(", ");
  if (typeof value === "string" && /^-?\d+(\.\d+)?$/.test(value)) return grouped(value);
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}
