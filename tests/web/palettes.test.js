import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const css = readFileSync(join(dirname(fileURLToPath(import.meta.url)), "../../static/tokens.css"), "utf8");

/** The colours of a palette in one theme, over those of the page. */
function colours(palette, dark) {
  const found = {};
  for (const [, selector, body] of css.matchAll(/([^{}]+)\{([^{}]*)\}/g)) {
    if (!/:root,?\s*$|:root,\n/.test(selector) && !selector.includes(`"${palette}"`)) continue;
    for (const [, name, light, night] of body.matchAll(/--([\w-]+): light-dark\((#\w+), (#\w+)\)/g))
      found[name] = dark ? night : light;
  }
  return found;
}

const parts = (colour) => [1, 3, 5, 7].map((i) => Number.parseInt(colour.slice(i, i + 2) || "ff", 16));

/** A wash over a ground. */
function over(wash, ground) {
  const [r, g, b, a] = parts(wash);
  return [r, g, b].map((v, i) => (v * a + parts(ground)[i] * (255 - a)) / 255);
}

/** WCAG 2.2, 1.4.3. */
function contrast(a, b) {
  const [x, y] = [a, b].map((rgb) => {
    const [r, g, bl] = rgb.map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * bl + 0.05;
  });
  return Math.max(x, y) / Math.min(x, y);
}

test("what rises and what falls can be read on a panel, under the pointer and in the chosen row", () => {
  for (const palette of ["default", "blue-orange", "classic", "red-up"])
    for (const dark of [true, false]) {
      const c = colours(palette, dark);
      const grounds = [c.panel, c.raised].map((ground) => parts(ground).slice(0, 3));
      for (const name of ["up", "down"])
        for (const ground of [...grounds, over(c["accent-wash"], c.panel)]) {
          const ratio = contrast(parts(c[name]).slice(0, 3), ground);
          assert.ok(ratio >= 4.5, `${palette}, ${dark ? "dark" : "light"}: ${name} on ${ground}: ${ratio.toFixed(2)}`);
        }
    }
});
