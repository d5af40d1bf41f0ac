// One dialog for every question. Native <dialog>: focus is trapped inside and returned afterwards.
import { attr, h, text } from "./dom.js";

let serial = 0;

/**
 * Shows a dialog; resolves with the form's values when the main button is pressed, null otherwise.
 * A question that came late takes a key meant for what was there before: where yes is dangerous, that key must not say it.
 * @param {{
 *   title: string, body: (Node | string)[], yes: string, tone?: string, no?: string | null,
 *   focus?: "yes" | "no" | "field", ready?: (form: HTMLFormElement) => boolean,
 *   act?: (data: FormData) => Promise<string>,
 * }} ask `act` is done, and says what went wrong, before it closes; left meanwhile, it is told in a dialog of its own
 * @returns {Promise<FormData | null>}
 */
export function dialog({
  title,
  body,
  yes,
  tone = "primary",
  no = "Cancel",
  ready,
  act,
  focus = tone === "danger" ? "no" : "yes",
}) {
  // A second click while the first question was loading may be of something else by the same name: it takes its place.
  // What there is to be told is told.
  if (no !== null)
    for (const head of document.querySelectorAll("dialog[open] h2"))
      if (head.textContent === title) head.closest("dialog")?.close("no");
  const id = `dialog-title-${++serial}`; // two may be open
  return new Promise((resolve) => {
    const main = h("button", { class: `button ${tone}`, value: "yes", type: "submit" }, yes);
    const back =
      no === null
        ? null
        : h("button", { class: "button", value: "no", type: "button", onclick: () => box.close("no") }, no);
    const wrong = act ? h("p", { class: "warn", role: "alert" }) : null;
    const form = h(
      "form",
      { method: "dialog" },
      h("h2", { id }, title),
      ...body,
      wrong,
      h("div", { class: "dialog-buttons" }, back, main),
    );
    const box = h("dialog", { class: "dialog", "aria-labelledby": id }, form);
    const check = () => {
      main.disabled = ready ? !ready(form) : false;
    };
    form.addEventListener("input", check);
    form.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && event.repeat) event.preventDefault();
    });
    let busy = false;
    const lock = (/** @type {boolean} */ on) => {
      busy = on;
      // `disabled` would lose the focus. Only this one: under a dialog that nobody can leave HALT is out of reach.
      attr(main, "aria-disabled", on ? "true" : null);
      text(main, on ? "Sending…" : yes);
    };
    form.addEventListener("submit", async (event) => {
      if (!act || !wrong) return;
      event.preventDefault();
      if (busy) return;
      lock(true);
      text(wrong, "");
      const why = await act(new FormData(form)).catch((error) => {
        reportError(error);
        return "The page failed; look at the orders before trying again.";
      });
      lock(false);
      if (!why) box.close("yes");
      else if (box.isConnected) text(wrong, why);
      else void failure(title, why); // it was left meanwhile
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
 * Loads what is first asked for, once, so that acts come in the order asked; where it does not come, says that nothing was done.
 * @template T
 * @param {() => Promise<T>} load @returns {(act: (module: T) => unknown) => void}
 */
export function later(load) {
  const body = ["The server did not answer. Nothing was done; try again."];
  /** @type {Promise<T> | undefined} */
  let loading;
  return (act) => {
    loading ??= load();
    void loading.then(act, () => {
      loading = undefined;
      return dialog({ title: "Not loaded", body, yes: "Close", no: null });
    });
  };
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
