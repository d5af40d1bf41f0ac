"""Texts without secrets: for logs, for what an exchange says, for whatever leaves the process.

Rules of this file: (1) a known secret is found as it is and in the forms that texts take: base64, hexadecimal, URL, JSON;
(2) what signs a request (a signature, a token, a key in a query or a header) goes by its name, known or not; (3) a text
without either comes back as it was.

Why: ccxt's exceptions carry signed addresses, and a line of a debug log carries whatever somebody put into it.
"""

import base64
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import quote, quote_plus

import orjson

from realtime.venues.ccxt.account import HIDDEN, Secret


SHORTEST: Final = 6
"""A shorter secret would be found in innocent words; no exchange gives one."""
NAMES: Final = (
    "api[-_]?key|api[-_]?secret|api[-_]?sign|secret|passphrase|password|signature|sign|signed|auth[-_]?sig|"
    "auth[-_]?payload|listen[-_]?key|access[-_]?token|refresh[-_]?token|authorization|private[-_]?key|"
    "(?:x-)?[a-z]{2,12}-(?:api-?|access-)?(?:key|sign|signature|passphrase|apikey|payload)"
)
_NAME: Final = re.compile(NAMES, re.IGNORECASE)
_NAMED: Final = re.compile(
    rf"(?P<name>(?<![\w-])(?:{NAMES})[\"']?\s*[=:]\s*(?:b?[\"'])?(?:bearer\s+|basic\s+)?)"
    r"(?P<value>[^\s\"'&,;}\])]{6,})",
    re.IGNORECASE,
)


class Redaction:
    """Takes secrets out of texts.

    Args:
        secrets: Those that are known.
    """

    def __init__(self, secrets: Iterable[Secret] = ()) -> None:
        forms: dict[str, str] = {}
        for secret in secrets:
            for form in forms_of(secret.reveal()):
                forms[form] = secret.masked
        self._masks = forms
        # The longest first: a form may be part of another.
        longest = sorted(forms, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, longest))) if forms else None

    def __call__(self, text: str) -> str:
        """Give the text without secrets."""
        if self._known is not None:
            text = self._known.sub(lambda found: self._masks[found[0]], text)
        return _NAMED.sub(_hide, text)

    def deep(self, value: Any) -> Any:
        """Give texts, mappings and sequences without secrets; anything else as it is."""
        if isinstance(value, str):
            return self(value)
        if isinstance(value, Mapping):
            return {self.deep(name): self._field(name, inner) for name, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self.deep(inner) for inner in value]
        return value

    def _field(self, name: object, value: Any) -> Any:
        named = (
            isinstance(name, str) and _NAME.fullmatch(name) and isinstance(value, str | int | bytes)
        )
        return HIDDEN if named and value else self.deep(value)


def _hide(found: "re.Match[str]") -> str:
    value = found["value"]
    return found[0] if value.startswith(HIDDEN) else f"{found['name']}{HIDDEN}"


def forms_of(text: str) -> set[str]:
    """Give the forms in which a secret may stand in a text; none for one too short to be a secret."""
    parts = {text, *(line for line in text.splitlines() if len(line) >= 4 * SHORTEST)}
    forms: set[str] = set()
    for part in parts:
        raw = part.encode()
        coded = base64.b64encode(raw).decode()
        forms |= {
            part,
            orjson.dumps(part).decode()[1:-1],
            repr(part)[1:-1],
            coded,
            coded.rstrip("="),
            base64.urlsafe_b64encode(raw).decode(),
            raw.hex(),
            raw.hex().upper(),
            quote(part, safe=""),
            quote_plus(part),
        }
    return {form for form in forms if len(form) >= SHORTEST}
