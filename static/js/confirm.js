// The server's own question before an act: what it says would happen.
import { dialog, facts } from "./dialog.js";
import { h } from "./dom.js";
import { grouped, words } from "./format.js";

/** The server asks back: what it says would happen. @param {string} title @param {ErrorBody} error */
export async function confirmEffect(title, error) {
  const effect = Object.entries(error.details?.effect ?? {});
  const why = error.details?.reason ? [h("p", { class: "warn" }, words(error.details.reason))] : [];
  const answer = await dialog({
    title,
    body: [
      ...why,
      h("p", {}, "The server asks to confirm. The effect now would be:"),
      facts(effect.map(([name, value]) => [words(name), show(value)])),
    ],
    yes: "Confirm",
    tone: "danger",
  });
  return answer !== null;
}

/** @param {unknown} value */
function show(value) {
  if (Array.isArray(value)) return value.length === 0 ? "none" : value.join(", ");
  if (typeof value === "string" && /^-?\d+(\.\d+)?$/.test(value)) return grouped(value);
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}
