// What a view asks for once, asked for again after each reconnection: an op sent while there is no link comes to nothing.

/**
 * Runs `act` now if the page is connected, and each time it is connected again.
 * @param {App} app @param {() => void} act
 */
export function whenLive(app, act) {
  let linked = false;
  const look = () => {
    const { state } = app.link.state;
    const now = state === "live" || state === "late";
    if (now && !linked) act();
    linked = now;
  };
  app.store.watch(["link"], look);
  look();
}
