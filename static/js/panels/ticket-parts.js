// Parts of the ticket: a labelled field with unit and error, and the preview of the server.
import { told } from "../commands.js";
import { decimals, reading, round, trim, typed } from "../decimal.js";
import { attr, cls, h, keyed, text } from "../dom.js";
import { grouped, money, onStep, percent, words } from "../format.js";

/**
 * Says below a field why it is wrong, or else how its number is read.
 * @param {HTMLInputElement} input @param {HTMLElement} note @param {string} why
 */
export function tell(input, note, why) {
  text(note, why || (reading(input.value).as ?? ""));
  cls(note, why ? "field-error" : "field-note");
  attr(input, "aria-invalid", why ? "true" : null);
}

/**
 * @param {string} name argument of the op @param {string} label @param {string} [type]
 * @param {HTMLElement} [choice] of units, in the place of the unit
 */
export function field(name, label, type = "text", choice) {
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
  const note = h("span", { class: "field-note", id: `${id}-error` });
  const root = h(
    "div",
    { class: "field" },
    h("div", { class: "field-head" }, h("label", { for: id }, label), choice ? null : unit),
    input,
    // After the input: Tab goes from field to field first.
    choice ?? null,
    note,
  );
  return {
    name,
    root,
    get value() {
      return typed(input.value);
    },
    set(/** @type {string} */ value) {
      input.value = value;
      tell(input, note, "");
    },
    unit(/** @type {string} */ value) {
      text(unit, value);
    },
    error(/** @type {string} */ why) {
      tell(input, note, why);
    },
    focus() {
      input.focus();
      input.select();
    },
  };
}

/** A small number in few digits: 0.00000252 rather than 0.000002519234. @param {string} value */
function brief(value) {
  const zeros = /^-?0\.(0*)/.exec(value)?.[1]?.length;
  const digits = zeros === undefined ? (Math.abs(Number(value)) < 100 ? 4 : 2) : zeros + 3;
  return grouped(trim(round(value, digits)));
}

/** Says an error, then in the words of its rule. @param {HTMLElement} line @param {ErrorBody | undefined} error */
export function explain(line, error) {
  const plain = told(error);
  text(line, plain);
  if (error?.details?.rule)
    import("../rules.js").then(
      (late) => line.textContent === plain && text(line, late.refusal(error) ?? plain),
      () => {},
    );
}

/** A rule in a person's words; those are loaded with the first one that would refuse. @type {(rule: Row) => string} */
let sentence = (rule) => `Would be refused: ${words(rule.rule ?? rule.code)}`;
let worded = false;

/** What the server says the order would do: figures, always the same height so that the button stays in place, and rules. */
export function preview() {
  const names = ["Cost", "Fee", "Average", "Slippage", "Fills now", "Exposure after"];
  const values = names.map(() => h("dd", {}, "–"));
  const rules = h("ul", { class: "rules" });
  const root = h(
    "div",
    { class: "preview", "aria-label": "Preview", role: "group" },
    h("dl", {}, ...names.flatMap((n, i) => [h("div", {}, h("dt", {}, n), /** @type {HTMLElement} */ (values[i]))])),
  );
  /** @type {Row[]} */
  let failed = [];
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
  const tellRules = () => say(failed.map((rule) => ({ id: String(rule.rule ?? rule.code), text: sentence(rule) })));
  return {
    root,
    rules,
    clear() {
      put([]);
      failed = [];
      tellRules();
      attr(root, "data-valid", null);
    },
    /** @param {string} why */
    refused(why) {
      put([]);
      failed = [];
      say([{ id: "refused", text: why }]);
      attr(root, "data-valid", "no");
    },
    /** @param {Row} result @param {Market | undefined} market */
    show(result, market) {
      const quote = market?.settle ?? market?.quote ?? "";
      const fee = result.fee ? `${brief(result.fee.cost)} ${result.fee.currency}` : "–";
      put([
        `${money(result.cost)} ${quote}`,
        fee,
        result.average ? money(result.average, decimals(market?.price_tick ?? "0.01")) : "–",
        percent(result.slippage, { digits: 3 }),
        onStep(result.expected_fill, market?.amount_step),
        result.exposure_after === undefined || result.exposure_after === null
          ? "–"
          : `${money(result.exposure_after)} ${quote}`,
      ]);
      // That trading is halted stands below the button already.
      failed = (result.failed ?? [])
        .map((/** @type {any} */ f) =>
          typeof f === "string"
            ? ((result.rules ?? []).find((/** @type {Row} */ r) => r.rule === f) ?? { rule: f })
            : f,
        )
        .filter((/** @type {Row} */ f) => f.rule !== "halted" && f.code !== "halted");
      tellRules();
      if (failed.length > 0 && !worded)
        import("../rules.js").then(
          (late) => {
            worded = true;
            sentence = late.sentence;
            if (failed.length > 0) tellRules();
          },
          () => {}, // their names will do
        );
      attr(root, "data-valid", result.valid ? "yes" : "no");
    },
  };
}
