// A short flash behind a figure that moved: a setting, at most twice a second, none where motion is reduced.
import { cmp } from "./decimal.js";
import { settings } from "./settings.js";

/** A flash lasts so long, and the next waits so long [ms]. */
const LASTS = 250;
const REST = 500;

/** @type {WeakMap<Element, { key: string, value: string, at: number }>} */
const known = new WeakMap();
const calm = matchMedia("(prefers-reduced-motion: reduce)");

/**
 * Flashes when the value of the same thing moved.
 * @param {Element} element @param {string | null | undefined} value decimal @param {string} key what it is the value of
 */
export function flash(element, value, key) {
  if (value === null || value === undefined) return;
  const old = known.get(element);
  const now = performance.now();
  const moved = old && old.key === key ? cmp(value, old.value) : 0;
  const shown = moved !== 0 && settings.flash && !calm.matches && now - (old?.at ?? 0) >= REST;
  known.set(element, { key, value, at: shown ? now : (old?.at ?? 0) });
  if (!shown) return;
  const colour = `color-mix(in srgb, var(${moved > 0 ? "--up" : "--down"}) 30%, transparent)`;
  element.animate([{ backgroundColor: colour }, { backgroundColor: "transparent" }], LASTS);
}
