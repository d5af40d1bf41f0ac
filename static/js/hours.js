// When the trading window is shut, by the config of the server: for the shading of the chart only; the server decides.

const DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/** @param {string} clock "08:30" @returns {number} minutes after midnight */
function minutes(clock) {
  const [hour, minute] = String(clock).split(":");
  return Number(hour) * 60 + Number(minute ?? 0);
}

/**
 * A function that says whether a time [ms] lies outside the window; null when it is never shut.
 * @param {Row | undefined} window section `trading_window` @param {string | undefined} zone of everything, where the window has none
 * @returns {((ms: number) => boolean) | null}
 */
export function shut(window, zone) {
  if (!window?.enabled) return null;
  /** @type {{ days: Set<number>, start: number, end: number }[]} */
  const spans = (window.windows ?? [{ start: `${window.start_hour}:00`, end: `${window.end_hour}:00` }]).map(
    (/** @type {Row} */ one) => ({
      days: new Set((one.days ?? DAYS).map((/** @type {string} */ day) => DAYS.indexOf(day))),
      start: minutes(one.start) % 1440,
      end: minutes(one.end),
    }),
  );
  /** @type {{ from_ts: number, to_ts: number }[]} */
  const blackouts = window.blackouts ?? [];
  const always = spans.some(
    ({ days, start, end }) => days.size === 7 && (start === end || (start === 0 && end === 1440)),
  );
  if (always && blackouts.length === 0) return null;
  const there = clockOf(window.timezone ?? zone ?? "UTC");
  return (ms) => {
    if (blackouts.some((b) => b.from_ts <= ms && ms < b.to_ts)) return true;
    if (always) return false;
    const { day, minute } = there(ms);
    return !spans.some(({ days, start, end }) =>
      start < end
        ? days.has(day) && minute >= start && minute < end
        : (days.has(day) && minute >= start) || (days.has((day + 6) % 7) && minute < end),
    );
  };
}

/** The wall clock of a zone: weekday (Monday 0) and minute of the day. @param {string} zone */
function clockOf(zone) {
  const format = new Intl.DateTimeFormat("en-GB", {
    timeZone: zone,
    weekday: "short",
    hour: "2-digit",
    minute: "2-digit",
    hourCycle: "h23",
  });
  return (/** @type {number} */ ms) => {
    const found = Object.fromEntries(format.formatToParts(ms).map(({ type, value }) => [type, value]));
    return {
      day: DAYS.indexOf(String(found.weekday).toLowerCase()),
      minute: Number(found.hour) * 60 + Number(found.minute),
    };
  };
}

/**
 * The bars that open while the window is shut, joined.
 * @param {number[]} times of bars [s], ascending @param {((ms: number) => boolean) | null} closed
 * @returns {[from: number, to: number][]} first and last bar of each [s]
 */
export function shutSpans(times, closed) {
  /** @type {[number, number][]} */
  const found = [];
  if (!closed) return found;
  let open = true;
  for (const time of times) {
    const now = !closed(time * 1000);
    const last = found.at(-1);
    if (!now && open) found.push([time, time]);
    else if (!now && last) last[1] = time;
    open = now;
  }
  return found;
}
