// One line under the header, only when something is not normal.
import { h, keyed, text } from "../dom.js";
import { stamp, whole } from "../format.js";
import { painter } from "../pace.js";
import { settings } from "../settings.js";
import { doubt, viewOnly } from "../trade.js";
import { follow } from "../window.js";

/** Every second part of a text is an age: seen, but not read out each second. */
/** @typedef {{ id: string, tone: string, text: string[] }} Line */

/** @param {HTMLElement} root @param {App} app */
export function mount(root, app) {
  const { store } = app;
  const show = painter(root.parentElement ?? root, 4, () => {
    const lines = [...link(app), ...trading(app), ...feeds(app), ...account(app), ...hours(app), ...rights(app)];
    root.hidden = lines.length === 0;
    keyed(
      root,
      lines,
      (line) => `${line.id} ${line.text.length}`,
      (line) =>
        h(
          "p",
          { class: `line ${line.tone}`, role: line.tone === "bad" ? "alert" : "status" },
          ...line.text.map((_, i) => h("span", { "aria-hidden": i % 2 ? "true" : undefined })),
        ),
      (element, line) => {
        line.text.forEach((part, i) => void text(/** @type {Element} */ (element.children[i]), part));
      },
    );
  });
  store.watch(
    ["link", "status", "risk", "welcome", "beat", "ticker:", "orders", "markets", "window", "settings"],
    show,
  );
  follow(app);
}

/** @param {App} app @returns {Line[]} */
function hours({ store }) {
  const now = store.get("window");
  if (!now || now.within_window) return [];
  const when = now.blackout ? "A blackout is on" : `Outside the trading hours ${now.trading_hours}`;
  const until = now.next_open_ts ? ` until ${stamp(now.next_open_ts, settings.utc)}` : "";
  return [{ id: "hours", tone: "note", text: [`${when}: bots make no entries${until}. Orders by hand go out.`] }];
}

/** @param {App} app @returns {Line[]} */
function link({ link: { state } }) {
  const ago = whole(Date.now() - state.heard);
  if (state.state === "lost") {
    return [
      {
        id: "link",
        tone: "bad",
        text: [
          "Connection lost",
          ` ${ago} ago`,
          ". Prices are frozen and order entry is off. Orders and bots go on without this page while the server runs. Reconnecting…",
        ],
      },
    ];
  }
  if (state.state === "stopped") {
    return [
      {
        id: "link",
        tone: "bad",
        text: [`The server ended the connection: ${state.reason || state.code}. Reload the page to try again.`],
      },
    ];
  }
  if (state.state === "late")
    return [{ id: "late", tone: "warn", text: ["No word from the server", ` for ${ago}`, "."] }];
  return [];
}

/** @param {App} app @returns {Line[]} */
function trading(app) {
  const state = app.tradingState();
  if (state !== "halted" && state !== "reducing") return [];
  const why = (app.store.value("status")?.halts ?? [])[0];
  const by = why ? ` by ${why.by}: ${why.reason}` : "";
  const effect = state === "halted" ? "No order goes out; cancels work." : "Only orders that reduce a position go out.";
  return [{ id: "trading", tone: "bad", text: [`Trading is ${state}${by}. ${effect}`] }];
}

/** @param {App} app @returns {Line[]} */
function feeds(app) {
  const feed = app.feed();
  if (!feed.stale) return [];
  if (feed.cause === "delisted")
    return [
      {
        id: "feed",
        tone: "warn",
        text: ["The venue does not list this market any more. What is shown is the last that came."],
      },
    ];
  const cause = feed.cause ? ` (${feed.cause})` : "";
  return [
    {
      id: "feed",
      tone: "warn",
      text: [
        `${feed.what} is late`,
        ` by ${whole(feed.age)}`,
        `${cause}. The link is fine; the source is not. Market orders are off.`,
      ],
    },
  ];
}

/** @param {App} app @returns {Line[]} */
function account(app) {
  const late = doubt(app.store);
  if (!late || /lost|stopped/.test(app.link.state.state)) return [];
  const since = late.staleSince;
  const what = "Orders, positions and balances are";
  const why = `: ${app.venue()} has not confirmed them.`;
  return [
    {
      id: "account",
      tone: "warn",
      text: since
        ? [`${what} as they were`, ` ${whole(app.serverNow() - since)} ago`, why]
        : [`${what} not known yet${why}`],
    },
  ];
}

/** @param {App} app @returns {Line[]} */
function rights(app) {
  if (viewOnly(app.store) === "") return [];
  return [{ id: "rights", tone: "note", text: ["View only: your role may look, not trade."] }];
}
