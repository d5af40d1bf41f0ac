// Candles: history by market.ohlcv, then the channel ohlcv; fills as markers, orders and position as lines, overlays by
// switches. What lies over the candles is loaded after them.
import { decimals } from "../decimal.js";
import { attr, cls, h, keyed, styles, text } from "../dom.js";
import { direction, grouped, onStep, percentPoints, stamp } from "../format.js";
import { painter } from "../pace.js";
import { remember, settings } from "../settings.js";
import { marketOf, working } from "../trade.js";
import { watchAge } from "./head.js";

const FRAMES = /** @type {const} */ ({ "1m": 60, "5m": 300, "15m": 900, "1h": 3600, "4h": 14_400, "1d": 86_400 });
const PAGE = 500;
const MOST = 5000;
const SWITCHES = /** @type {const} */ ([
  ["ema", "EMA", "Averages of the strategy's lengths"],
  ["volume", "Volume", "Volume of each bar"],
  ["fvg", "FVG", "Fair value gaps that are not filled yet"],
  ["hours", "Hours", "Shades the hours in which bots may not enter"],
  ["signals", "Signals", "A dot where a bot's signal says buy or sell"],
]);

/** @param {number} n */
const volumeText = (n) => grouped(n.toFixed(n >= 1000 ? 0 : n >= 1 ? 2 : 5));

/** @param {HTMLElement} root @param {App} app */
export function mount(root, app) {
  const { store } = app;
  const buttons = Object.keys(FRAMES).map((name) =>
    h("button", { type: "button", class: "chip", "data-frame": name, onclick: () => choose(name) }, name),
  );
  const switches = SWITCHES.map(([name, label, about]) =>
    h(
      "button",
      { type: "button", class: "chip", title: about, "data-overlay": name, onclick: () => flip(name) },
      label,
    ),
  );
  const stampSlot = h("span", { class: "age", "aria-hidden": "true" });
  const credit = h(
    "a",
    { class: "credit", href: "https://www.tradingview.com/", target: "_blank", rel: "noopener noreferrer" },
    "Charts: TradingView Lightweight Charts™",
  );
  const head = h(
    "div",
    { class: "panel-head" },
    h("h2", { id: `${root.id}-title`, class: "hidden" }, "Chart"),
    h("div", { class: "chips", role: "group", "aria-label": "Timeframe" }, ...buttons),
    h("div", { class: "chips overlays", role: "group", "aria-label": "Shown on the chart" }, ...switches),
    stampSlot,
  );
  const zone = h("span", {});
  const foot = h("div", { class: "chart-foot" }, zone, credit);
  const legend = h("p", { class: "legend", "aria-hidden": "true" });
  const averages = h("p", { class: "averages", "aria-hidden": "true" });
  const amending = h("p", { class: "chart-said", role: "status" });
  const canvas = h("div", { class: "chart-canvas", "aria-hidden": "true" });
  const note = h("p", { class: "chart-note" });
  const said = h("p");
  const latest = h("tbody");
  const spoken = h(
    "div",
    { class: "hidden" },
    said,
    h(
      "table",
      {},
      h("caption", {}, "Last 20 bars"),
      h(
        "thead",
        {},
        h("tr", {}, ...["Time", "Open", "High", "Low", "Close", "Volume"].map((n) => h("th", { scope: "col" }, n))),
      ),
      latest,
    ),
  );
  root.setAttribute("aria-labelledby", `${root.id}-title`);
  const box = h(
    "div",
    { class: "chart-box" },
    canvas,
    h("div", { class: "legends" }, legend, averages, note),
    amending,
  );
  root.append(head, box, foot, spoken);
  watchAge(root, stampSlot, app, "view:bars");

  /** @type {Chart | null} */
  let chart = null;
  /** Loaded after the chart. @type {ReturnType<typeof import("../overlays.js").overlays> | null} */
  let over = null;
  /** @type {ReturnType<typeof import("./order-lines.js").orderLines> | null} */
  let held = null;
  /** Draws its lines. @type {(lines: Line[]) => void} */
  let lay = () => {};
  /** @type {Bar[]} */
  let bars = [];
  /** Which history is on the chart, or being fetched. */
  let shown = "";
  let loading = false;
  let finished = false;
  let closedThrough = 0;
  /** The time of the bar under the pointer. @type {number | undefined} */
  let hovered;

  const frame = () => /** @type {keyof typeof FRAMES} */ (settings.timeframe in FRAMES ? settings.timeframe : "1m");
  const seconds = () => FRAMES[frame()];
  const market = () => marketOf(store, store.get("symbol"));

  /** @param {string} name */
  function choose(name) {
    remember({ timeframe: name });
    app.select(store.get("symbol"));
    for (const b of buttons) attr(b, "aria-pressed", String(b.dataset.frame === name));
  }
  for (const b of buttons) attr(b, "aria-pressed", String(b.dataset.frame === settings.timeframe));

  const on = (/** @type {string} */ name) => Array.isArray(settings.overlays) && settings.overlays.includes(name);
  /** @param {string} name */
  function flip(name) {
    const now = Array.isArray(settings.overlays) ? settings.overlays : [];
    remember({ overlays: on(name) ? now.filter((n) => n !== name) : [...now, name] });
    store.touch("settings");
  }
  function switched() {
    for (const b of switches) attr(b, "aria-pressed", String(on(b.dataset.overlay ?? "")));
    chart?.setVolume(on("volume"));
    fetchOver();
    over?.refresh();
  }

  /** @param {any[]} row */
  const bar = ([ts, open, high, low, close, volume]) => ({
    time: ts / 1000,
    open: Number(open),
    high: Number(high),
    low: Number(low),
    close: Number(close),
    volume: Number(volume),
  });

  /** @param {number | undefined} until ms, for pages to the left @param {boolean} [keep] the view where it is */
  async function history(until, keep = until !== undefined) {
    const symbol = store.get("symbol");
    const name = `${symbol} ${settings.timeframe}`;
    if (!symbol || !chart || loading || app.link.state.state !== "live") return;
    loading = true;
    if (bars.length === 0) text(note, "Bars are on their way…");
    const reply = await app.commands.call("market.ohlcv", {
      symbol,
      timeframe: frame(),
      limit: PAGE,
      ...(until ? { until } : {}),
    });
    loading = false;
    const gone = until && shown !== name; // another choice and back: what older bars were to join
    if (gone || name !== `${store.get("symbol")} ${settings.timeframe}`) return void history(undefined);
    if (!reply.ok) {
      text(note, `No history: ${reply.error?.code}: ${reply.error?.message}`);
      return;
    }
    const page = /** @type {Bar[]} */ (reply.result.ohlcv.map(bar));
    const older = page.filter((b) => !until || b.time < /** @type {Bar} */ (bars[0]).time);
    finished = until !== undefined && older.length === 0;
    bars = until === undefined ? page : [...older, ...bars].slice(-MOST);
    shown = name;
    text(note, bars.length > 0 ? plain : "No bars yet: the first comes with the first trade.");
    if (until === undefined) closedThrough = reply.result.closed_through_ts ?? 0;
    chart.setBars(bars, keep);
    paint();
    speak();
    over?.refresh();
    overlays();
  }
  let plain = "";

  function live() {
    const data = store.value(store.get("view:bars"));
    const name = `${store.get("symbol")} ${settings.timeframe}`;
    if (!chart) return;
    if (shown !== name) {
      if (bars.length > 0) {
        bars = [];
        finished = false;
        chart.setBars(bars, false);
        shown = toldFor = "";
        text(said, "");
        latest.replaceChildren();
        lay([]);
        chart.setMarks([]);
        over?.refresh();
      }
      void history(undefined);
      return;
    }
    if (!data || data.timeframe !== settings.timeframe || data.symbol !== store.get("symbol")) return;
    const jump = (data.closed_through_ts - closedThrough) / 1000 / seconds();
    if (closedThrough && jump > 1.5) {
      if (loading) return;
      closedThrough = data.closed_through_ts;
      void history(undefined, true);
      return;
    }
    closedThrough = data.closed_through_ts ?? closedThrough;
    for (const row of data.ohlcv) {
      if (!row) continue;
      const next = bar(row);
      const last = bars.at(-1);
      if (last && next.time < last.time) continue;
      if (last?.time === next.time) bars.pop();
      bars.push(next);
      chart.update(next);
      if (last) continue;
      text(note, plain);
      overlays();
    }
  }

  function overlays() {
    if (!chart || bars.length === 0) return;
    fetchGrips();
    const symbol = store.get("symbol");
    const first = /** @type {Bar} */ (bars[0]).time;
    const size = seconds();
    const marks = new Map();
    for (const fill of store.list("fills")) {
      const time = Math.floor(fill.ts / 1000 / size) * size;
      if (fill.symbol === symbol && time >= first) marks.set(`${time}${fill.side}`, { time, side: fill.side });
    }
    const now = current();
    if (over && now) for (const dot of over.dots(now)) marks.set(`${dot.time}${dot.side}dot`, dot);
    chart.setMarks([...marks.values()].sort((a, b) => a.time - b.time));
    if (held) lay(held.lines());
  }

  /** What the candles show now; null while they show nothing, or another symbol. */
  function current() {
    const symbol = String(store.get("symbol") ?? "");
    const { timeframe } = settings;
    return bars.length > 0 && shown === `${symbol} ${timeframe}`
      ? { symbol, timeframe, bars, seconds: seconds() }
      : null;
  }

  function style() {
    const probe = h("span", { class: "hidden" });
    root.append(probe);
    const read = (/** @type {string} */ name) => {
      probe.style.color = `var(--${name})`;
      return getComputedStyle(probe).color;
    };
    const colours = {
      up: read("up"),
      down: read("down"),
      text: read("dim"),
      grid: read("line-soft"),
      accent: read("accent"),
      warn: read("warn"),
      dim: read("dim"),
    };
    probe.remove();
    chart?.style(colours, decimals(market()?.price_tick ?? "0.01"), settings.utc);
    text(zone, settings.utc ? "UTC" : Intl.DateTimeFormat().resolvedOptions().timeZone);
  }

  const paint = painter(root, 5, () => {
    live();
    const b = bars.find(({ time }) => time === hovered) ?? bars.at(-1);
    const digits = decimals(market()?.price_tick ?? "0.01");
    const n = (/** @type {number} */ value) => grouped(value.toFixed(digits));
    text(
      legend,
      b
        ? `O\u00a0${n(b.open)}  H\u00a0${n(b.high)}  L\u00a0${n(b.low)}  C\u00a0${n(b.close)}  V\u00a0${volumeText(b.volume)}`
        : "",
    );
    cls(legend, `legend ${b ? direction(b.close - b.open) : ""}`);
    const lengths = over?.values() ?? [];
    keyed(
      averages,
      lengths,
      (v) => v.name,
      () => h("span", {}),
      (span, v) => {
        text(span, v.value === undefined ? v.name : `${v.name}\u00a0${n(v.value)}  `);
        cls(span, v.tone === "accent" ? "average" : "average slow");
      },
    );
  });

  /** For screen readers: one sentence, and a table, made again when a bar closes. */
  let toldFor = "";
  function speak() {
    const last = bars.at(-1);
    if (!last || !current() || toldFor === `${shown} ${last.time}`) return;
    const day = store.value(store.get("view:ticker"));
    if (day) toldFor = `${shown} ${last.time}`;
    const tick = market()?.price_tick;
    text(
      said,
      `${store.get("symbol")}, ${settings.timeframe} bars: last ${onStep(day?.last, tick)}, ${percentPoints(day?.change_pct, { plus: true })} in 24 hours, high ${onStep(day?.high, tick)}, low ${onStep(day?.low, tick)}.`,
    );
    const rows = bars.slice(-20).reverse();
    const digits = decimals(tick ?? "0.01");
    const n = (/** @type {number} */ value) => grouped(value.toFixed(digits));
    latest.replaceChildren(
      ...rows.map((b) =>
        h(
          "tr",
          {},
          ...[stamp(b.time * 1000, settings.utc), ...[b.open, b.high, b.low, b.close].map(n), volumeText(b.volume)].map(
            (v) => h("td", {}, v),
          ),
        ),
      ),
    );
  }

  // After what trades: ticket and HALT do not wait for the chart.
  import("../chart.js")
    .then(({ libraryChart }) => libraryChart(canvas))
    .catch(async () => {
      const { plainChart } = await import("../plain-chart.js");
      plain =
        "Plain chart: the chart library is not installed. To add it: python hatch_build.py in the source tree, then reload.";
      text(note, plain);
      credit.hidden = true;
      return plainChart(canvas);
    })
    .then((made) => {
      chart = made;
      chart.onHover((b) => {
        hovered = b?.time;
        paint();
      });
      chart.onLeftEdge(() => {
        const first = bars[0];
        if (first && !loading && !finished && bars.length < MOST && shown) void history(first.time * 1000 - 1);
      });
      style();
      switched();
      paint();
      overlays();
    });

  /** What lies over the candles is loaded when there is something to lay. */
  const need = { over: false, held: false };
  function fetchOver() {
    if (need.over || !chart || !["ema", "fvg", "hours", "signals"].some(on)) return;
    need.over = true;
    const made = chart;
    Promise.all([import("../overlays.js"), made.curves()]).then(
      ([more, curves]) => {
        over = more.overlays(app, made, curves, current);
        app.link.watch(["config"]);
        over.refresh();
        overlays();
      },
      () => {
        need.over = false; // the next switch tries again
      },
    );
  }
  function fetchGrips() {
    const symbol = store.get("symbol");
    const own = (/** @type {Row} */ row) => row.symbol === symbol && working(row);
    if (need.held || !chart || ![...store.rows("orders"), ...store.rows("positions")].some(own)) return;
    need.held = true;
    const made = chart;
    Promise.all([import("./order-lines.js"), made.lines(), styles("grips.css")]).then(
      ([lines, draw]) => {
        lay = draw;
        held = lines.orderLines(box, app, made, (what) => text(amending, what), overlays);
        overlays();
      },
      () => {
        need.held = false;
      },
    );
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", style);
  store.watch(["ohlcv:", "view:bars", "symbol"], paint);
  store.watch(["symbol"], () => paint(true));
  store.watch(["ohlcv:"], speak);
  store.watch(["orders", "fills", "positions", "settings", "markets"], overlays);
  store.watch(["signals"], overlays);
  store.watch(["settings", "config"], switched);
  store.watch(["indicators:"], () => {
    over?.live();
    paint();
  });
  store.watch(["settings", "markets", "symbol"], style);
  let wasLive = false;
  store.watch(["link"], () => {
    const now = app.link.state.state === "live";
    if (now && !wasLive) {
      if (shown) void history(undefined, true);
      else paint();
    }
    wasLive = now;
  });
}
