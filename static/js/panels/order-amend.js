// The dialog that changes price, trigger or amount of a working order.
import { told } from "../commands.js";
import { cmp, isDecimal } from "../decimal.js";
import { dialog, facts, field } from "../dialog.js";
import { onStep } from "../format.js";
import { kind, marketOf, priceText } from "../trade.js";

/** @typedef {import("../app.js").App} App */
/** @typedef {import("../shapes.d.ts").Row} Row */

/** @param {App} app @param {Row} order */
export async function amendDialog(app, order) {
  const market = marketOf(app.store, order.symbol);
  /** @type {string[]} */
  const names = [];
  /** @type {HTMLElement[]} */
  const inputs = [];
  for (const [name, label] of /** @type {const} */ ([
    ["price", "Price"],
    ["stop_price", "Trigger price"],
    ["amount", "Amount, filled part included"],
  ])) {
    if (!order[name]) continue;
    names.push(name);
    inputs.push(field(label, { name, inputmode: "decimal", value: order[name] }));
  }
  await dialog({
    title: `Amend ${order.side} ${order.symbol}`,
    body: [
      facts([
        ["Order", `${kind(order)} ${onStep(order.amount, market?.amount_step)} at ${priceText(order, market)}`],
        ["Filled", onStep(order.filled, market?.amount_step)],
      ]),
      ...inputs,
    ],
    yes: "Amend",
    focus: "field",
    ready: (form) => names.every((n) => isDecimal(String(new FormData(form).get(n)).trim())),
    act: async (answer) => {
      /** @type {Row} */
      const args = { order_id: order.id };
      for (const name of names) {
        const value = String(answer.get(name)).trim();
        if (cmp(value, order[name]) !== 0) args[name] = value;
      }
      if (Object.keys(args).length === 1) return "";
      const reply = await app.commands.call("order.amend", args);
      return reply.ok ? "" : told(reply.error);
    },
  });
}
