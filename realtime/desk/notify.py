"""Alerts to people, by webhook and mail: which are due, in how many messages, and what those say.

Rules of this file: (1) pure: alerts, section `notifications` and the time come in, plain values go out; (2) what comes
faster than the pace of a target becomes one message that counts it; (3) no text has an address or a password in it.
"""

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.message import EmailMessage
from hashlib import sha256
from html import escape
from typing import Any, Final, NamedTuple, TypeVar
from urllib.parse import urlsplit

from realtime.desk.codec import dumps
from realtime.desk.config.sections import Notifications
from realtime.desk.entries import Entry
from realtime.desk.masking import masked
from realtime.hub.channels import LEVELS
from realtime.model.market import SECOND


T = TypeVar("T")
Message = dict[str, Any]
"""What is sent: JSON."""
PER_MINUTE: Final = 10
"""Messages that a target gets within a minute at most."""
MAIL: Final = "mail"
MAIL_LEVEL: Final = "warning"
"""Mail has no level of its own in the configuration."""
LONGEST: Final = 1_500
"""Characters of a line; Discord takes 2,000."""
SLACK: Final = frozenset({"hooks.slack.com", "hooks.slack-gov.com"})
DISCORD: Final = frozenset({"discord.com", "discordapp.com"})


class Rule(NamedTuple):
    """Which alerts: of these codes, all where there are none, and of this level and above."""

    events: Sequence[str]
    min_level: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where alerts are sent.

    Attributes:
        key: Names it in the journal, without its address.
        name: Names it to people, likewise.
        rules: Which alerts; one that any of them wants.
        url: Of a webhook.
        mail: The section, where it is mail.
    """

    key: str
    name: str
    rules: tuple[Rule, ...]
    url: str = field(default="", repr=False)
    mail: Notifications | None = field(default=None, repr=False)

    def wants(self, alert: Entry) -> bool:
        """Whether it gets an entry of `alerts`; behind its acknowledgement one stands there a second time."""
        level = LEVELS.index(str(alert["level"]))
        return alert["acked_by"] is None and any(
            level >= LEVELS.index(rule.min_level)
            and (not rule.events or alert["code"] in rule.events)
            for rule in self.rules
        )


def targets_of(section: Notifications) -> dict[str, Target]:
    """Give the targets by their keys; an address that stands there twice is one."""
    found: dict[str, Target] = {}
    for hook in section.webhooks:
        key = sha256(hook.url.encode()).hexdigest()[:16]
        known = found[key].rules if key in found else ()
        rules = (*known, Rule(hook.events, hook.min_level))
        name = str(masked({"url": hook.url})["url"])
        found[key] = Target(key=key, name=name, rules=rules, url=hook.url)
    if section.email_enabled:
        rules = (Rule((), MAIL_LEVEL),)
        found[MAIL] = Target(key=MAIL, name=MAIL, rules=rules, mail=section)
    return found


# --- how many messages ----------------------------------------------------------------------------


def room(sent: deque[int], now: int) -> int:
    """Count the messages that may be sent now, after those of these times; forgets what was a minute ago [ns]."""
    while sent and sent[0] <= now - 60 * SECOND:
        sent.popleft()
    return PER_MINUTE - len(sent)


def parted(due: Sequence[T], most: int) -> list[Sequence[T]]:
    """Part what is due into so many messages at most: one of each, and the last of all that is left."""
    if most <= 0:
        return []
    alone = len(due) if len(due) <= most else most - 1
    rest = due[alone:]
    return [*[[one] for one in due[:alone]], *([rest] if rest else [])]


# --- what a message says --------------------------------------------------------------------------


def message_of(alerts: Sequence[Entry], *, venue: str, mode: str, missed: int = 0) -> Message:
    """Make the message of some alerts, at least one: what programs read, and `text` for people.

    Args:
        alerts: Entries of `alerts`, oldest first.
        venue: The account.
        mode: `paper` or `live`.
        missed: Older entries that nobody has looked at.
    """
    newest = alerts[-1]
    data = newest["data"] if isinstance(newest["data"], dict) else {}
    level, code, said = str(newest["level"]), str(newest["code"]), str(newest["text"])
    if len(alerts) > 1:
        counts = Counter(str(alert["level"]) for alert in alerts)
        levels = [level for level in reversed(LEVELS) if counts[level]]
        told = ", ".join(f"{counts[level]} {level}" for level in levels)
        said = f"{len(alerts)} more alerts: {told}; the newest: {said}"
        level, code, data = levels[0], "several", {"first_id": alerts[0]["id"]}
    if missed:
        said = f"{said} ({missed} older entries were passed over)"
    whole = f"[{mode.upper()}] {level} {code} at {venue}: {said}"
    # A subject takes no NUL, and what a terminal or a mailbox obeys is no text.
    text = " ".join("".join(c if c.isprintable() else " " for c in whole).split())
    return {
        "id": newest["id"],
        "ts": newest["ts"],
        "level": level,
        "code": code,
        "message": said,
        "venue": venue,
        "symbol": data.get("symbol"),
        "mode": mode.upper(),
        "count": len(alerts),
        "data": data,
        "text": text[:LONGEST],
    }


def posted(url: str, message: Message) -> bytes:
    """Make what a webhook gets: in the words of Slack or Discord at their addresses, else all there is."""
    host, text = urlsplit(url).hostname, message["text"]
    # Neither may take a text of an alert for a call to everybody.
    if host in SLACK:
        return dumps({"text": escape(text, quote=False)})
    if host in DISCORD:
        return dumps({"content": text, "allowed_mentions": {"parse": []}})
    return dumps(message)


def mailed(section: Notifications, message: Message, journal: str) -> EmailMessage:
    """Make what is mailed; the same message has the same id, also where it is sent twice."""
    sent = datetime.fromtimestamp(message["ts"] / 1_000, UTC)
    made = EmailMessage()
    made["From"], made["To"], made["Date"] = section.sender, section.receiver, sent
    made["Subject"] = message["text"][:120]
    # With its time: a journal that fails again is no repetition, and mailboxes show one of two with the same name.
    name = f"{message['id']}.{message['count']}.{message['ts']}.{journal}"
    made["Message-ID"] = f"<{name}@nexus-realtime>"
    said = {key: value for key, value in message.items() if value not in (None, {}, "")}
    rows = [f"{key}: {dumps(value).decode()}" for key, value in said.items() if key != "text"]
    time = f"{sent:%Y-%m-%d %H:%M:%S} UTC"
    made.set_content("\n".join([message["text"], "", f"time: {time}", *rows]))
    return made
