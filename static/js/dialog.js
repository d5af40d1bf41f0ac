// One dialog for every question. Native <dialog>: focus is trapped inside and returned afterwards.
import { h } from "./dom.js";

/**
 * Shows a dialog; resolves with the form's values when the main button is pressed, null otherwise.
 * @param {{
 *   title: string, body: (Node | string)[], yes: string, tone?: string, no?: string | null,
 *   focus?: "yes" | "no" | "field", ready?: (form: HTMLFormElement) => boolean,
 * }} ask
 * @returns {Promise<FormData | null>}
 */
export function dialog({ title, body, yes, tone = "primary", no = "Cancel", focus = "yes", ready }) {
  // A second click while the first question was still loading asks nothing new; what there is to be told is told.
  const asked =
    no !== null && [...document.querySelectorAll("dialog[open] h2")].some((head) => head.textContent === title);
  if (asked) return Promise.resolve(null);
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

/**
 * Does what is loaded when it is first asked for; where it does not come, says that nothing was done.
 * @template T
 * @param {Promise<T>} loading @param {(module: T) => unknown} act
 */
export function later(loading, act) {
  const body = ["The server did not answer. Nothing was done; try again."];
  void loading.then(act, () => dialog({ title: "Not loaded", body, yes: "Close", no: null }));
}

/** Says that something was not done, and why. @param {string} title @param {string} why */
export const failure = (title, why) =>
  dialog({ title, body: [h("p", { class: "warn", role: "alert" }, why)], yes: "Close", no: null });

/** A field of a dialog, typed into. @param {string} label @param {{ name: string } & Record<string, unknown>} input */
export const field = (label, input) =>
  h("label", { class: "field" }, h("span", {}, label), h("input", { type: "text", autocomplete: "off", ...input }));

/** A list of facts. @param {[string, string][]} pairs */
export const facts = (pairs) =>
  h("dl", { class: "facts" }, ...pairs.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
