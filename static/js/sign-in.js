// Signing in: a token is exchanged for a cookie that scripts cannot read.
import { dialog, field } from "./dialog.js";
import { h, text } from "./dom.js";

/** The cookie is every tab's: where one has signed in, those that still ask try again. */
const tabs = new BroadcastChannel("realtime.sign-in");
const token = field("Token", { name: "token", type: "password" });
/** Why the ticket of an address was not taken. */
const said = h("p", { class: "warn", role: "status" });
let known = false;
let signing = false;

/** Asks until the server takes one, or another tab has signed in, once at a time. @param {App} app */
export async function signIn({ link, store }) {
  if (signing) return;
  signing = true;
  tabs.onmessage = () => link.again();
  if (!known) store.watch(["link"], () => link.state.state === "live" && token.closest("dialog")?.close());
  known = true;
  const why =
    "This server wants a token. It is sent once, for a cookie that scripts cannot read, and kept nowhere else.";
  /** @type {FormData | null} */
  let answer = null;
  while (!answer && link.state.state !== "live")
    answer = await dialog({
      title: "Sign in",
      body: [h("p", {}, why), token, said],
      yes: "Sign in",
      no: null,
      focus: "field",
      ready: (form) => String(new FormData(form).get("token")).trim() !== "",
      act: (form) => login({ token: String(form.get("token")).trim() }),
    });
  /** @type {HTMLInputElement} */ (token.lastElementChild).value = "";
  text(said, "");
  signing = false;
  link.again();
}

/** The ticket of a printed address. @param {string} ticket */
export async function redeem(ticket) {
  text(said, await login({ ticket }));
}

/** @param {Record<string, string>} what token or ticket @returns {Promise<string>} what went wrong, or "" */
async function login(what) {
  try {
    const answer = await fetch("/api/auth.login", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(what),
    });
    const reply = await answer.json();
    if (!reply.ok) return `${reply.error.code}: ${reply.error.message}`;
    tabs.postMessage("");
    return "";
  } catch {
    return "the server did not answer";
  }
}
