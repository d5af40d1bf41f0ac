// What is done to orders by a dialog: change price, trigger or amount of one, cancel all. Loaded on the first use.
import { told } from "../commands.js";
import { cmp, isDecimal } from "../decimal.js";
import { dialog, facts, failure } from "../dialog.js";
import { onStep } from "../format.js";
import { number } from "../number-field.js";
import { kind, marketOf, priceText, working } from "../trade.js";

/** @param {App} app @param {Row} order */
export async function amend(app, order) {
  const market = marketOf(app.store, order.symbol);
  /** @type {[string, ReturnType<typeof number>][]} */
  const fields = [];
  for (const [name, label] of /** @type {const} */ ([
    ["price", "Price"],
    ["stop_price", "Trigger price"],
    ["amount", "Amount, filled part included"],
  ])) {
    if (!order[name]) continue;
    fields.push([name, number(label, { name, value: order[name] })]);
  }
  await dialog({
    title: `Amend ${order.side} ${order.symbol}`,
    body: [
      facts([
        ["Order", `${kind(order)} ${onStep(order.amount, market?.amount_step)} at ${priceText(order, market)}`],
        ["Filled", onStep(order.filled, market?.amount_step)],
      ]),
      ...fields.map(([, field]) => field.root),
    ],
    yes: "Amend",
    focus: "field",
    ready: () => fields.every(([, { value }]) => isDecimal(value)),
    act: async () => {
      /** @type {Row} */
      const args = { order_id: order.id };
      for (const [name, { value }] of fields) if (cmp(value, order[name]) !== 0) args[name] = value;
      if (Object.keys(args).length === 1) return "";
      const reply = await app.commands.call("order.amend", args);
      return reply.ok ? "" : told(reply.error);
    },
  });
}

/** @param {App} app */
export async function cancelAll(app) {
  const rows = app.store.rows("orders").filter(working);
  const symbols = [...new Set(rows.map((o) => o.symbol))];
  const dry = await app.commands.call("order.cancel_all", { dry_run: true });
  const answer = await dialog({
    title: "Cancel all orders?",
    body: [
      facts([
        ["Working orders", String(dry.result?.effect?.orders ?? rows.length)],
        ["Symbols", symbols.join(", ") || "none"],
      ]),
    ],
    yes: "Cancel all",
    tone: "danger",
  });
  if (!answer) return;
  const reply = await app.commands.call("order.cancel_all", {});
  const failed = reply.result?.failed ?? [];
  if (reply.ok && failed.length === 0) return;
  const why = reply.ok ? `${failed.length} orders could not be canceled.` : told(reply.error);
  await failure("Not everything was canceled", why);
}
