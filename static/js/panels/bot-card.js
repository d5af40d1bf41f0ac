// A bot: one line that opens; start, pause, resume, stop, emergency stop; why the last decision was made. Loaded with the first.
import { told } from "../commands.js";
import { cls, h, hide, text } from "../dom.js";
import { age, direction, signed, words } from "../format.js";
import { spark } from "../spark.js";
import { lock } from "../trade.js";
import { DENIED, doing, may } from "./bots.js";

/** @typedef {"bot.start" | "bot.stop" | "bot.pause" | "bot.resume" | "bot.rearm" | "bot.run_once"} Act */

const TONES = /** @type {Record<string, string>} */ ({ running: "good", paused: "warn", error: "bad", halted: "bad" });

/** What each state offers, and in which order. */
const OFFERS = /** @type {Record<string, [Act, string][]>} */ ({
  stopped: [["bot.start", "Start"]],
  running: [
    ["bot.pause", "Pause"],
    ["bot.stop", "Stop"],
  ],
  paused: [
    ["bot.resume", "Resume"],
    ["bot.stop", "Stop"],
  ],
  error: [
    ["bot.start", "Restart"],
    ["bot.stop", "Stop"],
  ],
  halted: [["bot.rearm", "Rearm"]],
  stopping: [],
});

/** Why a cycle placed no order, in a person's words; the others are said by their names. */
const SKIPPED = /** @type {Record<string, string>} */ ({
  paused: "paused, no entries",
  warmup: "not enough bars yet",
  market_check: "the market is not fit",
  window: "outside the trading hours",
  unclear: "no clear signal",
  low_confidence: "not sure enough",
  risk_score: "the signal is too risky",
  portfolio_risk: "the account's risk is too high",
  in_position: "already in position",
  dry_run: "dry run, nothing sent",
});

/** The newest decision of a bot. @param {Row} last */
function decision(last) {
  const why = last.skipped_reason;
  const told_ = !why && last.order_id ? "order sent" : why === last.action ? "" : why && (SKIPPED[why] ?? words(why));
  return [last.action, told_].filter(Boolean).join(": ");
}

/** @type {WeakMap<HTMLElement, ReturnType<typeof parts>>} */
const made = new WeakMap();

/** @param {Row} bot @param {App} app */
export function card(bot, app) {
  const it = parts(bot, app);
  made.set(it.row, it);
  return it.row;
}

/** @param {Row} bot @param {App} app */
function parts(bot, app) {
  const id = String(bot.id);
  const state = h("span", { class: "bot-state" });
  const about = h("span", { class: "bot-about" });
  const why = h("p", { class: "bot-why" });
  const profit = h("span", { class: "bot-profit" });
  const line = h("canvas", { class: "spark", "aria-hidden": "true" });
  const acts = h("span", { class: "row-acts" });
  const said = h("p", { class: "row-error", role: "alert" });
  const more = h("dl", { class: "bot-more" });
  const emergency = h(
    "button",
    { type: "button", class: "small-button danger-text", onclick: () => doing((acts) => acts.emergencyStop(app, id)) },
    "Emergency stop…",
  );
  const once = h("button", { type: "button", class: "small-button" }, "Run once");
  once.addEventListener("click", () => void act(app, "bot.run_once", id, said, once));
  const details = h(
    "details",
    { class: "bot-details" },
    h("summary", {}, "Details"),
    more,
    h("span", { class: "row-acts" }, once, emergency),
  );
  details.addEventListener("toggle", () => {
    if (!details.open) return app.link.drop([`bot:${id}`]);
    app.link.watch([`bot:${id}`]);
    doing((acts) => {
      it.tell = acts.tell;
    });
  });
  const row = h(
    "li",
    { class: "bot" },
    h("div", { class: "bot-line" }, h("strong", { class: "bot-name" }, id), state),
    h("div", { class: "bot-line dim" }, about),
    h("div", { class: "bot-line" }, profit, line, acts),
    why,
    said,
    details,
  );
  /** Writes the details; loaded with them. @type {typeof import("./bot-acts.js").tell} */
  const tell = () => {};
  const it = { row, state, about, why, profit, line, acts, said, more, details, emergency, once, offered: "", tell };
  return it;
}

/** @param {HTMLElement} row @param {Row} bot @param {App} app */
export function show(row, bot, app) {
  const it = made.get(row);
  if (!it) return;
  const state = String(bot.state);
  text(it.state, words(state));
  cls(it.state, `bot-state ${TONES[state] ?? "dim"}`);
  const up = state === "running" && bot.uptime_s ? ` · up ${age(bot.uptime_s * 1000)}` : "";
  const dry = bot.dry_run ? " · dry run" : "";
  text(it.about, `${(bot.symbols ?? []).join(", ")} · ${bot.timeframe}${up}${dry}`);
  text(it.profit, signed(bot.realized_pnl));
  cls(it.profit, `bot-profit ${direction(bot.realized_pnl)}`);
  spark(
    it.line,
    course(app, String(bot.id)),
    direction(bot.realized_pnl) ? `--${direction(bot.realized_pnl)}` : "--dim",
  );
  const last = bot.last_decision;
  const reason = bot.error ?? (last ? decision(last) : "");
  text(it.why, reason ? String(typeof reason === "object" ? reason.message : reason) : "");
  hide(it.why, !reason);
  cls(it.why, `bot-why ${bot.error ? "bad" : "dim"}`);
  offer(it, state, String(bot.id), app);
  if (it.details.open) it.tell(it.more, app.store.value(`bot:${bot.id}`));
  for (const button of [it.emergency, it.once]) lock(button, may(app) ? "" : DENIED);
}

/** Buttons follow state and role; what is not allowed is disabled with its reason, never absent.
 * @param {ReturnType<typeof parts>} it @param {string} state @param {string} id @param {App} app */
function offer(it, state, id, app) {
  const allowed = may(app);
  const shown = `${state}/${allowed}`;
  if (it.offered === shown) return;
  it.offered = shown;
  const offers = OFFERS[state] ?? [["bot.stop", "Stop"]];
  it.acts.replaceChildren(
    ...offers.map(([op, word]) => {
      const button = h("button", { type: "button", class: "small-button", "aria-label": `${word} ${id}` }, word);
      button.disabled = !allowed;
      if (!allowed) button.title = DENIED;
      button.addEventListener("click", () => void act(app, op, id, it.said, button));
      return button;
    }),
  );
}

/** @param {App} app @param {Act} op @param {string} id @param {HTMLElement} said @param {HTMLButtonElement} button */
async function act(app, op, id, said, button) {
  button.disabled = true;
  text(said, "");
  const args = op === "bot.rearm" ? { bot_id: id, reason: "rearmed on the page" } : { bot_id: id };
  const reply = await app.commands.confirmed(op, args, `${words(op.slice(4))} ${id}?`);
  button.disabled = !may(app);
  if (!reply.ok) text(said, told(reply.error));
}

/** Realised profit after each of the bot's fills that the page knows. @param {App} app @param {string} id */
function course(app, id) {
  let sum = 0;
  const values = [0];
  for (const fill of app.store.list("fills")) {
    if (fill.bot_id !== id) continue;
    sum += Number(fill.realized_pnl ?? 0);
    values.push(sum);
  }
  return values.slice(-60);
}
