"""Who asks: the subject of a token and what it may do."""

from dataclasses import dataclass


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """An authenticated subject.

    Attributes:
        subject: Name in audit rows, e.g. `alice`; `local` where no authentication is configured.
        scopes: Of `read, trade, bots, admin`; admin contains all.
        token_id: Public id of the token, None for `local`.
        expires_at: Wire ms, None for never.
    """

    subject: str
    scopes: frozenset[str]
    token_id: str | None = None
    expires_at: int | None = None

    @property
    def role(self) -> str:
        """The label of these scopes."""
        return role_of(self.scopes)
