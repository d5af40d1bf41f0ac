// Signing in: a token is exchanged for a cookie that scripts cannot read.
import { dialog, field } from "./dialog.js";
import { h } from "./dom.js";

let signing = false;

/** Asks until the server takes one, once at a time. @param {() => void} done */
export async function signIn(done) {
  if (signing) return;
  signing = true;
  let error = "";
  for (;;) {
    const answer = await dialog({
      title: "Sign in",
      body: [
        h(
          "p",
          {},
          "This server wants a token. It is sent once, for a cookie that scripts cannot read, and kept nowhere else.",
        ),
        field("Token", { name: "token", type: "password" }),
        ...(error ? [h("p", { class: "warn", role: "alert" }, error)] : []),
      ],
      yes: "Sign in",
      no: null,
      focus: "field",
      ready: (form) => String(new FormData(form).get("token")).trim() !== "",
    });
    if (!answer) continue;
    error = await login({ token: String(answer.get("token")).trim() });
    if (!error) break;
  }
  signing = false;
  done();
}

/** @param {Record<string, string>} what token or ticket @returns {Promise<string>} what went wrong, or "" */
export async function login(what) {
  try {
    const answer = await fetch("/api/auth.login", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(what),
    });
    const reply = await answer.json();
    return reply.ok ? "" : `${reply.error.code}: ${reply.error.message}`;
  } catch {
    return "the server did not answer";
  }
}
