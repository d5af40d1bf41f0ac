"""Ops about who may come in: tokens that may do less than the first one, and their end."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Annotated, Final, Literal, Protocol

from pydantic import Field

from realtime.commands import naming, pages
from realtime.commands.params import (
    ChangeParams,
    Limit,
    ListParams,
    Milliseconds,
    Name,
    Positive,
    Symbol,
    invalid,
)
from realtime.commands.registry import Answer, Call, Op
from realtime.engine.market import plain
from realtime.model.errors import Code, Refused
from realtime.model.events import Who
from realtime.model.market import Market
from realtime.model.principal import TokenLimits


MOST_SYMBOLS: Final = 100
"""Symbols that a token may be limited to."""


class Keeper(Protocol):
    """Who makes and ends tokens."""

    def rows(self) -> Sequence[Mapping[str, object]]:
        """Describe those that are good."""
        ...

    async def create(
        self,
        who: Who,
        subject: str,
        scopes: Iterable[str],
        expires_at: int | None,
        limits: TokenLimits | None = None,
    ) -> tuple[str, Mapping[str, object]]:
        """Make one; give it and its row."""
        ...

    async def revoke(self, who: Who, token_id: str) -> Mapping[str, object]:
        """End one; give its row."""
        ...


class CreateParams(ChangeParams):
    """Of `system.token.create`."""

    subject: Name
    scopes: Annotated[
        list[Literal["read", "trade", "bots", "admin"]], Field(min_length=1, max_length=4)
    ]
    expires_ts: Milliseconds | None = None
    symbols: Annotated[list[Symbol], Field(min_length=1, max_length=MOST_SYMBOLS)] | None = None
    max_order_notional: Positive | None = None


class TokensParams(ListParams):
    """Of `system.token.list`: as many as fit into one message, unless fewer are asked for."""

    limit: Limit = 1000


class RevokeParams(ChangeParams):
    """Of `system.token.revoke`."""

    token_id: Name


def limits_of(params: CreateParams, markets: Mapping[str, Market]) -> TokenLimits | None:
    """Read what the orders of a new token may be, None without limits.

    Args:
        params: As asked.
        markets: Of all accounts, by symbol.

    Raises:
        Refused: `invalid`, also for scopes in which others place orders or the limits could be lifted; `not_found`
            for a symbol that no account has.
    """
    found: set[str] = set()
    for at, text in enumerate(params.symbols or ()):
        try:
            found.add(naming.market_of(markets, text).symbol)
        except Refused as refused:
            details = {**(refused.details or {}), "field": f"symbols.{at}"}
            raise Refused(refused.code, refused.message, details) from None
    most = params.max_order_notional
    if not found and most is None:
        return None
    if far := {"bots", "admin"}.intersection(params.scopes):
        raise invalid(
            "scopes",
            f"{' and '.join(sorted(far))} cannot stand beside symbols or max_order_notional: "
            "bots trade in their own name, and an admin makes tokens without limits",
        )
    return TokenLimits(
        symbols=tuple(sorted(found)) or None,
        max_order_notional=None if most is None else Decimal(plain(most)),
    )


def _rank(row: Mapping[str, object]) -> tuple[int, str]:
    """Place of a token in the list; the oldest ones do not say when they were made."""
    return int(str(row["created_ts"] or 0)), str(row["token_id"])


def ops(keeper: Keeper, markets: Callable[[], Mapping[str, Market]]) -> list[Op]:
    """Make the rows.

    Args:
        keeper: Makes and ends tokens.
        markets: Those of all accounts that are open, by symbol.
    """

    async def create(call: Call[CreateParams]) -> Answer:
        params = call.params
        if params.expires_ts is not None and params.expires_ts <= call.received:
            raise invalid("expires_ts", "must be in the future")
        scopes = {"read", *params.scopes}  # whoever trades sees what comes of it
        who = naming.who_of(call)
        limits = limits_of(params, markets())
        token, row = await keeper.create(who, params.subject, scopes, params.expires_ts, limits)
        return Answer(result={**row, "token": token})

    def listed(call: Call[TokensParams]) -> Answer:
        params = call.params
        # By a place that never moves: a token that ends between two pages shifts nothing.
        rows = sorted(keeper.rows(), key=_rank)
        if params.cursor is not None:
            last = pages.rank(params.cursor)
            rows = [row for row in rows if _rank(row) > last]
        page = rows[: params.limit]
        page = page[: pages.fitting(page)]
        cursor = "{}.{}".format(*_rank(page[-1])) if len(page) < len(rows) else None
        return Answer(result={"tokens": page, "next_cursor": cursor})

    async def revoke(call: Call[RevokeParams]) -> Answer:
        return Answer(result=await keeper.revoke(naming.who_of(call), call.params.token_id))

    return [
        Op(
            name="system.token.create",
            params=CreateParams,
            scope="admin",
            lane="query",
            handler=create,
            summary="Create a token; it is shown once and stored as a hash",
            errors=(Code.NOT_SUPPORTED, Code.NOT_FOUND, Code.CONFLICT),
            example={"subject": "screen", "scopes": ["read"]},
            command=True,
        ),
        Op(
            name="system.token.list",
            params=TokensParams,
            scope="admin",
            lane="query",
            handler=listed,
            summary="List valid tokens, oldest first",
        ),
        Op(
            name="system.token.revoke",
            params=RevokeParams,
            scope="admin",
            lane="query",
            handler=revoke,
            summary="Revoke a token and close its connections",
            errors=(Code.NOT_SUPPORTED, Code.NOT_FOUND, Code.CONFLICT),
            example={"token_id": "t-abcdefgh"},
            command=True,
        ),
    ]
