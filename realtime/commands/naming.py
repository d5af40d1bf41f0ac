"""How arguments name things: owners, markets, orders, positions; and times in and out."""

import re
from collections.abc import Mapping
from typing import Any, Final, Protocol, TypeVar

from pydantic import BaseModel

from realtime.commands.params import invalid, short
from realtime.commands.registry import Call, Refusal
from realtime.desk.desk import Desk
from realtime.model.errors import Code, Refused
from realtime.model.events import Who
from realtime.model.market import MS, Market
from realtime.model.orders import Order
from realtime.model.principal import ADMIN


P = TypeVar("P", bound=BaseModel)


def who_of(
    call: Call[Any] | Refusal, *, bot_id: str | None = None, strategy_id: str | None = None
) -> Who:
    """Name the one who asks."""
    return Who(
        subject=call.principal.subject,
        client=call.client,
        token_id=call.principal.token_id,
        source=call.source,
        bot_id=bot_id,
        strategy_id=strategy_id,
        admin=ADMIN in call.principal.scopes,
        limits=call.principal.limits,
    )


_PAIR: Final = re.compile(r"([A-Z0-9]+)[/_-]?([A-Z0-9]+)")
_ESCAPED: Final = re.compile(r"%2[Ff]")


def market_of(markets: Mapping[str, Market], text: str) -> Market:
    """Find a market by its symbol, its id, or base and quote in any case (features 1.1).

    Raises:
        Refused: `not_found`, or `invalid` with `details.candidates` when several fit.
    """
    found = markets.get(text)
    if found is None:
        text = _ESCAPED.sub("/", text)
        found = markets.get(text)
    if found is not None:
        return found
    upper = text.upper()
    exact = [m for m in markets.values() if m.id.upper() == upper or m.symbol.upper() == upper]
    pair = _PAIR.fullmatch(upper)
    plain = "".join(pair.groups()) if pair is not None else None
    fitting = exact or [
        m for m in markets.values() if not m.contract and f"{m.base}{m.quote}" == plain
    ]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        names = sorted(market.symbol for market in fitting)
        raise invalid("symbol", f"names several markets: {', '.join(names)}", candidates=names)
    raise Refused(
        Code.NOT_FOUND,
        f'no market {text[:40] if text.isprintable() else short(text)}; try {{"op":"market.list"}}',
        {"what": "symbol"},
    )


class NamesOrder(Protocol):
    """Arguments that name an order."""

    @property
    def order_id(self) -> str | None:
        """Our id."""
        ...

    @property
    def client_order_id(self) -> str | None:
        """The client's."""
        ...


def check_named(params: NamesOrder) -> None:
    """Demand exactly one of the two names.

    Raises:
        Refused: `invalid`.
    """
    if (params.order_id is None) == (params.client_order_id is None):
        raise invalid("order_id", "or client_order_id is required, and only one of them")


def order_of(desk: Desk, params: NamesOrder) -> Order:
    """Find an order by either of its ids.

    Raises:
        Refused: `invalid` without exactly one name, `not_found`.
    """
    check_named(params)
    if params.order_id is not None:
        order = desk.engine.orders.get(params.order_id)
    else:
        order = desk.engine.orders.by_client_id(str(params.client_order_id))
    if order is None:
        raise no_order(params)
    return order


def no_order(params: NamesOrder) -> Refused:
    """Make the refusal of an unknown order."""
    name = params.order_id or params.client_order_id
    return Refused(Code.NOT_FOUND, f"no order {name}", {"what": "order"})


def ns(ms: int | None) -> int | None:
    """Turn a wire time into the inside one."""
    return None if ms is None else ms * MS


def changed(before: Mapping[str, object], after: Mapping[str, object]) -> dict[str, object]:
    """Keep the streams that moved."""
    return {name: at for name, at in after.items() if before.get(name) != at}
