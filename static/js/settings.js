// What the page remembers on this machine: one versioned key; broken content is replaced by defaults.

const KEY = "realtime.page.1";
const DEFAULTS = {
  theme: /** @type {"system" | "dark" | "light"} */ ("system"),
  palette: "default",
  flash: true,
  /** Events that make a sound; `sound.js` has their names. @type {Record<string, boolean>} */
  sounds: {},
  /** Those that were on when all were silenced by one touch. @type {Record<string, boolean>} */
  silenced: {},
  /** When a single order is reviewed before it is sent: always, above a notional, never. */
  reviewPaper: "never",
  reviewLive: "always",
  reviewAbove: "1000",
  symbol: "",
  timeframe: "1m",
  utc: false,
  group: /** @type {Record<string, string>} */ ({}),
  tab: "positions",
  plan: "",
  stars: /** @type {string[]} */ ([]),
  overlays: ["volume"],
  /** Columns shown or not, by table and heading, where a person has chosen. */
  columns: /** @type {Record<string, Record<string, boolean> | undefined>} */ ({}),
  /** The account shown where there are several; "" is the first. */
  account: "",
};

/** @typedef {typeof DEFAULTS} Settings */

/** @returns {Settings} */
function load() {
  try {
    const [all, own] = [localStorage, sessionStorage].map((kept) => JSON.parse(kept.getItem(KEY) ?? "{}"));
    const found = { ...all, ...own };
    const fits = Object.entries(DEFAULTS).map(([name, value]) => {
      const kept = found[name];
      return [name, typeof kept === typeof value && kept !== null ? kept : value];
    });
    return Object.fromEntries(fits);
  } catch {
    return { ...DEFAULTS };
  }
}

export const settings = load();

/** @param {Partial<Settings>} patch */
export function remember(patch) {
  Object.assign(settings, patch);
  try {
    // Another tab may have chosen something else meanwhile.
    localStorage.setItem(KEY, JSON.stringify({ ...load(), ...patch }));
    // Where an order goes is this tab's: a reload must not take it from another one.
    const { symbol, account } = settings;
    sessionStorage.setItem(KEY, JSON.stringify({ symbol, account }));
  } catch {
    // Storage is full or forbidden: the page works, it only forgets.
  }
}
