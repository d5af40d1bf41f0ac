// Few keys, listed by `?`, inert while typing. No bare key trades.
/** @type {{ key: string, shown: string, does: string, act: () => void }[]} */
export const keys = [];

/**
 * @param {string} key as KeyboardEvent.key @param {string} does what it does, for the list @param {() => void} act
 * @param {string} [shown] how the list writes it
 */
export function onKey(key, does, act, shown = key) {
  keys.push({ key, shown, does, act });
}

/** @param {EventTarget | null} target */
const typing = (target) =>
  target instanceof HTMLElement && (target.isContentEditable || /^(INPUT|SELECT|TEXTAREA)$/.test(target.tagName));

export function listen() {
  document.addEventListener("keydown", (event) => {
    if (event.repeat || event.altKey || event.metaKey || event.ctrlKey) return;
    if (typing(event.target) || document.querySelector("dialog[open]")) return;
    const found = keys.find(({ key }) => key === event.key);
    if (!found) return;
    event.preventDefault();
    found.act();
  });
}
