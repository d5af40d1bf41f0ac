// Backtests: a form from the schemas, the runs there are with their progress, what one brought, several side by side.
// The list is asked for once; after that each run tells of itself on its own channel.
import { told } from "../commands.js";
import { curves } from "../curves.js";
import { decimals } from "../decimal.js";
import { dialog, failure } from "../dialog.js";
import { attr, cls, h, hide, table, text } from "../dom.js";
import { direction, grouped, NONE, percent, stamp, words } from "../format.js";
import { whenLive } from "../live.js";
import { painter } from "../pace.js";
import { settings } from "../settings.js";
import { marketOf, sideText, sideTone } from "../trade.js";
import { figure, makeForm, settingsText } from "./backtest-form.js";
import { heat } from "./heat.js";
import { grow, meter, say } from "./risk.js";

const ENDED = new Set(["done", "failed", "canceled", "interrupted"]);
const TONES = /** @type {Record<string, string>} */ ({ done: "", failed: "bad", interrupted: "warn", canceled: "dim" });
/** Runs and trades asked for at a time. */
const PAGE = 50;
/** Metrics as they are shown: the ones people decide by come first. */
const METRICS = /** @type {const} */ ([
  ["total_return", "Return"],
  ["net_profit", "Net profit"],
  ["buy_and_hold_return", "Buy and hold"],
  ["max_drawdown", "Drawdown"],
  ["sharpe", "Sharpe"],
  ["sortino", "Sortino"],
  ["calmar", "Calmar"],
  ["profit_factor", "Profit factor"],
  ["total_trades", "Trades"],
  ["win_rate", "Won"],
  ["avg_win", "Mean win"],
  ["avg_loss", "Mean loss"],
  ["expectancy", "Expectancy"],
  ["exposure", "In the market"],
  ["turnover", "Turnover"],
  ["fees_paid", "Fees"],
  ["volatility", "Volatility"],
  ["max_drawdown_bars", "Drawdown, bars"],
  ["bars", "Bars"],
]);
/** Colours of compared runs; each curve also carries its number. */
const COURSES = ["--accent", "--up", "--down", "--warn"];
const SIGNED = new Set(["total_return", "net_profit", "buy_and_hold_return", "expectancy"]);

/** @param {HTMLElement} root @param {App} app */
export function mount(root, app) {
  const { store, commands, link } = app;
  /** Newest first. @type {Map<string, Row>} */
  let runs = new Map();
  /** @type {string | null} */
  let older = null;
  let chosen = "";
  /** What is to be looked at was chosen so often; an answer to an earlier choice takes its place no more. */
  let choices = 0;
  const compared = /** @type {Set<string>} */ (new Set());

  const form = makeForm(app, async (op, args) => {
    const mine = ++choices;
    const reply = await commands.call(op, args);
    if (!reply.ok) return reply.error;
    take(reply.result);
    if (mine === choices) choose(String(reply.result.id));
    return undefined;
  });
  const said = h("p", { class: "warn", role: "status" });
  const compare = h("button", { type: "button", class: "small-button", onclick: () => void contrast() }, "Compare");
  const more = h("button", { type: "button", class: "small-button", onclick: () => void load(older) }, "Older");
  const list = h("div", { class: "bt-runs", tabindex: "0", role: "group", "aria-label": "Runs" });
  const result = h("section", { class: "bt-result", "aria-label": "Result" });
  root.append(
    h(
      "div",
      { class: "bt" },
      form.root,
      h(
        "div",
        { class: "bt-main" },
        h("section", { "aria-label": "Runs" }, h("h3", {}, "Runs ", compare, more), said, list),
        result,
      ),
    ),
  );
  const showRuns = table(
    list,
    "Backtests, newest first",
    [
      {
        head: "",
        kind: "pick",
        make: (r) => {
          const box = h("input", { type: "checkbox", "aria-label": `compare ${r.strategy} of ${r.symbol}` });
          box.addEventListener("change", () => {
            if (box.checked) compared.add(r.id);
            else compared.delete(r.id);
            paint(true);
          });
          return h("label", { class: "check" }, box);
        },
        cell: (r, cell) => hide(cell, r.kind !== "run" || r.status !== "done"),
      },
      { head: "Begun", kind: "num left", text: (r) => stamp(r.created_ts, settings.utc).slice(5) },
      {
        head: "Run",
        kind: "bt-name",
        make: (r) => h("button", { type: "button", class: "link", onclick: () => choose(r.id) }),
        cell: (r, cell) => {
          text(cell, `${words(r.strategy)}${r.kind === "optimize" ? ", search" : ""}`);
          attr(cell, "aria-pressed", String(r.id === chosen));
        },
      },
      { head: "Market", text: (r) => `${(r.symbols ?? [r.symbol]).join(", ")} ${r.timeframe}` },
      { head: "State", make: () => h("span", { class: "bt-state" }, meter(), h("span")), cell: state },
      { head: "Return", kind: "num", text: (r) => best(r).text, tone: (r) => direction(best(r).value) },
      { head: "Sharpe", kind: "num wide", text: (r) => figure("sharpe", metrics(r)?.sharpe) },
      { head: "Trades", kind: "num wide", text: (r) => figure("total_trades", metrics(r)?.total_trades) },
      {
        head: "",
        kind: "act",
        make: (r) =>
          h("button", { type: "button", class: "quiet", onclick: (/** @type {Event} */ e) => void end(r.id, e) }),
        cell: (r, cell) => {
          const word = ENDED.has(r.status) ? "Delete" : "Cancel";
          text(cell, word);
          attr(cell, "aria-label", `${word} ${r.strategy} of ${stamp(r.created_ts, settings.utc)}`);
        },
      },
    ],
    (r) => String(r.id),
    "No backtests yet. Choose a strategy and run it.",
  );
  const view = makeResult(result, app, form);

  const paint = painter(root, 4, () => {
    follow();
    showRuns([...runs.values()]);
    for (const id of compared) if (!runs.has(id)) compared.delete(id);
    compare.disabled = compared.size < 2;
    text(compare, compared.size > 1 ? `Compare ${compared.size}` : "Compare");
    hide(more, older === null);
    const row = runs.get(chosen);
    if (row) view.show(row);
    else if (chosen) {
      chosen = "";
      view.clear();
    }
  });

  /** Takes what the channels of running backtests say; those that are over are not followed any more. */
  function follow() {
    for (const row of [...runs.values()]) {
      if (ENDED.has(row.status)) continue;
      const newest = store.value(`backtest:${row.id}`);
      if (newest) take(newest);
    }
  }

  /** @param {Row} row */
  function take(row) {
    const id = String(row.id);
    const name = `backtest:${id}`;
    if (row.deleted) runs.delete(id);
    else if (runs.has(id)) runs.set(id, row);
    else runs = new Map([[id, row], ...runs]);
    if (!row.deleted && !ENDED.has(row.status)) link.watch([name]);
    else if (store.channel(name)) link.drop([name]);
    paint(true);
  }

  /** @param {string} id */
  function choose(id) {
    choices++;
    chosen = id;
    paint(true);
  }

  /** @param {string | null} [cursor] */
  async function load(cursor = null) {
    const reply = await commands.call("backtest.list", { limit: PAGE, ...(cursor ? { cursor } : {}) });
    text(said, reply.ok ? "" : told(reply.error));
    if (!reply.ok) return;
    /** @type {[string, Row][]} */
    const found = reply.result.backtests.map((/** @type {Row} */ r) => [String(r.id), r]);
    runs = new Map(cursor ? [...runs, ...found] : found);
    older = reply.result.next_cursor;
    for (const [id, row] of found) if (!ENDED.has(row.status)) link.watch([`backtest:${id}`]);
    paint(true);
  }

  /** Cancels what runs, deletes what is over. @param {string} id @param {Event} event */
  async function end(id, event) {
    const row = runs.get(id);
    if (!row) return;
    const button = /** @type {HTMLButtonElement} */ (event.currentTarget);
    const over = ENDED.has(row.status);
    if (over && row.status === "done") {
      const sure = await dialog({
        title: "Delete this backtest?",
        body: [h("p", {}, `${words(row.strategy)}, ${row.symbol} ${row.timeframe}: its curve and trades go with it.`)],
        yes: "Delete",
        tone: "danger",
      });
      if (!sure) return;
    }
    button.disabled = true;
    const reply = await commands.confirmed(over ? "backtest.delete" : "backtest.cancel", { backtest_id: id }, "Sure?");
    button.disabled = false;
    text(said, reply.ok ? "" : told(reply.error));
    if (reply.ok) take(reply.result);
    else if (reply.error?.code === "not_found") void load();
  }

  async function contrast() {
    const mine = ++choices;
    const reply = await commands.call("backtest.compare", { ids: [...compared].slice(0, 20) });
    if (mine !== choices) return;
    text(said, reply.ok ? "" : told(reply.error));
    if (!reply.ok) return;
    chosen = "";
    paint(true);
    view.compare(reply.result);
  }

  // Others start and end backtests too: their events say when to ask again.
  let known = 0;
  const heard = painter(root, 1, () => {
    const last = store.list("events").findLast((e) => /^backtest_/.test(e.event_type ?? e.event ?? e.type ?? ""));
    const ts = Number(last?.ts ?? 0);
    if (ts > known && known > 0) void load();
    known = Math.max(known, ts, 1);
  });
  store.watch(["backtest:", "settings"], () => paint());
  store.watch(["events", "link"], heard);

  whenLive(app, () => {
    void commands.call("backtest.strategies").then((reply) => {
      if (reply.ok) form.strategies(reply.result.strategies);
      text(said, reply.ok ? broken(reply.result.failed) : told(reply.error));
    });
    void load();
  });
  return {
    count: () => String([...runs.values()].filter((r) => !ENDED.has(r.status)).length || ""),
    watch: ["backtest:"],
  };
}

/** @param {Row[]} failed */
const broken = (failed) => failed.map(({ file, error }) => `${file} could not be loaded: ${error}`).join("; ");

/** @param {Row} row @returns {Row | undefined} */
const metrics = (row) => row.results?.metrics ?? row.results?.ranking?.[0]?.in_sample;

/** @param {Row} row */
function best(row) {
  const value = metrics(row)?.total_return ?? null;
  return { value, text: value === null ? NONE : percent(value, { plus: true }) };
}

/** @param {Row} row @param {HTMLElement} cell */
function state(row, cell) {
  const [bar, word] = /** @type {HTMLElement[]} */ ([...cell.children]);
  const going = row.status === "running";
  if (bar) {
    hide(bar, !going);
    grow(bar, row.progress, "Progress");
    bar.querySelector(".fill")?.classList.remove("high", "full");
  }
  if (!word) return;
  text(word, going ? `${Math.round(row.progress * 100)} %` : words(row.status));
  cls(word, TONES[row.status] ?? "dim");
}

// -- the result ----------------------------------------------------------------------------------

/** @param {HTMLElement} root @param {App} app @param {ReturnType<typeof makeForm>} form */
function makeResult(root, app, form) {
  const { store, commands } = app;
  let shown = "";
  let asked = "";
  /** @type {string | null} */
  let next = null;
  /** @type {Row[]} */
  let trades = [];
  /** @type {Row | undefined} */
  let row;

  const title = h("h3");
  const about = h("p", { class: "dim" });
  const said = h("p", { class: "warn", role: "status" });
  const use = h("button", { type: "button", class: "small-button", onclick: () => row && void apply(app, row) });
  const again = h(
    "button",
    { type: "button", class: "small-button", onclick: () => row && form.load(row) },
    "Copy into the form",
  );
  text(use, "Use these parameters");
  const buttons = h("div", { class: "bt-buttons" }, use, again);
  const box = h("div", { class: "curve-box" });
  const figures = h("dl", { class: "facts" });
  const list = h("div", { class: "bt-trades", tabindex: "0", role: "group", "aria-label": "Trades" });
  const further = h("button", { type: "button", class: "small-button", onclick: () => void page() }, "More trades");
  const run = h(
    "div",
    { class: "bt-run" },
    h("div", { class: "bt-curve" }, figures, box),
    h("h3", {}, "Trades ", further),
    list,
  );
  const ranking = h("div", { class: "bt-ranking", tabindex: "0", role: "group", "aria-label": "Ranking" });
  const map = h("div", { class: "bt-map" });
  const search = h("div", { class: "bt-search-result" }, h("h3", {}, "Map"), map, h("h3", {}, "Ranking"), ranking);
  const table_ = h("div", { class: "bt-compare", tabindex: "0", role: "group", "aria-label": "Comparison" });
  const courses = h("div", { class: "curve-box bt-courses" });
  const side = h("div", { class: "bt-compared" }, courses, table_);
  root.append(title, about, said, buttons, run, search, side);
  const chart = curves(box, store, [
    { name: "Equity", tone: "--accent", area: true },
    { name: "Drawdown", tone: "--down", area: true, pane: 1, fraction: true },
  ]);
  /** Returns of compared runs, made when they are first wanted. @type {ReturnType<typeof curves> | undefined} */
  let overlay;
  const heatMap = heat(map);
  const price = (/** @type {number} */ value) => {
    const tick = row ? marketOf(store, String(row.symbol))?.price_tick : undefined;
    return grouped(value.toFixed(tick ? decimals(tick) : 2));
  };
  const showTrades = table(
    list,
    "Trades, oldest first",
    [
      { head: "Entry", kind: "num left", text: (t) => stamp(t.entry_ts, settings.utc) },
      { head: "Exit", kind: "num left", text: (t) => stamp(t.exit_ts, settings.utc) },
      { head: "Side", text: (t) => sideText(t.side), tone: (t) => sideTone(t.side) },
      { head: "Amount", kind: "num", text: (t) => String(Number(t.amount.toPrecision(8))) },
      { head: "Entry price", kind: "num", text: (t) => price(t.entry_price) },
      { head: "Exit price", kind: "num", text: (t) => price(t.exit_price) },
      { head: "P/L", kind: "num", text: (t) => plus(t.pnl), tone: (t) => direction(t.pnl) },
      { head: "Return", kind: "num", text: (t) => percent(t.return, { plus: true }), tone: (t) => direction(t.return) },
      { head: "Fees", kind: "num wide", text: (t) => t.commission.toFixed(2) },
      { head: "Bars", kind: "num", text: (t) => String(t.bars_held) },
      { head: "Why", text: (t) => words(t.exit_reason) },
    ],
    (t) => String(t.id),
    "No trades.",
  );
  const showRanking = table(
    ranking,
    "Combinations by their in-sample objective",
    [
      { head: "#", kind: "num", text: (r) => String(r.place) },
      { head: "Parameters", kind: "long", text: (r) => r.text },
      { head: "In-sample", kind: "num", text: (r) => figure(r.objective, r.in_sample_objective) },
      { head: "Out-of-sample", kind: "num", text: (r) => figure(r.objective, r.out_of_sample_objective) },
      {
        head: "Return in / out",
        kind: "num wide",
        text: (r) =>
          `${figure("total_return", r.in_sample.total_return)} / ${figure("total_return", r.out_of_sample.total_return)}`,
      },
      {
        head: "Drawdown in / out",
        kind: "num wide",
        text: (r) =>
          `${figure("max_drawdown", r.in_sample.max_drawdown)} / ${figure("max_drawdown", r.out_of_sample.max_drawdown)}`,
      },
      {
        head: "Trades in / out",
        kind: "num wide",
        text: (r) => `${r.in_sample.total_trades} / ${r.out_of_sample.total_trades}`,
      },
      {
        head: "Holds",
        text: (r) => holds(r),
        tone: (r) => (r.overfit ? "warn" : ""),
      },
      {
        head: "",
        kind: "act",
        make: (r) =>
          h(
            "span",
            { class: "row-acts" },
            h(
              "button",
              {
                type: "button",
                class: "quiet",
                "aria-label": `Use combination ${r.place}`,
                onclick: () => row && void apply(app, row, r.parameters),
              },
              "Use",
            ),
            h(
              "button",
              {
                type: "button",
                class: "quiet",
                "aria-label": `Copy combination ${r.place} into the form`,
                onclick: () => row && form.load(row, r.parameters),
              },
              "Form",
            ),
          ),
      },
    ],
    (r) => `${r.run}|${r.place}`,
    "No combination could be ranked.",
  );

  /** @param {string} what run, search, compare or "" */
  function part(what) {
    hide(run, what !== "run");
    hide(search, what !== "search");
    hide(side, what !== "compare");
    hide(buttons, what !== "run");
    hide(said, what === "");
  }

  function clear() {
    shown = asked = "";
    row = undefined;
    part("");
    text(title, "Result");
    text(about, "Choose a run to see its equity, trades and metrics; tick several to compare them.");
  }
  clear();

  /** @param {Row} newest */
  function show(newest) {
    row = newest;
    const key = `${newest.id}|${newest.status}|${newest.status === "running" ? newest.progress : ""}`;
    if (shown === key) return;
    shown = key;
    text(title, `${words(newest.strategy)}, ${(newest.symbols ?? []).join(", ")} ${newest.timeframe}`);
    const when = `${stamp(newest.start_ts, settings.utc)} to ${stamp(newest.end_ts, settings.utc)}`;
    text(about, [when, settingsText(newest.parameters)].filter(Boolean).join(" · "));
    text(said, sentence(newest));
    cls(said, newest.error || newest.look_ahead || newest.results?.gaps?.missing_bars ? "warn" : "dim");
    const admin = (store.get("welcome")?.scopes ?? []).includes("admin");
    use.disabled = !admin;
    attr(use, "title", admin ? null : "your token may not change the configuration");
    const done = newest.status === "done";
    part(!done ? "none" : newest.kind === "run" ? "run" : "search");
    if (done && newest.kind === "run") return void showRun(newest);
    asked = "";
    if (!done) return;
    const { objective } = newest.results;
    heatMap.show(newest);
    /** @type {Row[]} */
    const all = newest.results.ranking;
    const names = Object.keys(all[0]?.parameters ?? {}).filter(
      (n) => new Set(all.map((r) => r.parameters[n])).size > 1,
    );
    showRanking(
      all.map((r, i) => ({
        ...r,
        run: newest.id,
        place: i + 1,
        objective,
        text: settingsText(names.length ? Object.fromEntries(names.map((n) => [n, r.parameters[n]])) : r.parameters),
      })),
    );
  }

  /** @param {Row} done */
  async function showRun(done) {
    const m = done.results.metrics;
    say(
      figures,
      METRICS.filter(([name]) => name in m).map(([name, label]) => [
        label,
        SIGNED.has(name) && typeof m[name] === "number" && name.endsWith("return")
          ? figure(name, m[name])
          : SIGNED.has(name) && typeof m[name] === "number"
            ? plus(m[name])
            : figure(name, m[name]),
        SIGNED.has(name) ? direction(m[name]) : "",
      ]),
    );
    if (asked === done.id) return;
    asked = done.id;
    trades = [];
    next = null;
    hide(further, true);
    showTrades([]);
    chart.show([[], []]);
    const reply = await commands.call("backtest.equity", { backtest_id: done.id });
    if (asked !== done.id) return;
    if (!reply.ok) text(said, told(reply.error));
    /** @type {[number, number, number][]} */
    const points = reply.result?.equity ?? [];
    chart.show([points.map(([t, v]) => [t, v]), points.map(([t, , d]) => [t, -d])]);
    await page();
  }

  async function page() {
    const [id, before] = [asked, trades];
    further.disabled = true;
    const reply = await commands.call("backtest.trades", {
      backtest_id: id,
      limit: PAGE,
      ...(next ? { cursor: next } : {}),
    });
    further.disabled = false;
    if (asked !== id || trades !== before) return;
    if (!reply.ok) return text(said, told(reply.error));
    trades = [...trades, ...reply.result.trades];
    next = reply.result.next_cursor;
    hide(further, next === null);
    showTrades(trades);
  }

  /** @param {Row} found of backtest.compare */
  function contrast(found) {
    clear();
    part("compare");
    text(title, "Comparison");
    text(about, "Returns of the first four by their numbers; ★ marks the best of a row.");
    text(said, "");
    const { backtests } = /** @type {{ backtests: Row[] }} */ (found);
    void grown(backtests);
    const row_ = (/** @type {string} */ name, /** @type {string[]} */ values) =>
      h("tr", {}, h("th", { scope: "row" }, name), ...values.map((v) => h("td", { class: "num" }, v)));
    const lines = METRICS.filter(([name]) => name in found.metrics).map(([name, label]) => {
      const values = backtests.map((b) => found.metrics[name][b.id]);
      const numbers = values.filter((v) => typeof v === "number");
      const least = name.startsWith("max_drawdown") || name === "volatility" || name === "fees_paid";
      const top =
        BEST.has(name) && new Set(numbers).size > 1 ? (least ? Math.min(...numbers) : Math.max(...numbers)) : null;
      return row_(
        label,
        values.map((v) => `${v !== null && v === top ? "★ " : ""}${figure(name, v)}`),
      );
    });
    const names = [...new Set(backtests.flatMap((b) => Object.keys(b.parameters ?? {})))];
    const differing = names.filter((n) => new Set(backtests.map((b) => b.parameters?.[n])).size > 1);
    table_.replaceChildren(
      h(
        "table",
        { class: "rows bt-side" },
        h("caption", { class: "hidden" }, "Metrics side by side"),
        h(
          "thead",
          {},
          h(
            "tr",
            {},
            h("th", { scope: "col" }, "Metric"),
            ...backtests.map((b, i) =>
              h(
                "th",
                { scope: "col", class: "num" },
                `${i + 1} · ${words(b.strategy)} ${b.symbols.join(", ")} ${b.timeframe}`,
              ),
            ),
          ),
        ),
        h(
          "tbody",
          {},
          row_(
            "From",
            backtests.map((b) => stamp(b.start_ts, settings.utc)),
          ),
          row_(
            "To",
            backtests.map((b) => stamp(b.end_ts, settings.utc)),
          ),
          ...differing.map((n) =>
            row_(
              words(n),
              backtests.map((b) => String(b.parameters?.[n] ?? NONE)),
            ),
          ),
          ...lines,
        ),
      ),
    );
  }

  /** Growth of the compared runs over one another. @param {Row[]} backtests */
  async function grown(backtests) {
    const mine = backtests.map((b) => b.id).join();
    asked = mine;
    overlay ??= curves(
      courses,
      store,
      COURSES.map((tone, i) => ({ name: String(i + 1), tone, fraction: true })),
    );
    overlay.show([]);
    const shown_ = backtests.slice(0, COURSES.length);
    const replies = await Promise.all(
      shown_.map((b) => commands.call("backtest.equity", { backtest_id: String(b.id) })),
    );
    if (asked !== mine) return;
    const wrong = replies.find((reply) => !reply.ok);
    text(said, wrong ? told(wrong.error) : "");
    overlay.show(
      replies.map((reply) => {
        /** @type {[number, number, number][]} */
        const points = reply.result?.equity ?? [];
        const first = points[0]?.[1] ?? 1;
        return points.map(([t, v]) => [t, v / first - 1]);
      }),
    );
  }

  return { show, clear, compare: contrast };
}

/** Metrics of which one can be the best. */
const BEST = new Set(
  "total_return net_profit max_drawdown sharpe sortino calmar profit_factor win_rate expectancy fees_paid volatility".split(
    " ",
  ),
);

const plus = (/** @type {number} */ value) => `${value > 0 ? "+" : ""}${grouped(value.toFixed(2))}`;

/** Whether the objective held out-of-sample; of a loss in-sample there is nothing to hold. @param {Row} row */
const holds = (row) => (row.overfit ? "overfit" : row.in_sample_objective > 0 ? "yes" : NONE);

const SKIPPED = /** @type {Record<string, string>} */ ({
  constraint: "broke a constraint",
  parameters: "the strategy refused",
  failed: "failed",
});

/** What is to be known before the numbers. @param {Row} row */
function sentence(row) {
  if (row.error) return `${words(row.status)}: ${row.error.code}: ${row.error.message}`;
  if (row.status === "queued") return "Waits for its turn.";
  if (row.status === "running") {
    const tried = row.partial?.tried === undefined ? "" : `, ${row.partial.tried} combinations tried`;
    return `Runs: ${Math.round(row.progress * 100)} %${tried}.`;
  }
  if (row.status !== "done") return `It was ${words(row.status)}.`;
  const { gaps, open, skipped, tried } = row.results ?? {};
  const left = Object.entries(skipped ?? {}).map(([why, count]) => `${count} ${SKIPPED[why] ?? words(why)}`);
  return [
    row.look_ahead ? "It fills at the close it decides by: better than anybody can trade." : "",
    gaps?.missing_bars ? `${gaps.missing_bars} bars are missing in ${gaps.count} gaps.` : "",
    open?.length ? `${open.length} positions are still open at the end.` : "",
    row.kind === "optimize" ? `${tried} combinations were tried.` : "",
    left.length > 0 ? `Left out: ${left.join(", ")}.` : "",
  ]
    .filter(Boolean)
    .join(" ");
}

/** Puts parameters into the configuration, after showing what would change. @param {App} app @param {Row} row @param {Row} [wanted] */
async function apply(app, row, wanted = row.parameters) {
  const { commands } = app;
  const now = await commands.call("config.strategy.get", { name: row.strategy });
  if (!now.ok) return void failure("Refused", told(now.error));
  const { parameters, version } = now.result;
  const changes = Object.entries(wanted ?? {}).filter(([name, value]) => parameters[name] !== value);
  if (changes.length === 0) {
    await dialog({
      title: "Nothing would change",
      body: [h("p", {}, `${words(row.strategy)} has these parameters already (version ${version}).`)],
      yes: "Close",
      no: null,
    });
    return;
  }
  const answer = await dialog({
    title: `Use these parameters for ${words(row.strategy)}?`,
    body: [
      h("p", {}, "They count for every bot that uses the strategy, from its next decision."),
      h(
        "table",
        { class: "diff" },
        h("caption", { class: "hidden" }, "What would change"),
        h("thead", {}, h("tr", {}, ...["Parameter", "Now", "New"].map((head) => h("th", { scope: "col" }, head)))),
        h(
          "tbody",
          {},
          ...changes.map(([name, value]) =>
            h(
              "tr",
              {},
              h("th", { scope: "row" }, words(name)),
              h("td", {}, String(parameters[name] ?? NONE)),
              h("td", {}, h("strong", {}, String(value))),
            ),
          ),
        ),
      ),
    ],
    yes: `Change ${changes.length} ${changes.length === 1 ? "parameter" : "parameters"}`,
    focus: "no",
  });
  if (!answer) return;
  const reply = await commands.confirmed(
    "config.strategy.set",
    { name: row.strategy, params: Object.fromEntries(changes), version },
    `Use these parameters for ${words(row.strategy)}?`,
  );
  if (!reply.ok) return void failure("Refused", told(reply.error));
  await dialog({
    title: "Changed",
    body: [h("p", { role: "status" }, `In force as version ${reply.result.version} of the configuration.`)],
    yes: "Close",
    no: null,
  });
}
