/** How the trading window stands: asked for when it may have changed, and when it opens or closes. @param {App} app */
export function follow(app) {
  const { store } = app;
  let live = false;
  let changed = "";
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  async function ask() {
    clearTimeout(timer);
    const reply = await app.commands.call("trading_window.get", {});
    if (!reply.ok) return;
    const { state } = reply.result;
    store.set("window", state);
    const next = state.within_window ? state.next_close_ts : state.next_open_ts;
    if (next) timer = setTimeout(ask, Math.min(Math.max(next - app.serverNow(), 0) + 500, 3_600_000));
  }
  const look = () => {
    const now = app.link.state.state === "live";
    const newest = store.list("events").findLast((e) => e.type === "parameter_changed")?.id ?? "";
    if (now && (!live || newest !== changed)) void ask();
    live = now;
    changed = newest;
  };
  store.watch(["link", "events"], look);
  look();
}
