// Wiring: store, link, commands, panels. What is on the screen and which channels feed it.
import { Commands } from "./commands.js";
import { stamp } from "./format.js";
import { listen } from "./keys.js";
import { Link } from "./link.js";
import { afterFrame, onFrame, wake } from "./pace.js";
import * as account from "./panels/account.js";
import * as banner from "./panels/banner.js";
import * as bots from "./panels/bots.js";
import * as header from "./panels/header.js";
import * as markets from "./panels/markets.js";
import * as orderbook from "./panels/orderbook.js";
import * as phone from "./panels/phone.js";
import * as price from "./panels/price.js";
import * as strip from "./panels/strip.js";
import * as tables from "./panels/tabs.js";
import * as tape from "./panels/tape.js";
import * as ticket from "./panels/ticket.js";
import { remember, settings } from "./settings.js";
import { Store } from "./store.js";
import { ACCOUNT } from "./trade.js";

const ALWAYS = ["markets", ...ACCOUNT, "bots", "status", "alerts", "events"];

/** Shown where nothing else was chosen. */
const USUAL = "BTC/USDT";

const store = new Store();
store.wake = wake;
const link = new Link(store);
link.account = settings.account;
const commands = new Commands(link, store);
/** Newest proof of life per venue, from heartbeats. @type {Record<string, number>} */
let beats = {};

/** @typedef {typeof app} App */
export const app = {
  store,
  link,
  commands,

  /** The server's clock, ms. */
  serverNow: () => Date.now() + (link.state.offset ?? 0),

  /** active, reducing or halted, by the newest word of the server. @returns {string | undefined} */
  tradingState: () =>
    store.value("status")?.trading_state ?? store.value("risk")?.trading_state ?? store.get("welcome")?.trading_state,

  /** Id of the account that is shown. @returns {string | undefined} */
  venue: () => link.account || (store.value("status") ?? store.get("welcome"))?.venues?.[0]?.id,

  /** Newest proof of life of a venue, ms of the server's clock. @param {string} venue @returns {number | undefined} */
  proof: (venue) => beats[venue],

  /** Age of the source of what is shown; stale only by the server's word. */
  feed() {
    const names = ["ticker", "book", "trades", "bars"].map((slot) => String(store.get(`view:${slot}`)));
    const late = names.map((name) => store.channel(name)).find((entry) => entry?.stale);
    const asof = Math.max(beats[this.venue() ?? ""] ?? 0, ...names.map((name) => store.channel(name)?.asof ?? 0));
    const since = late?.staleSince || asof;
    return {
      what: `The feed of ${store.get("symbol") ?? "the market"}`,
      stale: link.state.state !== "lost" && late !== undefined,
      cause: late?.cause,
      known: asof > 0,
      age: this.serverNow() - (late ? since : asof),
    };
  },

  /**
   * Another account: the page begins anew, so that nothing of one can be taken for the other's.
   * @param {string} account "" for the first one
   */
  show(account) {
    remember({ account });
    location.reload();
  },

  /** Shows a symbol: the old one's channels end, its panels clear, late messages find no key. @param {string} symbol */
  select(symbol) {
    if (!symbol) return;
    const group = settings.group[symbol];
    follow("ticker", `ticker:${symbol}`);
    follow("book", `orderbook:${symbol}?depth=25${group ? `&group=${group}` : ""}&rate=100`);
    follow("trades", `trades:${symbol}`);
    follow("bars", `ohlcv:${symbol}?timeframe=${settings.timeframe}`);
    if (store.get("symbol") !== symbol) {
      store.set("symbol", symbol);
      remember({ symbol });
    }
  },

  /** An alert acknowledged from here; the channel tells of new alerts only. @param {string} id */
  acknowledged(id) {
    for (const alert of store.list("alerts"))
      if (String(alert.id) === id) alert.acked_by = store.get("welcome")?.subject ?? "me";
    store.touch("alerts");
  },
};

/** One channel per slot; the key `view:slot` names it. @param {string} slot @param {string} name */
function follow(slot, name) {
  const old = store.get(`view:${slot}`);
  if (old === name) return;
  if (old) link.drop([old]);
  store.set(`view:${slot}`, name);
  link.watch([name]);
}

onFrame(() => store.flush());
afterFrame(() => link.painted());

/** Asks for a token; loaded where the server wants one. */
const signIn = () => void import("./sign-in.js").then((late) => late.signIn(app));

link.onMessage = (m) => {
  commands.take(m);
  if (m.type === "welcome") {
    store.set("welcome", m);
    /** @type {string[]} */
    const ids = (m.venues ?? []).map((/** @type {{ id: string }} */ v) => v.id);
    // The account of last time may be gone, or the first one now, which has no mark.
    if (link.account && ids.length > 0 && ids.indexOf(link.account) < 1) app.show("");
    if (m.auth === "required") signIn();
    else if (m.scopes?.includes("admin")) link.watch(["logs"]);
  }
  if (m.type === "heartbeat") {
    beats = m.asof ?? {};
    store.touch("beat");
  }
};
store.watch(["link"], () => {
  if (link.state.state === "stopped" && link.state.code === 4401) signIn();
});

function theme() {
  if (settings.theme === "system") document.documentElement.removeAttribute("data-theme");
  else document.documentElement.dataset.theme = settings.theme;
  document.documentElement.dataset.palette = settings.palette;
}
store.watch(["settings"], theme);
theme();

let sounding = false;
/** Tones are loaded when one is switched on: most people want none. */
function sound() {
  if (sounding || !Object.values(settings.sounds).includes(true)) return;
  sounding = true;
  void import("./sound.js").then((tones) => tones.listen(app));
}
store.watch(["settings"], sound);
sound();

let sure = false;
store.watch(["markets"], () => {
  const symbols = store.rows("markets").map((row) => String(row.symbol));
  if (symbols.length === 0 || sure) return;
  sure = true;
  if (!symbols.includes(store.get("symbol"))) app.select(symbols.includes(USUAL) ? USUAL : (symbols[0] ?? ""));
});

/** The ticket of a printed address signs in, and does not stay in it. */
async function redeem() {
  const ticket = new URLSearchParams(location.hash.slice(1)).get("ticket");
  if (!ticket) return;
  history.replaceState(null, "", location.pathname + location.search);
  const late = await import("./sign-in.js");
  await late.redeem(ticket);
}
// An address pasted where the page is open loads nothing anew.
addEventListener("hashchange", () => void redeem().finally(() => link.again()));
// Asked for before the panels are made, which takes longer than the answer. Which markets there are is not known yet:
// the symbol of last time is most likely one of them.
link.watch(ALWAYS);
app.select(settings.symbol || USUAL);
void redeem().finally(() => link.open(`page-${Math.random().toString(36).slice(2, 10)}`));

/** @param {string} id */
const place = (id) => /** @type {HTMLElement} */ (document.getElementById(id));
header.mount(place("header"), app);
banner.mount(place("banner"), app);
account.mount(place("account"), app);
markets.mount(place("markets"), app);
bots.mount(place("bots"), app);
price.mount(place("price"), app);
orderbook.mount(place("orderbook"), app);
ticket.mount(place("ticket"), app);
tape.mount(place("tape"), app);
tables.mount(place("tables"), app);
strip.mount(place("strip"), app);
const view = phone.mount(place("phone"));
store.watch(["fill"], () => {
  if (matchMedia("(max-width: 720px)").matches && store.get("fill")) view("trade");
});
listen();
const today = () => stamp(app.serverNow(), settings.utc).slice(0, 10);
let day = today();
// Ages move without messages: twice a second the panels that show one look again. At midnight so do all that show times.
setInterval(() => {
  store.touch("beat");
  if (day === today()) return;
  day = today();
  store.touch("settings");
}, 500);
