import { add, trim } from "./decimal.js";
import { h, text } from "./dom.js";
import { marketOf, unitOf } from "./trade.js";

/** Fills of so long are said together, or a screen reader is still busy with a storm when it is over [ms]. */
const JOINED = 3000;

/**
 * Says fills to who does not see them, joined; an amount where they are of one market.
 * @param {App} app @param {string} last the newest one that is no news, "" where there was none
 */
export function announce({ store }, last) {
  const spoken = h("p", { class: "hidden", role: "status" });
  document.body.append(spoken);
  /** Not said yet. @type {Row[]} */
  let unsaid = [];
  let waiting = false;
  function say() {
    const [one] = unsaid;
    waiting = one !== undefined;
    // Emptied after a while: the same words again are news.
    if (!one) return text(spoken, "");
    const sum = unsaid.reduce((n, f) => add(n, f.amount), "0");
    const what = unsaid.every((f) => f.symbol === one.symbol)
      ? `, ${trim(sum)} ${unitOf(marketOf(store, one.symbol))}`
      : "";
    text(spoken, `${unsaid.length} ${unsaid.length === 1 ? "fill" : "fills"}${what}`);
    unsaid = [];
    setTimeout(say, JOINED);
  }
  const look = () => {
    const all = store.channel("fills")?.list;
    if (!all) return;
    const from = all.findIndex((f) => String(f.id) === last);
    const fresh = last === "" ? all : from < 0 ? [] : all.slice(from + 1);
    unsaid.push(...fresh);
    if (fresh.length > 0 && !waiting) say();
    last = String(all.at(-1)?.id ?? "");
  };
  store.watch(["fills"], look);
  setTimeout(look, 500); // what stands in it when it is made is not read out
}
