// The heading of a panel, with the age of what it shows in a fixed slot.
import { attr, h, text } from "../dom.js";
import { whole } from "../format.js";
import { painter } from "../pace.js";
import { ACCOUNT } from "../trade.js";

/**
 * @param {HTMLElement} root @param {string} title @param {App} app
 * @param {string} slot the store's key that names the panel's channel, or "" for none
 * @param {...(Node | string)} more what else stands in the heading
 */
export function panelHead(root, title, app, slot, ...more) {
  const id = `${root.id}-title`;
  const stamp = h("span", { class: "age", "aria-hidden": "true" });
  root.setAttribute("aria-labelledby", id);
  root.append(h("div", { class: "panel-head" }, h("h2", { id }, title), ...more, stamp));
  watchAge(root, stamp, app, slot);
}

/** Marks the panel when link or feed is late. @param {HTMLElement} root @param {HTMLElement} stamp @param {App} app @param {string} slot */
export function watchAge(root, stamp, app, slot) {
  const { store } = app;
  // The word gives way where a heading is full: frame and dimming say it too.
  const word = h("span", { class: "age-word" });
  const time = h("span", {});
  stamp.append(word, time);
  const show = painter(root, 4, () => {
    const entry = store.channel(store.get(slot) ?? slot);
    const { state, heard } = app.link.state;
    const frozen = state === "lost" || state === "stopped";
    const late = !frozen && entry?.stale === true;
    attr(root, "data-age", frozen ? "frozen" : late ? "stale" : null);
    const since = late && entry.staleSince;
    text(word, frozen ? "frozen " : since ? "late " : "");
    if (frozen) text(time, whole(Date.now() - heard));
    else if (late) text(time, since ? whole(app.serverNow() - since) : "late");
    else text(time, entry?.error ? entry.error.code : "");
  });
  store.watch(
    [
      "link",
      "beat",
      slot,
      ...(slot.startsWith("view:") ? ["ticker:", "orderbook:", "trades:", "ohlcv:", ...ACCOUNT] : []),
    ],
    show,
  );
}
