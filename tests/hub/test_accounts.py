"""Channels of several accounts: their names, their logs, their symbols; with one account nothing of it shows."""

import pytest

from realtime.hub.channels import WHOLE, parse
from realtime.hub.hub import Hub, Wanted
from realtime.hub.sources import account_of
from realtime.model.errors import Code, Refused
from tests.hub.world import FakeWire


def hub_of_two() -> Hub:
    hub = Hub(boot="b1", journal="j1", now=lambda: 1)
    hub.first = "paper"
    hub.add_account("kraken", "j2")
    hub.name_symbols({"BTC/USDT"})
    hub.name_symbols({"ETH/EUR"}, "kraken")
    return hub


def refused(hub: Hub, name: str) -> Code:
    with pytest.raises(Refused) as caught:
        hub.channel(name)
    return caught.value.code


@pytest.mark.parametrize(
    ("asked", "canonical"),
    [
        ("orders", "orders"),
        ("orders@paper", "orders"),
        ("orders@kraken", "orders@kraken"),
        ("orders@kraken?symbol=ETH/EUR", "orders@kraken?symbol=ETH/EUR"),
        ("ticker:BTC/USDT@paper?rate=100", "ticker:BTC/USDT"),
        ("ticker:ETH/EUR@kraken?rate=0", "ticker:ETH/EUR@kraken?rate=0"),
        ("ticker:*@kraken", "ticker:*@kraken"),
    ],
)
def test_the_first_account_has_no_mark_in_canonical_names(asked: str, canonical: str) -> None:
    assert hub_of_two().channel(asked).name == canonical


@pytest.mark.parametrize(
    "name",
    ["ticker:ETH/EUR", "ticker:BTC/USDT@kraken", "orders@third", "status@kraken", "bots@paper"],
)
def test_what_an_account_does_not_have_is_refused(name: str) -> None:
    assert refused(hub_of_two(), name) is Code.UNKNOWN_CHANNEL


@pytest.mark.parametrize("name", ["ticker:BTC/USDT", "orders?symbol=BTC/USDT"])
def test_no_market_is_unknown_before_its_account_has_opened(name: str) -> None:
    """A client is to come back for it, as it does not for a channel that is unknown."""
    hub = Hub(boot="b1", journal="j1", now=lambda: 1)
    hub.add_account("kraken", "j2")
    with pytest.raises(Refused) as shut:
        hub.channel("ticker:BTC/USDT@kraken")
    assert refused(hub, name) is shut.value.code is Code.VENUE_UNAVAILABLE
    assert shut.value.retry_after is not None
    hub.name_symbols({"BTC/USDT"})

    assert hub.channel(name).name == name


def test_with_one_account_there_is_no_choice() -> None:
    hub = Hub(boot="b1", journal="j1", now=lambda: 1)

    assert refused(hub, "orders@paper") is Code.UNKNOWN_CHANNEL


def test_each_account_s_logs_go_on_in_its_own_journal() -> None:
    hub = hub_of_two()
    hub.seed("fills@kraken", 7, [])
    hub.append("fills@kraken", {"id": "t-8", "symbol": "ETH/EUR"})

    assert hub.position("fills") == {"epoch": "j1", "seq": 0}
    assert hub.position("fills@kraken") == {"epoch": "j2", "seq": 8}
    assert not [
        name for name in hub.streams if account_of(name) and name.partition("@")[0] in WHOLE
    ]


def test_price_steps_are_those_of_the_account_s_market() -> None:
    hub = hub_of_two()
    hub.table("markets@kraken", rows=[{"symbol": "ETH/EUR", "groups": ["0.5"]}])

    found = hub.channel("orderbook:ETH/EUR@kraken?group=0.50")

    assert found.name.endswith("&group=0.5&rate=100")
    assert parse("orders", ()).venue is None


def test_all_symbols_are_those_of_one_account() -> None:
    hub = hub_of_two()
    wire, asked = FakeWire(), list[tuple[str, bool]]()
    hub.on_demand = lambda base, wanted: asked.append((base, wanted))
    hub.value("ticker:ETH/EUR@kraken", {"last": "1"})
    reader = hub.attach(wire, batch=False, every=0)
    hub.subscribe(reader, [Wanted(channel=hub.channel("ticker:*@kraken?rate=0"))])
    hub.subscribe(reader, [Wanted(channel=hub.channel("ticker:*?rate=0"))])

    assert told(hub, wire) == {"ticker:ETH/EUR@kraken?rate=0"}
    hub.value("ticker:BTC/USDT", {"last": "2"})
    hub.value("ticker:ETH/EUR@kraken", {"last": "2"})
    assert told(hub, wire) == {"ticker:ETH/EUR@kraken?rate=0", "ticker:BTC/USDT?rate=0"}
    stars = [(base, wanted) for base, wanted in asked if "*" in base]
    assert stars == [("ticker:*@kraken", True), ("ticker:*", True)]

    hub.unsubscribe(reader, ["ticker:*?rate=0"])
    hub.value("ticker:BTC/USDT", {"last": "3"})
    hub.value("ticker:ETH/EUR@kraken", {"last": "3"})
    assert told(hub, wire) == {"ticker:ETH/EUR@kraken?rate=0"}
    hub.unsubscribe(reader, None)
    stars = [(base, wanted) for base, wanted in asked if "*" in base][2:]
    assert stars == [("ticker:*", False), ("ticker:*@kraken", False)]


def told(hub: Hub, wire: FakeWire) -> set[str]:
    """Names of the channels that were written to."""
    for _ in range(2):
        for blob, wires in hub.flush():
            for one in wires:
                one.write(blob)
    return {str(message["channel"]) for message in wire.take()}
