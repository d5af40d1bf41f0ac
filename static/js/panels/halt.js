// HALT: hold one second, or a short press or Shift+H for a dialog. Resuming is a separate, slower act, loaded when asked for.
import { told } from "../commands.js";
import { dialog, facts, failure, later } from "../dialog.js";
import { attr, cls, h, text } from "../dom.js";
import { icon } from "../icons.js";
import { onKey } from "../keys.js";
import { viewOnly } from "../trade.js";

const HOLD = 1000;
/** A press shorter than this is a click: it opens the dialog. */
const CLICK = 250;
/** Ids listed in the report. */
const SHOWN = 12;

const resuming = later(() => import("./resume.js"));
/** @param {App} app */
const resume = (app) => resuming((late) => late.resumeDialog(app));

/** @param {App} app */
export function haltButton(app) {
  const stands = h("span", { class: "halt-state" });
  const label = h("span", {}, "Halt trading");
  const button = h(
    "button",
    {
      class: "halt",
      type: "button",
      "aria-keyshortcuts": "Shift+H",
    },
    h("span", { class: "halt-fill", "aria-hidden": "true" }),
    icon("stop"),
    h("span", {}, stands, label),
    h("span", { class: "hint", "aria-hidden": "true" }, "hold"),
  );
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  let down = 0;
  const release = () => {
    clearTimeout(timer);
    timer = undefined;
    button.classList.remove("holding");
  };
  // Where the state is not known, before the first word of the server and while the link is lost, it halts.
  const stateNow = () => (/live|late/.test(app.link.state.state) ? app.tradingState() : undefined);
  const halted = () => stateNow() === "halted";
  button.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    down = Date.now();
    if (halted()) return;
    button.classList.add("holding");
    timer = setTimeout(() => {
      release();
      void halt(app, { reason: "halt button held on the page" });
    }, HOLD);
  });
  button.addEventListener("pointerleave", release);
  button.addEventListener("pointercancel", release);
  button.addEventListener("click", (event) => {
    const held = event.detail === 0 ? 0 : Date.now() - down;
    const fired = timer === undefined && held >= HOLD;
    release();
    if (fired || held >= HOLD) return;
    if (halted() || stateNow() === "reducing") resume(app);
    else if (held < CLICK) void haltDialog(app);
  });
  onKey(
    "H",
    "halt trading (asks)",
    () => button.disabled || (halted() ? resume(app) : void haltDialog(app)),
    "Shift+H",
  );
  const show = () => {
    const state = stateNow();
    const known = state === "active" || state === "reducing" || state === "halted";
    // Where the header is narrow the banner alone says how it stands.
    text(stands, state === "halted" ? "Halted · " : state === "reducing" ? "Reducing · " : "");
    text(label, stands.textContent ? "Resume…" : "Halt trading");
    cls(button, `halt ${known && state !== "active" ? "is-halted" : ""} ${timer ? "holding" : ""}`.trim());
    attr(button, "data-state", state ?? null);
    const barred = viewOnly(app.store, "halt trading", ["trade", "bots"]);
    button.disabled = barred !== "";
    const press = state === "reducing" ? "press to resume" : "press to be asked";
    attr(
      button,
      "title",
      barred || (state === "halted" ? "Press to resume" : `Hold one second to halt ( Shift+H asks ), or ${press}`),
    );
  };
  app.store.watch(["status", "risk", "welcome", "link"], show);
  show();
  return button;
}

/** @param {App} app @param {Row} args */
async function halt(app, args) {
  const reply = await app.commands.call("trading.halt", args);
  await report(reply);
}

/** @param {App} app */
async function haltDialog(app) {
  const answer = await dialog({
    title: "Halt trading?",
    body: [
      h(
        "p",
        {},
        "No order goes out after this, and resting orders are canceled. Stops and targets that close a position stay. It holds for every client and survives a restart.",
      ),
      h(
        "label",
        { class: "check" },
        h("input", { type: "checkbox", name: "flatten" }),
        "Also close all positions at the market",
      ),
      h(
        "label",
        { class: "check" },
        h("input", { type: "checkbox", name: "reducing" }),
        "Only stop new risk: orders that reduce stay, and go out",
      ),
    ],
    yes: "Halt",
    tone: "danger",
    focus: "yes", // it is here at once, and stopping is the safe side
  });
  if (!answer) return;
  await halt(app, {
    reason: "halted on the page",
    ...(answer.has("flatten") ? { flatten: true } : {}),
    ...(answer.has("reducing") ? { state: "reducing" } : {}),
  });
}

/** What it did, in full. @param {Reply} reply */
async function report(reply) {
  if (!reply.ok) {
    const known = reply.error?.outcome !== "unknown";
    return void (await failure(
      known ? "Trading is NOT halted" : "Nobody knows whether it is halted",
      told(reply.error),
    ));
  }
  const done = reply.result;
  const name = (/** @type {any} */ x) => (typeof x === "string" ? x : (x.client_order_id ?? JSON.stringify(x)));
  const list = (/** @type {any[] | undefined} */ ids) => {
    if (!ids || ids.length === 0) return "none";
    const more = ids.length > SHOWN ? [`and ${ids.length - SHOWN} more`] : [];
    return [`${ids.length}:`, ...ids.slice(0, SHOWN).map(name), ...more].join("\n");
  };
  await dialog({
    title: done.state === "reducing" ? "Trading is reduced" : "Trading is halted",
    body: [
      h(
        "p",
        { role: "alert" },
        done.changed === false
          ? "It already was; nothing changed."
          : `${done.state === "reducing" ? "Only orders that reduce go" : "No order goes"} out until someone resumes.`,
      ),
      facts([
        ["Orders canceled", list(done.canceled)],
        ["Could not be canceled", list(done.failed)],
        ["Outcome unknown", list(done.unknown)],
        ["Filled or ended before", list(done.ended)],
        ["Written to the journal", done.journaled === false ? "not yet" : "yes"],
      ]),
    ],
    yes: "Close",
    no: null,
  });
}
