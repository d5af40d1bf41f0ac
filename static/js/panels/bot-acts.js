// More of bots: the details of one, its emergency stop, start and stop of all.
import { told } from "../commands.js";
import { dialog, facts, failure } from "../dialog.js";
import { h } from "../dom.js";
import { money, NONE, stamp, words } from "../format.js";
import { settings } from "../settings.js";

/** @param {App} app @param {string} id */
export async function emergencyStop(app, id) {
  const held = app.store.rows("positions").filter((p) => (p.bot_ids ?? []).includes(id));
  const working = app.store
    .rows("orders")
    .filter((o) => o.bot_id === id && ["open", "pending", "unknown"].includes(o.status));
  const answer = await dialog({
    title: `Emergency stop of ${id}?`,
    body: [
      h("p", {}, "Its orders are cancelled and it stays off until an administrator rearms it."),
      facts([
        ["Working orders", String(working.length)],
        ["Positions", held.map((p) => p.symbol).join(", ") || "none"],
      ]),
      h(
        "label",
        { class: "check" },
        h("input", { type: "checkbox", name: "flatten" }),
        "also close its positions at the market",
      ),
    ],
    yes: "Emergency stop",
    tone: "danger",
  });
  if (!answer) return;
  const reply = await app.commands.call("bot.emergency_stop", {
    bot_id: id,
    flatten: answer.get("flatten") === "on",
    reason: "emergency stop on the page",
  });
  if (!reply.ok) return void (await failure("Refused", told(reply.error)));
  // What did not work is said; where all did, the card and the tables show it.
  const { failed = [], unknown = [], closed = [] } = reply.result;
  const open = closed.filter((/** @type {Row} */ c) => c.code || c.status === "rejected");
  if (failed.length + unknown.length + open.length === 0) return;
  await dialog({
    title: `${id} is stopped, not all of it is undone`,
    body: [
      facts([
        ["Could not be canceled", failed.join("\n") || "none"],
        ["Outcome unknown", unknown.join("\n") || "none"],
        [
          "Not closed",
          open.map((/** @type {Row} */ c) => `${c.symbol}: ${c.error ?? words(c.status)}`).join("\n") || "none",
        ],
      ]),
    ],
    yes: "Close",
    no: null,
  });
}

/** @param {App} app @param {"bot.start" | "bot.stop"} op */
export async function every(app, op) {
  const running = (/** @type {Row} */ bot) => bot.state !== "stopped";
  const bots = app.store.rows("bots").filter((bot) => bot.state !== "halted" && running(bot) === (op === "bot.stop"));
  const verb = op === "bot.start" ? "Start" : "Stop";
  if (bots.length === 0) {
    await dialog({ title: `Nothing to ${verb.toLowerCase()}`, body: [], yes: "Close", no: null });
    return;
  }
  const answer = await dialog({
    title: `${verb} ${bots.length} ${bots.length === 1 ? "bot" : "bots"}?`,
    body: [facts(bots.map((bot) => [String(bot.id), `${(bot.symbols ?? []).join(", ")} · ${bot.timeframe}`]))],
    yes: `${verb} all`,
    tone: op === "bot.stop" ? "danger" : "primary",
    focus: "no",
  });
  if (!answer) return;
  for (const bot of bots) {
    const reply = await app.commands.call(op, { bot_id: bot.id });
    if (!reply.ok) return void failure(`${bot.id} was refused`, told(reply.error));
  }
}

/** @param {HTMLElement} list @param {Row | undefined} bot */
export function tell(list, bot) {
  if (!bot) return;
  const p = bot.performance ?? {};
  const pairs = [
    ["Cycles", `${p.successful_cycles ?? 0} of ${p.total_cycles ?? 0} without fault`],
    ["Trades", p.trades ? `${p.trades}, won ${p.win_rate === null ? NONE : Math.round(p.win_rate * 100)} %` : "0"],
    ["Fees", money(p.fees)],
    ["Last cycle", stamp(bot.last_cycle_ts, settings.utc)],
    ["Next cycle", stamp(bot.next_cycle_ts, settings.utc)],
    [
      "Strategies",
      Object.entries(bot.strategy_weights ?? {})
        .map(([name, weight]) => `${name} ${weight}`)
        .join(", ") || NONE,
    ],
  ];
  const key = JSON.stringify(pairs);
  if (list.dataset.shown === key) return;
  list.dataset.shown = key;
  list.replaceChildren(...pairs.flatMap(([name, value]) => [h("dt", {}, name ?? ""), h("dd", {}, value ?? "")]));
}
