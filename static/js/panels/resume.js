// Resuming after a halt: with a reason, a typed word, and the server's own question.
import { told } from "../commands.js";
import { dialog, failure, field } from "../dialog.js";
import { h } from "../dom.js";

/** @param {App} app */
export async function resumeDialog(app) {
  const answer = await dialog({
    title: "Resume trading?",
    body: [
      h("p", {}, "Orders will go out again, from every client. Canceled orders do not come back."),
      field("Reason", { name: "reason", maxlength: "200" }),
      field("Type resume", { name: "word" }),
    ],
    yes: "Resume",
    focus: "field",
    ready: (form) =>
      // A phone's keyboard begins with a capital.
      String(new FormData(form).get("word")).trim().toLowerCase() === "resume" &&
      String(new FormData(form).get("reason")).trim() !== "",
  });
  if (!answer) return;
  const reply = await app.commands.confirmed(
    "trading.resume",
    { reason: String(answer.get("reason")).trim() },
    "Resume trading?",
  );
  if (!reply.ok && reply.error?.code !== "confirm_required") {
    await failure("Trading was not resumed", told(reply.error));
  }
}
