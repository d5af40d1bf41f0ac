"""Two-phase confirmation: which commands ask back, and the tokens that answer (protocol document, 8.7)."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Final

import orjson

from realtime.engine.market import plain
from realtime.model.errors import Code, Refused
from realtime.model.principal import Principal


VALID_MS: Final = 60_000
KEPT: Final = 1_000
"""Tokens remembered at most; beyond it the oldest is forgotten, which only means asking again."""
MAY_GROW: Final = Decimal("0.02")
"""By how much an estimate may exceed the one that was shown: a price moves while a person reads. As much as
`max_slippage` lets a market order lose by default; the gate judges the price again when the order goes out."""
ESTIMATES: Final = frozenset({"notional"})
"""What of an effect is estimated at prices of now; everything else of it is bound exactly."""
NOT_CONTENT: Final = frozenset({"id", "op", "confirm", "expires_at", "mode", "request_id"})

Effect = Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """One op that asks back.

    Attributes:
        op: Its name; never one of the safety lane.
        above: Ask only if `effect.notional` is above this [valuation currency]; None = always.
        scope, role, token_id: Ask only principals with this; None = everybody.
    """

    op: str
    above: Decimal | None = None
    scope: str | None = None
    role: str | None = None
    token_id: str | None = None

    def concerns(self, principal: Principal) -> bool:
        """Tell whether this policy is about `principal`."""
        return (
            (self.scope is None or self.scope in principal.scopes)
            and (self.role is None or self.role == principal.role)
            and (self.token_id is None or self.token_id == principal.token_id)
        )

    def asks(self, effect: Effect) -> bool:
        """Tell whether this effect is large enough to ask."""
        if self.above is None:
            return True
        notional = _number(effect.get("notional"))
        return notional is None or abs(notional) > self.above


@dataclass(slots=True, kw_only=True)
class _Asked:
    subject: str
    op: str
    content: bytes
    effect: Effect
    expires_at: int
    used: bool = False


def content_of(op: str, raw: Mapping[str, object]) -> bytes:
    """Digest what a request says, as sent or as read, apart from what may differ between two askings."""
    said = {key: value for key, value in raw.items() if key not in NOT_CONTENT}
    text = orjson.dumps([op, said], default=plain, option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(text).digest()


class Confirmations:
    """The tokens given out and not yet forgotten.

    Args:
        token: Makes 128 random bits as text.
        now: Wire ms.
    """

    def __init__(self, *, token: Callable[[], str], now: Callable[[], int]) -> None:
        self._token = token
        self._now = now
        self._asked: dict[str, _Asked] = {}

    def check(
        self,
        op: str,
        raw: Mapping[str, object],
        principal: Principal,
        effect: Effect,
        confirm: str | None,
    ) -> None:
        """Let a confirmed command pass, once.

        Raises:
            Refused: `confirm_required` with a new token, `details.effect` and, when a token was given
                and does not count, `details.reason`.
        """
        content = content_of(op, raw)
        reason = None
        if confirm is not None:
            reason = self._judge(confirm, op, content, principal, effect)
            if reason is None:
                self._asked[confirm].used = True
                return
        self._forget()
        fresh = self._token()
        expires_at = self._now() + VALID_MS
        self._asked[fresh] = _Asked(
            subject=principal.subject, op=op, content=content, effect=effect, expires_at=expires_at
        )
        details: dict[str, object] = {"confirm": fresh, "expires_at": expires_at, "effect": effect}
        if reason is not None:
            details["reason"] = reason
        message = "repeat with confirm within 60 s"
        if _number(effect.get("notional")):
            message += f"; the notional may grow by {MAY_GROW:.0%} until then"
        raise Refused(Code.CONFIRM_REQUIRED, message, details)

    def _judge(
        self, confirm: str, op: str, content: bytes, principal: Principal, effect: Effect
    ) -> str | None:
        asked = self._asked.get(confirm)
        if asked is None or (asked.subject, asked.op, asked.content) != (
            principal.subject,
            op,
            content,
        ):
            return "mismatch"
        if asked.used:
            return "used"
        if self._now() >= asked.expires_at:
            return "expired"
        return "effect_changed" if grown(asked.effect, effect) else None

    def _forget(self) -> None:
        # A used or expired token is kept for ten minutes more, so that its reason can be told.
        limit = self._now() - 10 * VALID_MS
        while self._asked:
            oldest = next(iter(self._asked))
            if self._asked[oldest].expires_at > limit and len(self._asked) < KEPT:
                break
            del self._asked[oldest]


def grown(shown: Effect, effect: Effect) -> bool:
    """Tell whether an effect is more than what was shown, or another.

    A count may be lower and a list shorter; an estimate may be lower, or higher by `MAY_GROW`; all else must be equal.
    """
    return any(_more(key, shown.get(key), value) for key, value in effect.items())


def _more(name: str, shown: object, value: object) -> bool:
    match shown, value:
        case list() | tuple(), list() | tuple():
            return any(item not in shown for item in value)
        case Mapping(), Mapping():
            return grown(shown, value)
        case int(), int() if not isinstance(value, bool):
            return value > shown
        case _:
            pass
    if name in ESTIMATES:
        old, new = _number(shown), _number(value)
        if old is not None and new is not None:
            return abs(new) > abs(old) * (1 + MAY_GROW)
    return shown != value


def _number(value: object) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        return None
    try:
        return Decimal(str(value))
    except InvalidOperation:
        return None
