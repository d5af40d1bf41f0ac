"""Ops of balances."""

from typing import Literal

from realtime.commands.order import Fields
from realtime.commands.params import Name, Params
from realtime.commands.registry import Answer, Call, Op
from realtime.desk.desk import Desk
from realtime.engine import rows
from realtime.model.account import Portfolio
from realtime.model.errors import Code, Refused


Wallet = Literal["spot", "margin", "funding", "swap"]


class ListParams(Params):
    """Which balances."""

    nonzero: bool = True
    wallet: Wallet | None = None


class GetParams(Params):
    """One currency."""

    currency: Name
    wallet: Wallet | None = None


class Balances:
    """The handlers."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def page(self, call: Call[ListParams]) -> Answer:
        """List balances with their value."""
        engine, params = self._desk.engine, call.params
        value = self._value()
        kept = [
            valued
            for valued in value.balances
            if (valued.balance.total or not params.nonzero)
            and (params.wallet is None or valued.balance.wallet == params.wallet)
        ]
        return Answer(
            result={
                "balances": [rows.balance_row(valued, engine.mode) for valued in kept],
                "total_value": rows.money(value.total_value),
                "valuation_currency": value.currency,
                "unpriced": list(value.unpriced),
            }
        )

    def _value(self) -> Portfolio:
        """Value what is known: of an account that nobody has seen yet, nothing is not an answer.

        Raises:
            Refused: `venue_unavailable`.
        """
        engine = self._desk.engine
        value = engine.value(self._desk.now())
        if not value.balances and not engine.ready:
            raise Refused(
                Code.VENUE_UNAVAILABLE,
                "nothing is known of the account yet; system.status says why",
                retry_after=1.0,
            )
        return value

    def get(self, call: Call[GetParams]) -> Answer:
        """Give one balance."""
        currency = call.params.currency.upper()
        engine = self._desk.engine
        for valued in self._value().balances:
            balance = valued.balance
            if balance.currency.upper() == currency and call.params.wallet in {
                None,
                balance.wallet,
            }:
                row: Fields = dict(rows.balance_row(valued, engine.mode))
                return Answer(result=row)
        raise Refused(Code.NOT_FOUND, f"no balance in {currency}", {"what": "currency"})


def ops(desk: Desk) -> list[Op]:
    """Make the rows of the table."""
    balances = Balances(desk)
    return [
        Op(
            name="balance.list",
            params=ListParams,
            scope="read",
            lane="query",
            handler=balances.page,
            http=("GET /api/balances",),
            summary="List balances, each also valued in the valuation currency",
            errors=(Code.VENUE_UNAVAILABLE,),
            example={},
        ),
        Op(
            name="balance.get",
            params=GetParams,
            scope="read",
            lane="query",
            handler=balances.get,
            http=("GET /api/balances/{currency}",),
            summary="Show the balance of one currency",
            errors=(Code.NOT_FOUND, Code.VENUE_UNAVAILABLE),
            example={"currency": "USDT"},
        ),
    ]
