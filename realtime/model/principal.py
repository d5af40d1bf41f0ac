"""Who asks: the subject of a token and what it may do."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from realtime.model.frozen import frozen


READ, TRADE, BOTS, ADMIN = "read", "trade", "bots", "admin"

ROLES: dict[str, frozenset[str]] = {
    "viewer": frozenset({READ}),
    "trader": frozenset({READ, TRADE}),
    "operator": frozenset({READ, TRADE, BOTS}),
    "admin": frozenset({READ, TRADE, BOTS, ADMIN}),
}


def role_of(scopes: frozenset[str]) -> str:
    """Name the smallest role that holds all of `scopes`; a label for people."""
    return next(role for role, held in ROLES.items() if scopes <= held)


@frozen(kw_only=True)
class TokenLimits:
    """What the orders of a token may be beyond its scopes; each of them by itself, no sums.

    Attributes:
        symbols: Unified ones, of any account; None for all.
        max_order_notional: Most that an order which is no exit may be worth [valuation currency]; None for any.
    """

    symbols: tuple[str, ...] | None = None
    max_order_notional: Decimal | None = None

    def allow(self, symbol: str) -> bool:
        """Whether a symbol may be traded."""
        return self.symbols is None or symbol in self.symbols

    def row(self) -> dict[str, object]:
        """Describe those that are set, for the wire and the journal."""
        made: dict[str, object] = {}
        if self.symbols is not None:
            made["symbols"] = list(self.symbols)
        if self.max_order_notional is not None:
            made["max_order_notional"] = f"{self.max_order_notional:f}"
        return made


def limits_of(row: Mapping[str, object]) -> TokenLimits | None:
    """Read what `TokenLimits.row` made, also from among other fields; None where nothing is set."""
    symbols, most = row.get("symbols"), row.get("max_order_notional")
    if symbols is None and most is None:
        return None
    return TokenLimits(
        symbols=tuple(map(str, symbols)) if isinstance(symbols, list) else None,
        max_order_notional=None if most is None else Decimal(str(most)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """An authenticated subject.

    Attributes:
        subject: Name in audit rows, e.g. `alice`; `local` where no authentication is configured.
        scopes: Of `read, trade, bots, admin`; admin contains all.
        token_id: Public id of the token, None for `local`.
        expires_at: Wire ms, None for never.
        limits: Of the token's orders; None without any.
    """

    subject: str
    scopes: frozenset[str]
    token_id: str | None = None
    expires_at: int | None = None
    limits: TokenLimits | None = None

    @property
    def role(self) -> str:
        """The label of these scopes."""
        return role_of(self.scopes)
