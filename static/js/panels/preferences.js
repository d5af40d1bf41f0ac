// How the page looks and sounds, and when it asks: kept on this machine, each choice at once in force.
import { isDecimal, typed } from "../decimal.js";
import { dialog } from "../dialog.js";
import { attr, h, text } from "../dom.js";
import { spell } from "../number-field.js";
import { remember, settings } from "../settings.js";
import { play, SOUNDS } from "../sound.js";

const PALETTES = /** @type {const} */ ([
  ["default", "Default", "told apart by all eyes"],
  ["blue-orange", "Blue and orange", "for red-green blindness"],
  ["classic", "Classic", "green up, red down"],
  ["red-up", "Red up", "red up, green down"],
]);
const WHEN = /** @type {[string, string][]} */ ([
  ["never", "never"],
  ["above", "above a notional"],
  ["always", "always"],
]);

/** @param {App} app */
export async function open(app) {
  const { store } = app;
  /** @param {Partial<import("../settings.js").Settings>} patch */
  const keep = (patch) => {
    remember(patch);
    store.touch("settings");
  };
  /**
   * @param {string} name @param {string} value @param {boolean} checked @param {(Node | string)[]} label
   * @param {() => void} act
   */
  const radio = (name, value, checked, label, act) =>
    h("label", { class: "pref-choice" }, h("input", { type: "radio", name, value, checked, onchange: act }), ...label);
  const group = (/** @type {string} */ title, /** @type {Node[]} */ ...inner) =>
    h("fieldset", { class: "pref" }, h("legend", {}, title), ...inner);

  const palettes = PALETTES.map(([id, name, about]) =>
    radio(
      "palette",
      id,
      settings.palette === id,
      [
        h(
          "span",
          { class: "pref-swatch", "data-palette": id, "aria-hidden": "true" },
          h("b", { class: "up" }, "▲ 1.2"),
          h("b", { class: "down" }, "▼ 0.8"),
        ),
        h("span", {}, name, h("small", { class: "dim" }, about)),
      ],
      () => keep({ palette: id }),
    ),
  );
  const themes = /** @type {const} */ (["system", "dark", "light"]).map((theme) =>
    radio("theme", theme, settings.theme === theme, [theme === "system" ? "as the system" : theme], () =>
      keep({ theme }),
    ),
  );
  const zones = [false, true].map((utc) =>
    radio("zone", utc ? "utc" : "local", settings.utc === utc, [utc ? "UTC" : `local (${zone()})`], () =>
      keep({ utc }),
    ),
  );
  const flash = h("input", { type: "checkbox", name: "flash", checked: settings.flash });
  flash.addEventListener("change", () => keep({ flash: flash.checked }));

  const sounds = Object.entries(SOUNDS).map(([event, { name }]) => {
    const box = h("input", { type: "checkbox", name: `sound-${event}`, checked: settings.sounds[event] === true });
    box.addEventListener("change", () => {
      keep({ sounds: { ...settings.sounds, [event]: box.checked } });
      if (box.checked) play(event);
    });
    const hear = h(
      "button",
      { type: "button", class: "small-button", "aria-label": `Hear ${name}`, onclick: () => play(event) },
      "Hear",
    );
    return h("div", { class: "pref-line" }, h("label", { class: "check" }, box, name), hear);
  });

  const error = h("span", { class: "field-error", id: "pref-above-error" });
  const above = h("input", {
    type: "text",
    name: "above",
    inputmode: "decimal",
    autocomplete: "off",
    value: settings.reviewAbove,
    onchange: spell,
    "aria-describedby": error.id,
    "aria-label": "Notional above which an order is reviewed",
  });
  above.addEventListener("input", () => {
    const value = typed(above.value);
    const good = isDecimal(value) && !value.startsWith("-");
    text(error, good ? "" : "A number such as 1000; the last good one stays in force.");
    attr(above, "aria-invalid", good ? null : "true");
    if (good) keep({ reviewAbove: value });
  });
  /** @param {"reviewPaper" | "reviewLive"} name @param {string} label */
  const when = (name, label) => {
    const select = h(
      "select",
      { name },
      ...WHEN.map(([value, word]) => h("option", { value, selected: settings[name] === value }, word)),
    );
    if (!WHEN.some(([value]) => value === settings[name])) select.value = "always";
    select.addEventListener("change", () => keep({ [name]: select.value }));
    return h("label", { class: "pref-line" }, h("span", {}, label), select);
  };

  await dialog({
    title: "Settings",
    body: [
      group("Colours", h("div", { class: "pref-palettes" }, ...palettes)),
      group("Theme", h("div", { class: "pref-row" }, ...themes)),
      group("Times", h("div", { class: "pref-row" }, ...zones)),
      group(
        "Motion",
        h("label", { class: "check" }, flash, "Flash prices and profits that move"),
        h("small", { class: "dim" }, "None where the system asks for reduced motion."),
      ),
      group("Sounds", ...sounds),
      group(
        "Review an order before it is sent",
        when("reviewPaper", "Paper"),
        when("reviewLive", "Live"),
        h("div", { class: "pref-line" }, h("span", {}, "Notional, in the market's quote currency"), above),
        error,
      ),
      h("p", { class: "dim" }, "Kept in this browser only."),
    ],
    yes: "Done",
    no: null,
    focus: "field",
  });
}

/** The browser's time zone, by name. */
const zone = () => Intl.DateTimeFormat().resolvedOptions().timeZone;
