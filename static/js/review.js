// Whether one order is looked at again before it is sent: a setting of the person, per mode. The server's policy stands beside it.
import { cmp, isDecimal, mul } from "./decimal.js";
import { dialog, facts } from "./dialog.js";
import { money, onStep, words } from "./format.js";
import { settings } from "./settings.js";
import { marketOf, unitOf } from "./trade.js";

/**
 * Asks where the settings want it; true means send.
 * @param {Row} args of order.place @param {App} app @returns {Promise<boolean>}
 */
export async function reviewed(args, app) {
  const { store } = app;
  const live = store.get("welcome")?.mode === "live";
  const when = live ? settings.reviewLive : settings.reviewPaper;
  // Anything else than these two words means "always": a broken setting must not send unasked.
  if (when === "never") return true;
  const market = marketOf(store, args.symbol);
  const price = args.price ?? args.stop_price ?? store.value(`ticker:${args.symbol}`)?.last;
  const notional = args.cost
    ? String(args.cost)
    : isDecimal(String(price))
      ? mul(mul(String(args.amount), String(price)), market?.contract_size ?? "1")
      : undefined;
  const limit = settings.reviewAbove;
  if (when === "above" && notional && isDecimal(limit) && cmp(notional, limit) <= 0) return true;
  const answer = await dialog({
    title: `${args.side === "buy" ? "Buy" : "Sell"} ${args.amount ? `${onStep(args.amount, market?.amount_step)} ${unitOf(market) || args.symbol}` : (market?.base ?? args.symbol)}?`,
    body: [
      live ? "This is a live order, with real money." : "A paper order.",
      facts([
        ["Market", args.symbol],
        ["Type", words(args.type)],
        ["Price", args.price ? onStep(args.price, market?.price_tick) : "market"],
        ...(args.stop_price
          ? [/** @type {[string, string]} */ (["Trigger", onStep(args.stop_price, market?.price_tick)])]
          : []),
        ["About", notional ? `${money(notional)} ${market?.quote ?? ""}` : "unknown"],
      ]),
    ],
    yes: args.side === "buy" ? "Buy" : "Sell",
    tone: live ? "danger" : "primary",
  });
  return answer !== null;
}
