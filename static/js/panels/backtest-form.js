// The form of a backtest: parameters from the strategy's schema, conditions from the op. What the server refuses stands
// at its field. Numbers that are none are sent as typed: the server's words are the ones people see.
import { div, isDecimal, trim } from "../decimal.js";
import { attr, cls, h, hide, text } from "../dom.js";
import { percent, stamp, words } from "../format.js";
import { spell } from "../number-field.js";
import { settings } from "../settings.js";

const DAY = 86_400_000;
/** Bars to offer at first, by timeframe [days]. */
const DAYS = /** @type {Record<string, string>} */ ({
  "1m": "2",
  "5m": "7",
  "15m": "30",
  "1h": "90",
  "4h": "365",
  "1d": "730",
});
const OBJECTIVES = ["sharpe", "sortino", "calmar", "profit_factor", "net_profit"];
/** Values of a range that are offered at first. */
const OFFERED = 8;

/** @typedef {{ name: string, root: HTMLElement, get: () => any, set: (value: any) => void, error: (why: string) => void, focus: () => void,
 *   off?: (away: boolean) => void }} Field */

/** @param {string} value */
const number = (value) => (value !== "" && Number.isFinite(Number(value)) ? Number(value) : value);

/** @param {App} app @param {(op: "backtest.run" | "backtest.optimize", args: Row) => Promise<ErrorBody | undefined>} send */
export function makeForm(app, send) {
  const { store } = app;
  /** @type {Row[]} */
  let strategies = [];
  let searching = false;
  /** @type {Field[]} */
  let parameters = [];
  /** Inputs of a range, by parameter. @type {Map<string, { on: HTMLInputElement, inputs: HTMLInputElement[], error: (why: string) => void }>} */
  const ranges = new Map();

  // -- fields: their names are the arguments of the op --
  const strategy = choice("strategy", "Strategy", []);
  const symbol = choice("symbol", "Market", []);
  const timeframe = choice("timeframe", "Timeframe", Object.keys(DAYS), "5m");
  const days = entry("days", "Last days", "7");
  const start = entry("start", "From", "", { type: "datetime-local" });
  const end = entry("end", "To", "", { type: "datetime-local" });
  const dates = check("dates", "From and to", false, () => period());
  const capital = entry("initial_capital", "Capital", "10000");
  const commission = entry("commission", "Commission", "0.001", { fraction: true });
  const slippage = entry("slippage", "Slippage", "0.0005", { fraction: true });
  const size = entry("risk.max_position_size", "Position size", "0.1", { fraction: true });
  const stop = entry("risk.stop_loss_fraction", "Stop loss", "0.02", { fraction: true, empty: "off" });
  const target = entry("risk.take_profit_fraction", "Take profit", "0.04", { fraction: true, empty: "off" });
  const trailing = entry("risk.trailing_stop_fraction", "Trailing stop", "", { fraction: true, empty: "off" });
  const fill = choice("fill", "Fills at", ["next_open", "close"]);
  const intrabar = choice("intrabar", "Inside a bar", ["stop_first", "four_ticks"]);
  const short = check("allow_short", "Short positions", true);
  const closing = check("close_open_positions_at_end", "Close at the end", true);
  const protections = check("protections", "Protections of the account", false);
  const trend = check("filters.trend_filter", "Trend filter", false);
  const emaLength = entry("filters.ema_length", "Length of its mean", "20", { unit: "bars" });
  const volume = check("filters.volume_filter", "Volume filter", false);
  const multiplier = entry("filters.volume_multiplier", "Times mean volume", "1.5");
  const objective = choice("objective", "Objective", OBJECTIVES);
  const evals = entry("max_evals", "Tries at most", "100");
  const train = entry("train_fraction", "In-sample part", "0.7", { fraction: true });
  const folds = entry("folds", "Walk-forward", "0");
  const constraints = entry("constraints", "Constraints", "", { type: "words", hint: "fast_period < slow_period" });
  /** @type {Field[]} */
  const conditions = [
    ...[strategy, symbol, timeframe, days, start, end, dates, capital, commission, slippage, size, stop, target],
    ...[trailing, fill, intrabar, short, closing, protections, trend, emaLength, volume, multiplier, objective],
    ...[evals, train, folds, constraints],
  ];

  const about = h("p", { class: "dim" });
  const own = h("div", { class: "bt-fields" });
  const search = h(
    "fieldset",
    { class: "bt-search" },
    h("legend", {}, "Search"),
    h("div", { class: "bt-fields" }, objective.root, evals.root, train.root, folds.root, constraints.root),
  );
  const said = h("p", { class: "outcome bad", role: "alert" });
  const submit = h("button", { type: "submit", class: "button primary" }, "Run");
  const modes = h(
    "div",
    { class: "chips bt-modes", role: "group", "aria-label": "What to do" },
    h("button", { type: "button", class: "chip", onclick: () => mode(false) }, "Backtest"),
    h("button", { type: "button", class: "chip", onclick: () => mode(true) }, "Optimise"),
  );
  const root = h(
    "form",
    { class: "bt-form", "aria-label": "New backtest", novalidate: true },
    modes,
    strategy.root,
    about,
    h("fieldset", {}, h("legend", {}, "Parameters"), own),
    search,
    h(
      "fieldset",
      {},
      h("legend", {}, "Bars"),
      h("div", { class: "bt-fields" }, symbol.root, timeframe.root, days.root, dates.root, start.root, end.root),
    ),
    h(
      "fieldset",
      {},
      h("legend", {}, "Account"),
      h("div", { class: "bt-fields" }, capital.root, size.root, commission.root, slippage.root),
    ),
    h(
      "fieldset",
      {},
      h("legend", {}, "Exits"),
      h("div", { class: "bt-fields" }, stop.root, target.root, trailing.root, fill.root),
    ),
    h(
      "details",
      {},
      h("summary", {}, "More conditions"),
      h(
        "div",
        { class: "bt-fields" },
        ...[intrabar, short, closing, protections, trend, emaLength, volume, multiplier].map((f) => f.root),
      ),
    ),
    h("div", { class: "bt-send" }, said, submit),
  );
  root.addEventListener("submit", (event) => {
    event.preventDefault();
    void go();
  });
  strategy.root.addEventListener("change", () => choose());
  timeframe.root.addEventListener("change", () => days.set(DAYS[timeframe.get()] ?? "7"));
  mode(false);
  period();

  const list = () => {
    const symbols = store.rows("markets").map((m) => String(m.symbol));
    options(symbol, symbols, String(store.get("symbol") ?? ""));
  };
  store.watch(["markets"], list);
  list();
  const allow = () => {
    submit.disabled = !(store.get("welcome")?.scopes ?? []).includes("bots");
    attr(submit, "title", submit.disabled ? "your token may not run backtests" : null);
  };
  store.watch(["welcome"], allow);
  allow();

  /** @param {boolean} on */
  function mode(on) {
    searching = on;
    [...modes.children].forEach((chip, i) => {
      attr(chip, "aria-pressed", String((i === 1) === on));
    });
    hide(search, !on);
    cls(own, on ? "bt-fields searching" : "bt-fields");
    for (const [name, { on: box, inputs }] of ranges) {
      hide(/** @type {HTMLElement} */ (box.closest(".bt-range")), !on);
      hide(/** @type {HTMLElement} */ (inputs[0]?.parentElement), !box.checked);
      parameters.find((f) => f.name === name)?.off?.(on && box.checked);
    }
    text(submit, on ? "Optimise" : "Run backtest");
  }

  let utc = settings.utc;
  /** The moments stay, they are written in the zone that the page shows. */
  function zone() {
    const moments = [start, end].map((field) => time(field.get(), utc));
    utc = settings.utc;
    for (const [i, field] of [start, end].entries()) {
      field.set(local(moments[i], utc));
      text(/** @type {HTMLElement} */ (field.root.querySelector(".unit")), utc ? "UTC" : "local");
    }
  }
  zone();
  store.watch(["settings"], () => {
    if (utc !== settings.utc) zone(); // else a date that is half typed would be lost
  });

  function period() {
    const between = dates.get();
    hide(days.root, between);
    hide(start.root, !between);
    hide(end.root, !between);
  }

  /** Makes the fields of the chosen strategy from its schema. @param {Row} [values] */
  function choose(values = {}) {
    const chosen = strategies.find((s) => s.id === strategy.get());
    text(about, chosen ? `${chosen.description}. Needs ${chosen.warmup} bars before its first word.` : "");
    ranges.clear();
    parameters = [];
    /** @type {HTMLElement[]} */
    const rows = [];
    for (const [name, schema] of Object.entries(chosen?.parameters?.properties ?? {})) {
      const value = values[name] ?? chosen?.defaults?.[name] ?? schema.default;
      const made = generated(name, schema, value);
      parameters.push(made);
      rows.push(made.root);
      if (schema.type === "integer" || schema.type === "number") rows.push(range(name, schema, Number(value)));
    }
    own.replaceChildren(...rows);
    mode(searching);
  }

  /** Least, most and step of one parameter. @param {string} name @param {Row} schema @param {number} value */
  function range(name, schema, value) {
    const whole = schema.type === "integer";
    const low = schema.minimum ?? 0;
    const high = Math.min(schema.maximum ?? Number.POSITIVE_INFINITY, value > 0 ? value * 2 : 1);
    const first = Math.max(low, whole ? Math.ceil(value / 2) : value / 2);
    const step = (high - first) / (OFFERED - 1);
    const given = [first, high, whole ? Math.max(1, Math.round(step)) : Number(step.toPrecision(2))];
    const on = h("input", { type: "checkbox", id: `bt-range-${name}` });
    const error = h("span", { class: "field-error", id: `bt-range-${name}-error` });
    const inputs = ["from", "to", "step"].map((part, i) =>
      h("input", {
        type: "text",
        inputmode: "decimal",
        onchange: spell,
        autocomplete: "off",
        "aria-label": `${words(name)}, ${part}`,
        "aria-describedby": error.id,
        value: String(given[i]),
      }),
    );
    on.addEventListener("change", () => mode(searching));
    ranges.set(name, {
      on,
      inputs,
      error: (why) => {
        text(error, why);
        for (const input of inputs) attr(input, "aria-invalid", why ? "true" : null);
      },
    });
    return h(
      "div",
      { class: "bt-range" },
      h(
        "label",
        { class: "check", for: on.id },
        on,
        h("span", { "aria-hidden": "true" }, "search"),
        h("span", { class: "hidden" }, `search ${words(name)}`),
      ),
      h("div", { class: "bt-span" }, ...inputs),
      error,
    );
  }

  /** @returns {Row} */
  function args() {
    /** @type {Row} */
    const found = {
      strategy: strategy.get(),
      symbol: symbol.get(),
      timeframe: timeframe.get(),
      initial_capital: capital.get(),
      fill: fill.get(),
      intrabar: intrabar.get(),
      commission: number(commission.get()),
      slippage: number(slippage.get()),
      risk: {
        max_position_size: number(size.get()),
        stop_loss_fraction: stop.get() === "" ? null : number(stop.get()),
        take_profit_fraction: target.get() === "" ? null : number(target.get()),
        trailing_stop_fraction: trailing.get() === "" ? null : number(trailing.get()),
      },
      filters: {
        trend_filter: trend.get(),
        ema_length: number(emaLength.get()),
        volume_filter: volume.get(),
        volume_multiplier: number(multiplier.get()),
      },
      allow_short: short.get(),
      close_open_positions_at_end: closing.get(),
      protections: protections.get(),
    };
    if (dates.get()) {
      found.start = time(start.get(), utc);
      found.end = time(end.get(), utc);
    } else {
      const length = number(days.get());
      found.start = typeof length === "number" ? Math.round(app.serverNow() - length * DAY) : length;
    }
    const searched = searching ? [...ranges].filter(([, { on }]) => on.checked) : [];
    const names = new Set(searched.map(([name]) => name));
    const fixed = parameters.filter(({ name }) => !names.has(name)).map((f) => [f.name, f.get()]);
    found.parameters = Object.fromEntries(fixed);
    if (!searching) return found;
    const spans = searched.map(([name, { inputs }]) => {
      const [min, max, step] = inputs.map((input) => number(input.value.trim()));
      return [name, { min, max, ...(step === "" ? {} : { step }) }];
    });
    return {
      ...found,
      ranges: Object.fromEntries(spans),
      objective: objective.get(),
      max_evals: number(evals.get()),
      train_fraction: number(train.get()),
      folds: number(folds.get()),
      constraints: String(constraints.get())
        .split(",")
        .map((one) => one.trim())
        .filter(Boolean),
      top: 100,
    };
  }

  async function go() {
    complain(undefined);
    if (submit.disabled) return;
    submit.disabled = true;
    const error = await send(searching ? "backtest.optimize" : "backtest.run", args());
    allow();
    complain(error);
  }

  /** Each refusal at its field; what belongs to none stands below. @param {ErrorBody | undefined} error */
  function complain(error) {
    for (const field of [...conditions, ...parameters]) field.error("");
    for (const { error: say } of ranges.values()) say("");
    text(said, error ? `${error.code}: ${error.message}` : "");
    /** @type {(() => void) | undefined} */
    let first;
    for (const { field, message } of error?.details?.fields ?? []) {
      const place = find(String(field));
      place?.error(message);
      first ??= place?.focus;
    }
    first?.();
  }

  /** @param {string} name of the wire @returns {{ error: (why: string) => void, focus: () => void } | undefined} */
  function find(name) {
    const [front = "", second = ""] = name.split(".");
    if (front === "ranges" && ranges.has(second)) {
      const { error, inputs } = /** @type {any} */ (ranges.get(second));
      return { error, focus: () => inputs[0].focus() };
    }
    if (front === "start" && !dates.get()) return days;
    if (front === "ranges" || front === "param_grid") return objective;
    const bare = front === "parameters" ? second : name;
    return (
      parameters.find((f) => f.name === bare) ??
      conditions.find((f) => f.name === name) ??
      conditions.find((f) => f.name === front)
    );
  }

  return {
    root,
    /** @param {Row[]} found */
    strategies(found) {
      // Asked again after a reconnection: what was typed stays.
      if (JSON.stringify(found) === JSON.stringify(strategies)) return;
      strategies = found;
      options(
        strategy,
        found.map((s) => String(s.id)),
        strategy.get() || String(found[0]?.id ?? ""),
      );
      choose();
    },
    /** Puts the conditions of an earlier one into the form. @param {Row} row @param {Row} [values] its parameters */
    load(row, values = row.parameters) {
      const { terms = {}, filters = {} } = row;
      strategy.set(row.strategy);
      symbol.set(row.symbol);
      timeframe.set(row.timeframe);
      choose(values);
      /** @type {[Field, any][]} */
      const pairs = [
        [capital, terms.initial_capital],
        [commission, terms.commission],
        [slippage, terms.slippage],
        [size, terms.max_position_size],
        [stop, terms.stop_loss],
        [target, terms.take_profit],
        [trailing, terms.trailing_stop],
        [fill, terms.fill],
        [intrabar, terms.path],
        [short, terms.allow_short],
        [closing, terms.close_at_end],
        [protections, Boolean(terms.protections)],
        [trend, filters.trend],
        [emaLength, filters.ema_length],
        [volume, filters.volume],
        [multiplier, filters.volume_multiplier],
        [dates, row.start_ts !== null && row.end_ts !== null],
        [start, local(row.start_ts, utc)],
        [end, local(row.end_ts, utc)],
      ];
      for (const [field, value] of pairs) field.set(value ?? "");
      period();
      mode(false);
      complain(undefined);
    },
  };
}

/** A moment of an input for dates, which has no zone of its own. @param {string} value @param {boolean} utc */
const time = (value, utc) => (value ? Date.parse(value + (utc ? "Z" : "")) : null);

/** @param {number | null | undefined} ms @param {boolean} utc */
const local = (ms, utc) => (ms ? stamp(ms, utc).replace(" ", "T") : "");

// -- kinds of fields -----------------------------------------------------------------------------

/** A parameter of a schema. @param {string} name @param {Row} schema @param {any} value @returns {Field} */
function generated(name, schema, value) {
  const label = words(name);
  if (schema.type === "boolean") return check(name, label, Boolean(value));
  if (Array.isArray(schema.enum))
    return choice(name, label, schema.enum.map(String), String(value), schema.description);
  const numeric = schema.type === "integer" || schema.type === "number";
  const low = schema.minimum ?? schema.exclusiveMinimum;
  const high = schema.maximum ?? schema.exclusiveMaximum;
  const unit = [low, high].every((x) => x === undefined)
    ? ""
    : low === undefined
      ? `≤ ${high}`
      : high === undefined
        ? `≥ ${low}`
        : `${low}–${high}`;
  const made = entry(name, label, String(value ?? ""), { unit, about: schema.description });
  return numeric ? { ...made, get: () => number(made.get()) } : made;
}

/**
 * @param {string} name @param {string} label @param {string} value
 * @param {{ type?: string, fraction?: boolean, empty?: string, unit?: string, hint?: string, about?: string }} [how]
 * @returns {Field}
 */
function entry(name, label, value, { type = "text", fraction, empty, unit: given = "", hint, about } = {}) {
  const id = `bt-${name.replace(".", "-")}`;
  const unit = h("span", { class: "unit" }, given);
  const error = h("span", { class: "field-error", id: `${id}-error` });
  const input = h("input", {
    id,
    name,
    type: type === "words" ? "text" : type,
    inputmode: type === "text" ? "decimal" : undefined,
    onchange: type === "text" ? spell : undefined,
    autocomplete: "off",
    spellcheck: "false",
    placeholder: hint,
    title: about,
    "aria-describedby": `${id}-error`,
    value,
  });
  const root = h(
    "div",
    { class: type === "text" ? "field" : "field whole" },
    h("div", { class: "field-head" }, h("label", { for: id }, label), unit),
    input,
    error,
  );
  const tell = () => {
    const typed = input.value.trim();
    if (empty && typed === "") text(unit, empty);
    else if (fraction) text(unit, isDecimal(typed) ? percentText(typed) : "");
  };
  input.addEventListener("input", tell);
  tell();
  return {
    name,
    root,
    get: () => input.value.trim(),
    set: (to) => {
      input.value = String(to);
      tell();
    },
    error: (why) => mark(input, error, why),
    focus: () => input.focus(),
    off: (away) => {
      input.disabled = away;
    },
  };
}

/** "0.0005" is said as "0.05 %". @param {string} fraction */
const percentText = (fraction) => `${trim(div(fraction, "0.01", 4))} %`.replace("-", "−");

/**
 * @param {string} name @param {string} label @param {string[]} values @param {string} [value] @param {string} [about]
 * @returns {Field}
 */
function choice(name, label, values, value, about) {
  const id = `bt-${name.replace(".", "-")}`;
  const error = h("span", { class: "field-error", id: `${id}-error` });
  const select = h("select", { id, name, title: about, "aria-describedby": error.id });
  const root = h(
    "div",
    { class: "field" },
    h("div", { class: "field-head" }, h("label", { for: id }, label)),
    select,
    error,
  );
  /** @type {Field} */
  const made = {
    name,
    root,
    get: () => select.value,
    set: (to) => {
      select.value = String(to);
    },
    error: (why) => mark(select, error, why),
    focus: () => select.focus(),
  };
  options(made, values, value ?? values[0] ?? "");
  return made;
}

/** @param {Field} field @param {string[]} values @param {string} value */
function options(field, values, value) {
  const select = /** @type {HTMLSelectElement} */ (field.root.querySelector("select"));
  const now = select.value || value;
  if (select.options.length !== values.length || values.some((v, i) => select.options[i]?.value !== v))
    select.replaceChildren(...values.map((v) => h("option", { value: v }, /[A-Z0-9/]/.test(v) ? v : words(v))));
  if (values.includes(now)) select.value = now;
}

/** @param {string} name @param {string} label @param {boolean} value @param {() => void} [changed] @returns {Field} */
function check(name, label, value, changed) {
  const error = h("span", { class: "field-error" });
  const box = h("input", { type: "checkbox", name, checked: value });
  if (changed) box.addEventListener("change", changed);
  return {
    name,
    root: h("div", { class: "field whole" }, h("label", { class: "check" }, box, label), error),
    get: () => box.checked,
    set: (to) => {
      box.checked = Boolean(to);
    },
    error: (why) => mark(box, error, why),
    focus: () => box.focus(),
  };
}

/** @param {HTMLElement} input @param {HTMLElement} error @param {string} why */
function mark(input, error, why) {
  text(error, why);
  attr(input, "aria-invalid", why ? "true" : null);
}

/** Parameters in one line. @param {Row | undefined} parameters */
export const settingsText = (parameters) =>
  Object.entries(parameters ?? {})
    .map(([name, value]) => `${words(name)} ${value}`)
    .join(", ");

/** A statistic of the server as people read it. @param {string} name @param {any} value */
export function figure(name, value) {
  if (value === null || value === undefined) return "–";
  if (FRACTIONS.has(name)) return percent(value, { plus: name.endsWith("return") || name === "cagr" });
  if (typeof value !== "number") return String(value);
  if (Number.isInteger(value)) return String(value).replace("-", "−");
  return (Math.abs(value) >= 100_000 ? value.toPrecision(6) : value.toFixed(2)).replace("-", "−");
}
const FRACTIONS = new Set([
  "win_rate",
  "total_return",
  "cagr",
  "max_drawdown",
  "volatility",
  "var_95",
  "es_95",
  "exposure",
  "buy_and_hold_return",
]);
