// Parts of the ticket: a labelled field with unit and error, and the preview of the server.
import { isDecimal } from "../decimal.js";
import { attr, h, keyed, text } from "../dom.js";
import { grouped, money, onStep, percent, words } from "../format.js";

/** @typedef {import("../shapes.d.ts").Row} Row */
/** @typedef {import("../shapes.d.ts").Market} Market */

/** @param {string} name argument of the op @param {string} label @param {string} [type] */
export function field(name, label, type = "text") {
  const id = `ticket-${name}`;
  const input = h("input", {
    id,
    name,
    type,
    inputmode: type === "text" ? "decimal" : undefined,
    autocomplete: "off",
    spellcheck: "false",
    "aria-describedby": `${id}-error`,
  });
  const unit = h("span", { class: "unit" });
  const error = h("span", { class: "field-error", id: `${id}-error` });
  const root = h(
    "div",
    { class: "field" },
    h("div", { class: "field-head" }, h("label", { for: id }, label), unit),
    input,
    error,
  );
  return {
    name,
    root,
    get value() {
      return input.value.trim();
    },
    set(/** @type {string} */ value) {
      input.value = value;
    },
    unit(/** @type {string} */ value) {
      text(unit, value);
    },
    error(/** @type {string} */ why) {
      text(error, why);
      attr(input, "aria-invalid", why ? "true" : null);
    },
    focus() {
      input.focus();
      input.select();
    },
  };
}

/** What the server says the order would do. Always the same height, so that the button stays in place. */
export function preview() {
  const names = ["Cost", "Fee", "Average", "Slippage", "Fills now", "Exposure after"];
  const values = names.map(() => h("dd", {}, "–"));
  const rules = h("ul", { class: "rules" });
  const root = h(
    "div",
    { class: "preview", "aria-label": "Preview", role: "group" },
    h("dl", {}, ...names.flatMap((n, i) => [h("div", {}, h("dt", {}, n), /** @type {HTMLElement} */ (values[i]))])),
    rules,
  );
  const put = (/** @type {string[]} */ texts) => {
    for (const [i, v] of values.entries()) text(v, texts[i] ?? "–");
  };
  /** @param {{ id: string, text: string }[]} lines */
  const say = (lines) =>
    keyed(
      rules,
      lines,
      (l) => l.id,
      () => h("li"),
      (element, l) => text(element, l.text),
    );
  return {
    root,
    clear() {
      put([]);
      say([]);
      attr(root, "data-valid", null);
    },
    /** @param {string} why */
    refused(why) {
      put([]);
      say([{ id: "refused", text: why }]);
      attr(root, "data-valid", "no");
    },
    /** @param {Row} result @param {Market | undefined} market */
    show(result, market) {
      const quote = market?.settle ?? market?.quote ?? "";
      const fee = result.fee ? `${result.fee.cost} ${result.fee.currency}` : "–";
      put([
        `${money(result.cost)} ${quote}`,
        fee,
        onStep(result.average, market?.price_tick),
        percent(result.slippage, { digits: 3 }),
        onStep(result.expected_fill, market?.amount_step),
        result.exposure_after === undefined || result.exposure_after === null
          ? "–"
          : `${money(result.exposure_after)} ${quote}`,
      ]);
      /** @type {any[]} */
      const failed = result.failed ?? [];
      say(
        failed.map((f) => {
          const rule =
            typeof f === "string"
              ? ((result.rules ?? []).find((/** @type {Row} */ r) => r.rule === f) ?? { rule: f })
              : f;
          return { id: String(rule.rule ?? rule.code), text: sentence(rule) };
        }),
      );
      attr(root, "data-valid", result.valid ? "yes" : "no");
    },
  };
}

/** @param {unknown} value */
const shown = (value) => (typeof value === "string" && isDecimal(value) ? grouped(value) : String(value));

/** @param {Row} rule */
function sentence(rule) {
  if (rule.message) return `${rule.rule ?? rule.code}: ${rule.message}`;
  const unit = rule.unit ? ` ${rule.unit}` : "";
  if (rule.limit !== undefined && rule.limit !== null)
    return `${words(rule.rule)}: ${shown(rule.value)}${unit}, limit ${shown(rule.limit)}${unit}`;
  return `Would be refused: ${words(rule.rule ?? rule.code)}`;
}
