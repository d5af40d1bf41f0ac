// Over the candles: averages, fair value gaps, shut hours, signals. Values are the server's: history by op, then the
// channels `indicators` and `signals`; which averages and hours, by `config`.
import { shut, shutSpans } from "./hours.js";
import { paintLayers } from "./layers.js";
import { settings } from "./settings.js";

/** @typedef {{ symbol: string, timeframe: string, bars: Bar[], seconds: number }} Shown */

/** Bars that the server computes at once. */
const MOST = 1500;
/** Where the server gave no history it is asked again after this [ms]. */
const PATIENCE = 20_000;
const AVERAGES = /** @type {const} */ ([
  ["fast", "ema_fast", "accent"],
  ["slow", "ema_slow", "warn"],
]);

/** Whether an overlay is switched on. @param {string} name */
export const on = (name) => Array.isArray(settings.overlays) && settings.overlays.includes(name);

/**
 * @param {App} app @param {Chart} chart @param {Curves} lines of the chart
 * @param {() => Shown | null} shown what the candles show; null while they show nothing
 */
export function overlays(app, chart, lines, shown) {
  const { store, link } = app;
  /** Channels followed, by what for. @type {Map<string, string>} */
  const followed = new Map();
  /** @type {Map<string, { id: string, tone: "accent" | "warn", length: number, points: Point[], bars: number, next: number }>}
   *   bars: how many were asked for; next: when to ask again where none were told, ms */
  const averages = new Map();
  /** Gaps by when they began and which way: those of history, overlaid by those of the channel. @type {Map<string, Row>} */
  const gaps = new Map();
  /** What averages and gaps are of; another one clears them. */
  let subject = "";
  let asked = 0;

  const config = () => store.value("config")?.config;

  /** @param {string} what @param {string | null} name */
  function follow(what, name) {
    const old = followed.get(what);
    if (old === (name ?? undefined)) return false;
    if (old) link.drop([old]);
    if (name) {
      followed.set(what, name);
      link.watch([name]);
    } else followed.delete(what);
    return true;
  }

  /** Brings channels and history in line with what is shown and switched on. */
  function refresh() {
    const now = shown();
    const sections = config();
    const key = now ? `${now.symbol} ${now.timeframe}` : "";
    if (key !== subject) {
      subject = key;
      averages.clear();
      gaps.clear();
    }
    if (!now) {
      for (const what of [...followed.keys()]) follow(what, null);
      lines.set([]);
      return layers();
    }
    const base = `indicators:${now.symbol}`;
    for (const [what, field, tone] of AVERAGES) {
      const length = Number(sections?.strategy?.[field] ?? 0);
      const wanted = on("ema") && length > 0;
      follow(what, wanted ? `${base}?length=${length}&name=ema&timeframe=${now.timeframe}` : null);
      if (!wanted) averages.delete(what);
      else {
        if (averages.get(what)?.length !== length)
          averages.set(what, { id: what, tone, length, points: [], bars: 0, next: 0 });
        if ((averages.get(what)?.bars ?? 0) < Math.min(MOST, now.bars.length)) void average(what, now);
      }
    }
    if (follow("fvg", on("fvg") ? `${base}?name=fvg&timeframe=${now.timeframe}` : null)) {
      gaps.clear();
      if (on("fvg")) void zones(now);
    }
    if (on("signals")) link.watch(["signals"]);
    curves();
    layers();
  }

  /** The average over the bars that stand. @param {string} what @param {Shown} now */
  async function average(what, now) {
    const mine = averages.get(what);
    if (!mine || link.state.state !== "live") return;
    mine.bars = Math.min(MOST, Math.max(2, now.bars.length));
    mine.next = Date.now() + PATIENCE;
    const reply = await app.commands.call("indicator.compute", {
      name: "ema",
      params: { length: mine.length },
      symbol: now.symbol,
      timeframe: /** @type {"1m"} */ (now.timeframe),
      limit: mine.bars,
    });
    if (!reply.ok || averages.get(what) !== mine) return;
    const newer = mine.points.filter((p) => p.time * 1000 > (reply.result.values.at(-1)?.[0] ?? 0));
    mine.points = reply.result.values
      .filter((/** @type {[number, number | null]} */ [, value]) => value !== null)
      .map((/** @type {[number, number]} */ [ts, value]) => ({ time: ts / 1000, value }));
    mine.points.push(...newer);
    curves();
  }

  /** @param {Shown} now */
  async function zones(now) {
    const mine = ++asked;
    const reply = await app.commands.call("indicator.fvg", {
      symbol: now.symbol,
      timeframe: /** @type {"1m"} */ (now.timeframe),
      limit: Math.min(MOST, Math.max(3, now.bars.length)),
    });
    if (mine !== asked || !reply.ok || !on("fvg") || subject !== `${now.symbol} ${now.timeframe}`) return;
    for (const zone of reply.result.zones) if (!gaps.has(keyOf(zone))) gaps.set(keyOf(zone), zone);
    layers();
  }

  /** New values of the channels. */
  function live() {
    const now = shown();
    if (!now) return;
    for (const [what, curve] of averages) {
      const value = store.value(followed.get(what) ?? "");
      if (typeof value?.value !== "number") continue;
      if (curve.points.length < 20 && now.bars.length > 40 && Date.now() > curve.next) void average(what, now);
      const point = { time: value.ts / 1000, value: value.value };
      const last = curve.points.at(-1);
      if (last && point.time < last.time) continue;
      if (last?.time === point.time) curve.points.pop();
      // After a gap (a connection that was lost) the bars between are asked for.
      else if (last && point.time - last.time > now.seconds) void average(what, now);
      curve.points.push(point);
      lines.extend(what, point);
    }
    const rows = store.value(followed.get("fvg") ?? "")?.zones;
    if (!rows) return;
    for (const zone of rows) gaps.set(keyOf(zone), zone);
    recheck(rows, now);
    layers();
  }

  /**
   * A gap older than those of the channel may have been filled since it was asked for: looked up once a bar, where the
   * price is in one.
   * @param {Row[]} rows of the channel @param {Shown} now
   */
  function recheck(rows, now) {
    const oldest = rows[0]?.start_ts ?? 0;
    const bar = now.bars.at(-1);
    if (!bar || bar.time === checked) return;
    const old = [...gaps].filter(([, zone]) => zone.start_ts < oldest && zone.status !== "filled");
    if (!old.some(([, zone]) => bar.low <= zone.gap_high && bar.high >= zone.gap_low)) return;
    checked = bar.time;
    for (const [key] of old) gaps.delete(key);
    void zones(now);
  }
  let checked = 0;

  /** @param {Row} zone */
  const keyOf = (zone) => `${zone.start_ts} ${zone.direction}`;

  function curves() {
    const times = new Set(shown()?.bars.map((b) => b.time));
    lines.set(
      [...averages.values()].map(({ id, tone, points }) => ({
        id,
        tone,
        points: points.filter((p) => times.has(p.time)),
      })),
    );
  }

  /** Gaps and shut hours. */
  function layers() {
    const now = shown();
    const sections = config();
    const closed = on("hours") && now?.timeframe !== "1d" ? shut(sections?.trading_window, sections?.timezone) : null;
    const under = {
      spans: now ? hours(now, closed) : [],
      zones: [...gaps.values()]
        .filter((z) => z.status !== "filled")
        .map((z) => ({
          from: z.start_ts / 1000,
          to: null,
          low: z.gap_low,
          high: z.gap_high,
          tone: z.direction === "bullish" ? /** @type {const} */ ("up") : /** @type {const} */ ("down"),
        })),
    };
    chart.setLayers((pen, times, at, colours) => paintLayers(pen, under, times, at, colours));
  }
  /** They change only with a bar or the config: a zone's calendar is slow. */
  let known = { key: "", spans: /** @type {[number, number][]} */ ([]) };
  /** @param {Shown} now @param {((ms: number) => boolean) | null} closed */
  function hours(now, closed) {
    const key = `${subject} ${now.bars.length} ${now.bars.at(-1)?.time} ${closed !== null} ${store.value("config")?.version}`;
    if (known.key !== key) {
      known = {
        key,
        spans: shutSpans(
          now.bars.map((b) => b.time),
          closed,
        ),
      };
    }
    return known.spans;
  }

  return {
    refresh,
    live,
    /** Signals to buy or sell, one a bar and side. @param {Shown} now @returns {Mark[]} */
    dots(now) {
      if (!on("signals")) return [];
      const first = now.bars[0]?.time ?? 0;
      const found = new Map();
      for (const { ts, combined, symbol } of store.list("signals")) {
        const action = combined?.action;
        const time = Math.floor(ts / 1000 / now.seconds) * now.seconds;
        if (symbol === now.symbol && (action === "buy" || action === "sell") && time >= first)
          found.set(`${time}${action}`, { time, side: action, dot: true });
      }
      return [...found.values()];
    },
    /** The newest values, for the legend. @returns {{ name: string, tone: string, value: number | undefined }[]} */
    values: () =>
      [...averages.values()].map(({ tone, length, points }) => ({
        name: `EMA ${length}`,
        tone,
        value: points.at(-1)?.value,
      })),
  };
}
