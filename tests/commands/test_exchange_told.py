"""What a real exchange tells only on request: what it offers, and the fees of the account (F8, F21)."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from realtime.model.errors import VenueUnknown
from tests.fakes import BTC, ETH, ScriptedVenue, World


class Telling(ScriptedVenue):
    """A venue that tells on request, and counts how often it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.questions: list[str] = []
        self.silent = False

    def capabilities(self) -> Mapping[str, Mapping[str, str]]:
        return {
            "stream": {"ticker": "native", "fills": "poll"},
            "order": {"market": "native", "limit": "native", "stop": "derived", "amend": "native"},
        }

    async def fees(self, symbol: str) -> tuple[Decimal, Decimal] | None:
        self.questions.append(symbol)
        if self.silent:
            raise VenueUnknown("no answer")
        return Decimal("0.0008"), Decimal("0.0012")


def telling() -> tuple[World, Telling]:
    world, venue = World(), Telling()
    world.venue = venue
    return world, venue


def result(reply: Any) -> dict[str, Any]:
    assert reply.ok, reply.error
    assert isinstance(reply.result, dict)
    return reply.result


async def test_the_accounts_own_fees_are_asked_for_once_and_kept() -> None:
    world, venue = telling()
    async with world.life():
        first = result(await world.call("market.limits", symbol=BTC))
        await world.call("market.limits", symbol=BTC)
        await world.call("market.limits", symbol=ETH)
        await world.call("market.limits")
        kept = result(await world.call("monitoring.cache"))

        assert (first["maker"], first["taker"], first["fees"]) == ("0.0008", "0.0012", "account")
        assert venue.questions == [BTC, ETH]
        assert (kept["hits"], kept["misses"]) == (1, 2)


async def test_where_the_exchange_is_silent_listed_fees_are_told_as_such() -> None:
    world, venue = telling()
    venue.silent = True
    async with world.life():
        limits = result(await world.call("market.limits", symbol=BTC))

        assert limits["fees"] == "listed"
        assert limits["maker"] is not None


async def test_what_the_exchange_cannot_do_is_not_called_native() -> None:
    world, _ = telling()
    async with world.life():
        limits = result(await world.call("market.limits"))
        support = {row["type"]: row["support"] for row in limits["order_types"]}

        assert support["market"] == support["limit"] == "native"
        assert support["stop"] == "emulated"
        assert support["trailing_stop"] == "unsupported"
        assert limits["capabilities"]["stream"] == {"ticker": "ws", "fills": "poll"}
