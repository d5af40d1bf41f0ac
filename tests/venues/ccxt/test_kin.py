"""Siblings: an exchange under another ccxt id is known to every table that knows the exchange."""

from collections.abc import Iterable

import ccxt.async_support
import pytest

from realtime.emulate.bybit import emulated
from realtime.emulate.faults import LOST
from realtime.model.errors import VenueUnknown
from realtime.model.orders import Status
from realtime.venues.ccxt import calls, errors, mended, private, public, trading
from realtime.venues.ccxt.books import NATIVE
from realtime.venues.ccxt.exchange import Sent
from realtime.venues.ccxt.kin import APART, SIBLINGS, kin
from realtime.venues.ccxt.permissions import READERS
from realtime.venues.ccxt.private import FORMS, WORDS
from realtime.venues.ccxt.public import PublicData
from tests.venues.ccxt.desk import approved, order, venue_at


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def test_every_subclass_of_another_exchange_is_a_sibling_or_apart() -> None:
    """A new one after an upgrade of ccxt: read how its API differs, then put it into one of the two."""
    package = ccxt.async_support
    parents: dict[str, str] = {}
    for name in package.exchanges:
        above = [kind.__name__ for kind in getattr(package, name).__mro__[1:]]
        known = [each for each in above if each in package.exchanges]
        if known:
            parents[name] = known[-1]

    assert dict(SIBLINGS) == {name: of for name, of in parents.items() if name not in APART}
    assert set(parents) >= APART
    assert not set(SIBLINGS) & set(SIBLINGS.values())


@pytest.mark.parametrize(
    "table",
    [
        errors.VENUES,
        FORMS,
        NATIVE,
        READERS,
        WORDS,
        mended.ORDERS,
        trading.SHAPES,
        trading.LOOK_UPS,
        trading.CANCEL_BY,
        trading.SPANS,
        trading.LENGTHS,
        trading.PAGED,
        trading.NO_TIMER,
        trading.REPLACING,
        trading.KEEPING,
        trading.BY_SYMBOL,
        trading.BY_COIN,
        trading.TOLD,
        private.UPDATED,
        calls.COUNTERS,
        public.CHECKED,
    ],
)
def test_no_row_stands_under_a_siblings_id_where_nobody_looks(table: Iterable[str]) -> None:
    assert not set(table) & set(SIBLINGS)


@pytest.mark.parametrize("name", sorted(SIBLINGS))
def test_a_sibling_has_the_endpoint_that_tells_what_a_key_may_do(name: str) -> None:
    endpoint, _ = READERS.get(kin(name), ("describe", None))

    assert hasattr(getattr(ccxt, name)(), endpoint)


def test_gates_sibling_gets_client_ids_that_gate_takes() -> None:
    made = trading.Trading(
        venue="mine",
        exchange=getattr(ccxt, "gateeu")(),  # noqa: B009 - untyped
        markets={},
        types=("spot",),
        now=lambda: 0,
        tell=lambda *_: None,
    )

    assert made.ids.theirs("0" * 32) == "0" * 28
    assert made.rows.exchange == "gate"


async def test_bybit_eu_has_bybits_codes_look_ups_and_native_book() -> None:
    async with (
        emulated(balances={"USDT": 100_000}) as server,
        venue_at("bybiteu", server, server.key, server.secret) as world,
    ):
        asked = world.heard.asked
        resting = [order(f"p-{number}", price="50000", amount="0.001") for number in range(25)]
        for each in resting[:-1]:
            await world.venue.submit(approved(each))
        server.faults.once("*order/create", LOST)
        with pytest.raises(VenueUnknown):
            await world.venue.submit(approved(resting[-1]))
        await world.venue.submit(approved(resting[-1]))  # its id is taken: that is the order
        asked.clear()
        found = await world.venue.find(resting[0])

        assert found is not None
        assert found.status is Status.OPEN
        assert all("orderLinkId=" in url for url in asked)
        assert asked
        public = world.venue.public
        assert isinstance(public, PublicData)
        assert type(public._native) is NATIVE["bybit"]
        answer = Sent(requests=1, text='{"retCode":110072,"retMsg":"told"}')
        verdict = errors.classify("bybiteu", ccxt.ExchangeError("told"), answer)
        assert isinstance(verdict, errors.Exists)
