"""trading:5.4, the numbered cards every venue has to pass.

Market data (C01 to C09) on: the paper exchange, chaos without faults, the embedded market, a recording, and the real
ccxt client on the emulated Bybit, Kraken, Bitfinex and Binance. Orders and accounts (C10 to C50) on: paper, chaos, and
the real client on the emulated Bybit, Kraken and Bitfinex (`stands.py`). `CANNOT` says which card a venue cannot pass,
and why; `docs/venues.md` shows it. Beside the cards of all stand some that only the paper exchange is asked for.
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest

from realtime.emulate import faults as emulated_faults
from realtime.emulate.faults import LOST
from realtime.engine.bars import Bars
from realtime.engine.orderbook import OrderBook
from realtime.model.account import Balance
from realtime.model.errors import Code, Refused, VenueRejected, VenueUnknown
from realtime.model.events import (
    BalanceSeen,
    Filled,
    MarketEvent,
    OrderSeen,
    PositionSeen,
    Transferred,
    VenueEvent,
)
from realtime.model.market import (
    MS,
    SECOND,
    Bar,
    BookDelta,
    BookSnapshot,
    Market,
    Stale,
    Ticker,
    Trade,
)
from realtime.model.orders import Order, OrderType, Side, Status, TimeInForce
from realtime.venues.base import Venue
from realtime.venues.ccxt.account import Account
from realtime.venues.ccxt.public import PublicData
from realtime.venues.chaos import HANG_S, LATE_S, ChaosVenue, Fault, Kind
from realtime.venues.market import EmbeddedMarket
from realtime.venues.paper import PaperVenue
from realtime.venues.replay import recording
from tests.emulated import binance
from tests.emulated.clients import validate
from tests.venues import stands
from tests.venues.frozen import SYMBOL
from tests.venues.kit import Clock, Listener, MemoryLog, Recorded, Shop, amended, approved, wish
from tests.venues.stands import CASH, COINS, PLACES, STANDS, Stand


D = Decimal
PERP = "BTC/USDT:USDT"
RECORDING = Path(__file__).parents[1] / "data" / "binance-spot-synthetic.jsonl.gz"
DOCUMENT = Path(__file__).parents[2] / "docs" / "venues.md"

CARDS = {
    "c01": "markets tell grid, minima and fees",
    "c02": "published numbers are on the grid",
    "c03": "the ticker is a top of book",
    "c04": "a book begins with a snapshot",
    "c05": "snapshot and updates are never crossed",
    "c06": "trades have ids of their own and come in order, none missing",
    "c07": "the newest trades can be asked for",
    "c08": "the forming bar is the fold of the newest trades",
    "c09": "bars ascend and keep their order",
    "c10": "a market order fills",
    "c11": "a limit order rests and is listed",
    "c12": "a stop waits and fires",
    "c13": "a stop limit waits and fires",
    "c14": "a take profit waits and fires",
    "c15": "a trailing stop waits and fires",
    "c16": "immediate or cancel",
    "c17": "fill or kill",
    "c18": "good till a date",
    "c19": "post only never takes",
    "c20": "refusals are certain, have their class, and change nothing",
    "c21": "a client id is used once",
    "c22": "fills sum up and pay their fees",
    "c23": "an amend sets its targets and keeps the order",
    "c24": "a cancel ends an order once",
    "c25": "balances follow each step",
    "c26": "what is told of balances is what can be read",
    "c27": "a position is told and read",
    "c28": "leverage can be changed",
    "c29": "funding is told as a transfer",
    "c30": "the liquidation price is told beforehand",
    "c31": "events of an order come in their order",
    "c32": "reduce only never opens",
    "c33": "of a group one leg ends the other",
    "c34": "connecting again tells the same account",
    "c35": "a refusal is certain",
    "c36": "a request that was lost is unknown, and found not to exist",
    "c37": "an answer that was lost is unknown, and the order is found",
    "c38": "an order that is visible late is found later",
    "c39": "a connection that is reset leaves it unknown",
    "c40": "a connection that is half open leaves it unknown",
    "c41": "too many requests is certain",
    "c42": "half an answer is unknown, and the order is found",
    "c43": "streams may be wrong but reading is right",
    "c44": "maintenance has its class",
    "c45": "a connection that breaks during a placement loses no order",
    "c46": "a connection that breaks during a cancel changes nothing",
    "c47": "a stale feed is told",
    "c48": "a fill that races a cancel is not lost",
    "c49": "the look-up finds a known order, working and ended (A2)",
    "c50": "whoever comes after a kill finds a consistent account",
}
"""The one list."""

KRAKEN_SPOT = "spot here: its derivatives are another exchange, `krakenfutures`"
BITFINEX_SPOT = "spot here: its derivatives pay from another wallet, which ccxt's stream leaves out"
CANNOT = {
    ("bybit", "c15"): "its trailing stop belongs to a position and has no id; the desk makes one",
    ("bybit", "c18"): "it has no orders good till a date",
    ("bybit", "c29"): "funding shows in the balance only; the ledger books the difference",
    ("bybit", "c33"): "no groups in ccxt; the desk cancels the other leg",
    ("kraken", "c27"): KRAKEN_SPOT,
    ("kraken", "c28"): KRAKEN_SPOT,
    ("kraken", "c29"): KRAKEN_SPOT,
    ("kraken", "c30"): KRAKEN_SPOT,
    ("kraken", "c32"): KRAKEN_SPOT,
    ("kraken", "c33"): "no groups in ccxt; the desk cancels the other leg",
    ("bitfinex", "c14"): "a trigger there is a stop: on the far side it would fire at once; the desk makes one",
    ("bitfinex", "c18"): "ccxt has no word for its orders good till a date",
    ("bitfinex", "c21"): "it takes a client id twice; the desk never sends one twice",
    ("bitfinex", "c27"): BITFINEX_SPOT,
    ("bitfinex", "c28"): BITFINEX_SPOT,
    ("bitfinex", "c29"): BITFINEX_SPOT,
    ("bitfinex", "c30"): BITFINEX_SPOT,
    ("bitfinex", "c32"): BITFINEX_SPOT,
    ("bitfinex", "c33"): "no groups in ccxt; the desk cancels the other leg",
}  # fmt: skip
"""Cards that a venue cannot pass, by its name and the card's number."""
REFUSED: dict[tuple[str, str], dict[str, Any]] = {
    ("bybit", "c15"): {"type": OrderType.TRAILING_STOP, "trailing_amount": "600"},
    ("bybit", "c18"): {"price": "50000", "time_in_force": TimeInForce.GTD, "good_till_ts": 4 * 10**18},
    ("bitfinex", "c14"): {"type": OrderType.TAKE_PROFIT, "stop_price": "63000"},
    ("bitfinex", "c18"): {"price": "50000", "time_in_force": TimeInForce.GTD, "good_till_ts": 4 * 10**18},
}  # fmt: skip
"""Orders that show it: refused before anything is sent."""
MARKET_DATA_ONLY = ("embedded", "replay", "binance")
REAL = frozenset({*PLACES, "binance"})
SLOW = frozenset({"kraken", "bitfinex"})
"""Whose cards of orders are played in the long run; their files beside ccxt's keep what is theirs in the fast one."""


def card_of(test: str) -> str:
    """Read the number of the card out of the name of its test."""
    found = re.match(r"test_(c\d\d)_", test)
    assert found is not None, test
    return found[1]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Play a card on every stand that can."""
    if "stand" not in metafunc.fixturenames:
        return
    card = card_of(metafunc.function.__name__)
    metafunc.parametrize(
        "stand",
        [
            pytest.param(name, id=name, marks=[pytest.mark.slow] if name in SLOW else [])
            for name in STANDS
            if (name, card) not in CANNOT
        ],
        indirect=True,
    )


@pytest.fixture
def anyio_backend(request: pytest.FixtureRequest, anyio_backend: Any) -> Any:
    """The virtual clock, but where real sockets are."""
    given = getattr(request.node, "callspec", None)
    names = set() if given is None else {str(value) for value in given.params.values()}
    return "asyncio" if names & REAL else anyio_backend


@pytest.fixture
async def stand(request: pytest.FixtureRequest) -> AsyncIterator[Stand]:
    async with STANDS[request.param]() as made:
        yield made


def documented() -> str:
    """Give the table of `docs/venues.md`."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for (venue, card), reason in CANNOT.items():
        reasons.setdefault((venue, reason), []).append(card.upper())
    lines = ["| venue | cards | why |", "| --- | --- | --- |"]
    lines += [
        f"| {venue} | {', '.join(cards)} | {reason} |"
        for (venue, reason), cards in sorted(reasons.items(), key=lambda row: (row[0][0], row[1]))
    ]
    lines.append(f"| {', '.join(MARKET_DATA_ONLY)} | C10 to C50 | market data only |")
    return "\n".join(lines) + "\n"


def test_the_document_shows_what_a_venue_cannot() -> None:
    assert documented() in DOCUMENT.read_text()


def test_every_card_has_a_test_and_every_reason_a_card() -> None:
    tested = {
        match[1] for name in globals() if (match := re.match(r"test_(c\d\d)_", name)) is not None
    }
    several = {f"c{number}" for number in (12, 13, 14, 15)}
    faults = {row[0] for row in FAULTS} | {row[0] for row in EMULATED_FAULTS}

    assert tested | several | faults == set(CARDS)
    assert {card for _, card in CANNOT} <= set(CARDS)
    assert set(REFUSED) <= set(CANNOT)


@pytest.mark.parametrize(
    ("name", "card"), [pytest.param(*key, id="-".join(key)) for key in REFUSED]
)
async def test_what_a_venue_has_no_word_for_is_refused_before_anything_is_sent(
    name: str, card: str
) -> None:
    async with STANDS[name]() as stand:
        with pytest.raises(Refused) as refused:
            await stand.place("a", Side.SELL, **REFUSED[name, card])

        assert refused.value.code is Code.NOT_SUPPORTED
        assert await stand.venue.open_orders() == []


class Stage(Shop):
    """The paper exchange on the frozen market, bare or behind chaos: what only it has."""

    def __init__(self, kind: str, **options: Any) -> None:
        super().__init__(log=MemoryLog(), **options)
        self.kind = kind
        self.chaos = ChaosVenue(self.paper, seed=1, now=self.clock.now, sleep=self.clock.sleep)
        if kind == "chaos":
            self.venue = self.chaos


@pytest.fixture(params=["paper", "chaos"])
async def stage(request: pytest.FixtureRequest) -> Stage:
    made = Stage(request.param, balances={"USDT": "100000", "BTC": "2"})
    await made.open()
    return made


@pytest.fixture
async def rough() -> Stage:
    made = Stage("chaos", balances={"USDT": "100000", "BTC": "2"})
    await made.open()
    made.heard.clear()
    return made


# --- C01 to C09, market data ------------------------------------------------------------------


@dataclass
class Data:
    """What a venue told while it moved, and what it answered behind that.

    Attributes:
        newest: Its answer to a question for the three newest trades.
        forming, bars: The newest bar of a minute; twenty of five minutes at most.
        total: Base units traded while it was listened to; None where nobody counted.
    """

    markets: dict[str, Market]
    symbol: str
    told: list[MarketEvent | VenueEvent]
    newest: Sequence[Trade]
    forming: Bar
    bars: Sequence[Bar]
    total: Decimal | None = None

    def of(self, *kinds: type[object]) -> list[Any]:
        """Its events of these kinds, of its symbol."""
        return [
            event
            for event in self.told
            if isinstance(event, kinds) and getattr(event, "symbol", None) == self.symbol
        ]


async def gathered(
    venue: Venue | PublicData, heard: Listener, symbol: str, total: Decimal | None = None
) -> Data:
    """Ask what the cards look at."""
    return Data(
        markets=dict(venue.markets),
        symbol=symbol,
        told=list(heard.events),
        newest=list(await venue.trades(symbol, 3)),
        forming=(await venue.ohlcv(symbol, "1m", None, 1))[-1],
        bars=list(await venue.ohlcv(symbol, "5m", None, 20)),
        total=total,
    )


async def _frozen(*, chaotic: bool) -> Data:
    made = Stage("chaos" if chaotic else "paper", balances={"USDT": "100000", "BTC": "2"})
    await made.open()
    made.source.step(1)
    await made.place("a")
    made.source.trade(Side.SELL, D("64010.00"), D("0.5"))
    made.source.step(2)
    return await gathered(made.venue, made.heard, SYMBOL)


async def _embedded() -> Data:
    clock, heard = Clock(), Listener()
    source = EmbeddedMarket(seed=1, now=clock.now, sleep=clock.sleep, symbols=(SYMBOL, PERP))
    venue = PaperVenue(source=source, balances={}, seed=1, now=clock.now, sleep=clock.sleep)
    await venue.open(heard)
    for _ in range(100):
        clock.advance(0.05)
        source.step()
    return await gathered(venue, heard, SYMBOL)


async def _replay() -> Data:
    clock, heard = Clock(), Listener()
    source = Recorded(recording(RECORDING), now=clock.now, sleep=clock.sleep, speed=None)
    venue = PaperVenue(
        source=source, balances={}, seed=1, now=clock.now, sleep=clock.sleep, kind="replay"
    )
    await venue.open(heard)
    await source.played_by(venue)
    return await gathered(venue, heard, "BTC/USDT")


@asynccontextmanager
async def listening(
    account: Account,
    symbol: str,
    now: Callable[[], int] = time.time_ns,
    ready: Callable[[Listener], Any] = lambda heard: heard.of(BookSnapshot) and heard.of(Ticker),
) -> AsyncIterator[tuple[PublicData, Listener]]:
    """Listen to the public data of an emulated exchange with the real client, from when it is `ready` on."""
    public, heard = PublicData(account=account, now=now, sleep=asyncio.sleep), Listener()
    await public.open()
    for stream in ("ticker", "orderbook", "trades"):
        public.want(symbol, stream, True)
    task = asyncio.create_task(public.run(heard))
    try:
        await until(lambda: ready(heard))
        yield public, heard
    finally:
        task.cancel()
        await asyncio.wait([task])
        await public.close()


async def until(holds: Callable[[], Any]) -> None:
    async with asyncio.timeout(stands.PATIENCE_S):
        while not holds():  # noqa: ASYNC110 - what is waited for is behind a socket
            await asyncio.sleep(0.005)


async def _emulated(name: str) -> Data:
    place = PLACES[name]
    async with stands.served(name) as server:
        source = server.floor.source
        source.set_book(place.symbol, stands.BIDS, stands.ASKS)
        source.trade(place.symbol, Side.BUY, "0.5")
        async with listening(stands.account_of(name, server.endpoint), place.symbol) as (
            public,
            heard,
        ):
            ready = len(heard.of(Trade))
            # Which trades of before are told, and whether already now, is the venue's affair.
            begun = time.time_ns() - MS
            amounts = ["0.01", "0.02", "0.03", "1.5", "0.05"]
            for number, amount in enumerate(amounts):
                side = Side.SELL if number % 2 else Side.BUY
                source.trade(place.symbol, side, amount)
                await asyncio.sleep(0.002)
            source.move(place.symbol, 60_500)
            moved = D("60500")
            await until(lambda: any(D(trade.price) == moved for trade in heard.of(Trade)[ready:]))
            total = sum(D(row.amount) for row in heard.of(Trade) if row.ts < begun)
            total += sum(map(D, amounts)) + server.floor.markets[place.symbol].amount_step
            return await gathered(public, heard, place.symbol, total)


async def _binance() -> Data:
    async with binance.serve(RECORDING) as server:
        account = Account(
            id="binance", exchange="binance", types=("spot",), endpoint=server.endpoint
        )
        symbol = server.market.symbol

        def ready(heard: Listener) -> bool:
            subscribed = sum(len(one.streams) for one in server.clients)
            return subscribed >= 2 and bool(heard.of(BookSnapshot))

        async with listening(account, symbol, lambda: server.now, ready) as (public, heard):
            await server.play()
            last = (await public.trades(symbol, 1))[-1]
            await until(lambda: any(trade.id == last.id for trade in heard.of(Trade)))
            return await gathered(public, heard, symbol)


MAKERS: dict[str, Callable[[], Awaitable[Data]]] = {
    "paper": lambda: _frozen(chaotic=False),
    "chaos": lambda: _frozen(chaotic=True),
    "embedded": _embedded,
    "replay": _replay,
    "bybit": lambda: _emulated("bybit"),
    "kraken": lambda: _emulated("kraken"),
    "bitfinex": lambda: _emulated("bitfinex"),
    "binance": _binance,
}
MADE: dict[str, Data] = {}
"""Gathered once: nine cards look at the same."""


@pytest.fixture(params=list(MAKERS))
async def data(request: pytest.FixtureRequest) -> Data:
    name = request.param
    if name not in MADE:
        MADE[name] = await MAKERS[name]()
    return MADE[name]


async def test_c01_markets_tell_grid_and_fees(data: Data) -> None:
    market = data.markets[data.symbol]

    assert (market.base, market.type) == ("BTC", "spot")
    assert market.quote == data.symbol.partition("/")[2]
    assert market.price_tick > 0 < market.amount_step
    assert market.maker is not None
    assert 0 < market.taker < D("0.01")


async def test_c02_published_numbers_are_on_the_grid(data: Data) -> None:
    market = data.markets[data.symbol]
    for event in data.of(BookSnapshot, BookDelta):
        for price, amount in (*event.bids, *event.asks):
            assert D(price) % market.price_tick == 0
            assert D(amount) % market.amount_step == 0


async def test_c03_the_ticker_is_a_top_of_book(data: Data) -> None:
    tickers = data.of(Ticker)
    tops = [(D(row.bid), D(row.ask)) for row in tickers if row.bid and row.ask]

    assert tickers[-1].bid
    assert tickers[-1].ask
    assert all(bid < ask for bid, ask in tops)
    # Where the book is another stream, the first one may be of before it.
    assert len(tickers) - len(tops) <= 1


async def test_c04_a_book_begins_with_a_snapshot(data: Data) -> None:
    assert isinstance(data.of(BookSnapshot, BookDelta)[0], BookSnapshot)


async def test_c05_snapshot_and_updates_are_never_crossed(data: Data) -> None:
    book = OrderBook(data.symbol)
    for event in data.of(BookSnapshot, BookDelta):
        if isinstance(event, BookSnapshot):
            book.apply_snapshot(event)
        else:
            book.apply_delta(event)
        assert not book.crossed
    assert book.best_bid is not None


async def test_c06_trades_have_ids_of_their_own_and_come_in_order(data: Data) -> None:
    trades = data.of(Trade)

    assert trades
    assert len({trade.id for trade in trades}) == len(trades)
    assert [trade.ts for trade in trades] == sorted(trade.ts for trade in trades)
    if data.total is not None:
        assert sum(D(trade.amount) for trade in trades) == data.total


async def test_c07_the_newest_trades_can_be_asked_for(data: Data) -> None:
    def said(trades: Sequence[Trade]) -> list[tuple[str, Decimal, Decimal, str]]:
        return [(row.id, D(row.price), D(row.amount), row.side) for row in trades]

    assert said(data.newest) == said(data.of(Trade)[-3:])


async def test_c08_the_forming_bar_is_the_fold_of_the_newest_trades(data: Data) -> None:
    fold = Bars("1m")
    for trade in data.of(Trade):
        fold.add(trade)
    forming = fold.forming

    assert forming is not None
    assert (data.forming.ts, D(data.forming.close)) == (forming.ts, D(forming.close))
    assert D(data.forming.volume) >= D(forming.volume)


async def test_c09_bars_ascend_and_keep_their_order(data: Data) -> None:
    bars = data.bars

    assert 0 < len(bars) <= 20
    assert [bar.ts for bar in bars] == sorted({bar.ts for bar in bars})
    for bar in bars:
        prices = [D(bar.open), D(bar.close)]
        assert D(bar.low) <= min(prices) <= max(prices) <= D(bar.high)


# --- C10 to C24, orders -----------------------------------------------------------------------


async def row_of(stand: Stand, order: Order) -> OrderSeen:
    found = await stand.venue.find(order)
    assert found is not None
    assert found.exchange_order_id == order.exchange_order_id
    assert found.venue_client_id == order.venue_client_id
    return found


async def ended(stand: Stand, order: Order) -> OrderSeen:
    """Look until an order has ended: an answer may be of before the matching."""
    async with asyncio.timeout(stands.PATIENCE_S):
        while not (found := await row_of(stand, order)).status.ended:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.01)
    return found


async def status_of(stage: Stage, order: Order) -> Status:
    found = await stage.venue.find(order)
    assert found is not None
    return found.status


async def test_c10_a_market_order_fills(stand: Stand) -> None:
    for name, side in (("b", Side.BUY), ("s", Side.SELL)):
        found = await ended(stand, await stand.place(name, side))

        assert (found.status, found.side, found.filled) == (Status.FILLED, side, D("0.01"))
        assert found.cost == D("0.01") * D(60_010 if side is Side.BUY else 59_990)


async def test_c11_a_limit_order_rests(stand: Stand) -> None:
    order = await stand.place("a", price="50000")
    found = await row_of(stand, order)
    (listed,) = await stand.venue.open_orders()

    for row in (found, listed):
        assert (row.status, row.type, row.side) == (Status.OPEN, "limit", Side.BUY)
        assert (row.price, row.amount, row.filled) == (D(50_000), D("0.01"), D(0))


async def fires(stand: Stand, trigger: str, kind: str, **fields: Any) -> None:
    """Place a sell that waits; it is told as what it is, and fires when the last price comes to it."""
    stand.market.print(stand.symbol, "60000")
    order = await stand.place("a", Side.SELL, **fields)
    waiting = await row_of(stand, order)
    if stand.name == "bybit" and kind == "take_profit":
        kind = "stop"  # on spot its rows do not say whether they wait for a rise or a fall
    assert (waiting.status, waiting.type, waiting.price) == (Status.OPEN, kind, order.price)
    if order.stop_price is not None:
        assert waiting.stop_price == order.stop_price

    stand.market.print(stand.symbol, trigger)

    assert (await ended(stand, order)).status is Status.FILLED


async def test_c12_a_stop(stand: Stand) -> None:
    await fires(stand, "59000", "stop", type=OrderType.STOP, stop_price="59000")


async def test_c13_a_stop_limit(stand: Stand) -> None:
    fields = {"type": OrderType.STOP_LIMIT, "stop_price": "59000", "price": "58000"}
    await fires(stand, "58990", "stop_limit", **fields)


async def test_c14_a_take_profit(stand: Stand) -> None:
    await fires(stand, "61000", "take_profit", type=OrderType.TAKE_PROFIT, stop_price="61000")


async def test_c15_a_trailing_stop(stand: Stand) -> None:
    kind = OrderType.TRAILING_STOP
    await fires(stand, "59300", "trailing_stop", type=kind, trailing_amount="600")


async def test_c16_immediate_or_cancel(stand: Stand) -> None:
    order = await stand.place("a", amount="1.3", price="60010", time_in_force=TimeInForce.IOC)
    found = await ended(stand, order)

    assert (found.status, found.filled) == (Status.CANCELED, D(1))


async def test_c17_fill_or_kill(stand: Stand) -> None:
    order = await stand.place("a", amount="1.3", price="60010", time_in_force=TimeInForce.FOK)
    found = await ended(stand, order)

    assert (found.status, found.filled) == (Status.CANCELED, D(0))


async def test_c18_good_till_a_date(stand: Stand) -> None:
    until_ts = (stand.now() // SECOND + 2) * SECOND
    order = await stand.place(
        "a", price="50000", time_in_force=TimeInForce.GTD, good_till_ts=until_ts
    )
    assert (await row_of(stand, order)).status is Status.OPEN
    if stand.clock is not None:
        stand.clock.advance(3)
        stand.market.step()

    assert (await ended(stand, order)).status is Status.EXPIRED


async def test_c19_post_only_never_takes(stand: Stand) -> None:
    try:
        taken_in = await stand.place("a", price="60010", post_only=True)
    except VenueRejected:
        pass  # and some take it in, and end it
    else:
        assert (await ended(stand, taken_in)).filled == 0
    assert await stand.venue.fills(0) == []

    rests = await stand.place("b", price="60005", post_only=True)
    assert (await row_of(stand, rests)).status is Status.OPEN


NO: list[tuple[str, dict[str, Any]]] = [
    ("tick", {"price": "50000.001"}),
    ("lot", {"price": "50000", "amount": "0.0100000001"}),
    ("least", {"price": "50000", "amount": "0.00001"}),
    ("funds", {"price": "59000", "amount": "9"}),
    ("symbol", {"symbol": "NO/USDT"}),
]


@pytest.mark.parametrize("fields", [row[1] for row in NO], ids=[row[0] for row in NO])
async def test_c20_refusals_are_certain_and_change_nothing(
    stand: Stand, fields: dict[str, Any]
) -> None:
    before = await stand.venue.balances()
    with pytest.raises((VenueRejected, Refused)) as refused:
        await stand.place("a", **fields)

    if fields.get("amount") == "9":
        assert refused.value.code is Code.INSUFFICIENT_FUNDS
    assert [(row.currency, row.available, row.reserved) for row in before] == [
        (row.currency, row.available, row.reserved) for row in await stand.venue.balances()
    ]
    assert await stand.venue.find(stand.wish("a")) is None


@pytest.mark.parametrize(
    ("fields", "code", "kind"),
    [
        ({"price": "1.001"}, Code.VENUE_REJECTED, "InvalidOrder"),
        ({"amount": "0.000001"}, Code.VENUE_REJECTED, "InvalidOrder"),
        ({"amount": "0"}, Code.VENUE_REJECTED, "InvalidOrder"),
        ({"amount": "9", "price": "64000.00"}, Code.INSUFFICIENT_FUNDS, "InsufficientFunds"),
        ({"symbol": "NO/USDT"}, Code.VENUE_REJECTED, "BadSymbol"),
    ],
    ids=["tick", "lot", "nothing", "funds", "symbol"],
)
async def test_c20_paper_refusals_have_their_class_and_change_nothing(
    stage: Stage, fields: dict[str, Any], code: Code, kind: str
) -> None:
    before = await stage.venue.balances()
    with pytest.raises(VenueRejected) as refused:
        await stage.place("a", **fields)

    assert refused.value.details is not None
    assert (refused.value.code, refused.value.details["class"]) == (code, kind)
    assert await stage.venue.balances() == before
    assert await stage.venue.find(wish("a")) is None


async def test_c21_a_client_id_is_used_once(stand: Stand) -> None:
    order = await stand.place("a", price="50000")
    code = Code.CONFLICT
    try:
        again = await stand.venue.submit(approved(order))
    except VenueRejected as refused:
        code = refused.code
    else:
        assert again.exchange_order_id == order.exchange_order_id  # it was looked up

    assert code is Code.CONFLICT
    assert len(await stand.venue.open_orders()) == 1


async def test_c22_fills_sum_up_and_pay_their_fees(stand: Stand) -> None:
    order = await stand.place("a", amount="1.3", price="60020")
    found = await ended(stand, order)
    fills = await stand.venue.fills(0)

    assert [(fill.price, fill.amount) for fill in fills] == [
        (D(60_010), D(1)),
        (D(60_020), D("0.3")),
    ]
    assert found.filled == sum(fill.amount for fill in fills) == D("1.3")
    # Where only an average is told, the sum is as exact as that.
    spent = sum((fill.amount * fill.price for fill in fills), D(0))
    assert found.cost == pytest.approx(spent, rel=D("1e-12"))
    for fill in fills:
        paid_of = fill.amount if fill.fee_currency == "BTC" else fill.amount * fill.price
        assert fill.fee == pytest.approx(paid_of * stand.rules.taker, rel=D("1e-6"))
        assert (fill.exchange_order_id, fill.maker) == (order.exchange_order_id, False)
        assert fill.venue_client_id in {order.venue_client_id, None}


async def test_c22_paper_fills_sum_up_and_pay_their_fees(stage: Stage) -> None:
    order = await stage.place("a", amount="1.3", price="64013.00")
    fills = await stage.venue.fills(0)
    found = await stage.venue.find(order)

    assert found is not None
    assert [fill.amount for fill in fills] == [D("1.20410"), D("0.0959")]
    assert found.filled == sum(fill.amount for fill in fills)
    assert found.cost == sum(fill.amount * fill.price for fill in fills)
    assert [(fill.fee, fill.fee_currency) for fill in fills] == [
        (D("0.0012041"), "BTC"),
        (D("0.0000959"), "BTC"),
    ]


async def test_c23_an_amend_sets_its_targets(stand: Stand) -> None:
    order = await stand.place("a", price="50000")
    ack = await stand.venue.amend(amended(order, price="51000", amount="0.02"))
    found = await row_of(stand, order)

    assert ack.exchange_order_id == order.exchange_order_id
    assert (found.status, found.price, found.amount) == (Status.OPEN, D(51_000), D("0.02"))


async def test_c24_a_cancel_ends_an_order_once(stand: Stand) -> None:
    orders = [await stand.place(str(number), price="50000") for number in range(3)]
    for order in orders:
        await stand.venue.cancel(order)
        assert (await ended(stand, order)).status is Status.CANCELED
    with pytest.raises(VenueRejected) as refused:
        await stand.venue.cancel(orders[0])

    assert refused.value.code is Code.NOT_FOUND
    assert await stand.venue.open_orders() == []


# --- C25 to C34, the account ------------------------------------------------------------------


async def test_c25_balances_follow_each_step(stand: Stand) -> None:
    order = await stand.place("a", price="59995", amount="0.5")
    held = await stand.balance(stand.quote)
    assert (held.available, held.reserved) == (CASH - D("29997.5"), D("29997.5"))
    await stand.venue.amend(amended(order, amount="0.25"))
    assert (await stand.balance(stand.quote)).available == CASH - D("14998.75")
    stand.market.trade(stand.symbol, Side.SELL, "0.1")
    await stand.venue.cancel(order)
    (fill,) = await stand.venue.fills(0)
    paid = {fill.fee_currency: fill.fee}

    assert (fill.price, fill.amount, fill.maker) == (D(59_995), D("0.1"), True)
    quote, base = await stand.balance(stand.quote), await stand.balance("BTC")
    assert (quote.available, quote.reserved) == (
        CASH - D("5999.5") - paid.get(stand.quote, D(0)),
        D(0),
    )
    assert (base.available, base.reserved) == (COINS + D("0.1") - paid.get("BTC", D(0)), D(0))


def held(rows: Sequence[Balance]) -> dict[str, tuple[Decimal, Decimal]]:
    return {row.currency: (row.available, row.reserved) for row in rows}


async def test_c26_what_is_told_of_balances_is_what_can_be_read(stand: Stand) -> None:
    async with stand.running():
        await stand.place("a", price="50000", amount="0.5")
        await stand.place("b", Side.SELL, amount="0.5")
        read = held(await stand.venue.balances())

        def told() -> bool:
            rows = {row.balance.currency: row.balance for row in stand.heard.of(BalanceSeen)}
            return read.items() <= held(list(rows.values())).items()

        await stand.until(told)
        assert read[stand.quote][1] == 25_000


class Leveraged:
    """An account with a position in a perpetual of the embedded market."""

    def __init__(self) -> None:
        self.clock, self.heard = Clock(), Listener()
        self.source = EmbeddedMarket(
            seed=1, now=self.clock.now, sleep=self.clock.sleep, symbols=(SYMBOL, PERP)
        )
        self.venue = PaperVenue(
            source=self.source,
            balances={"USDT": D(5000)},
            seed=1,
            now=self.clock.now,
            sleep=self.clock.sleep,
        )

    async def open(self) -> "Leveraged":
        await self.venue.open(self.heard)
        await self.venue.submit(approved(wish("p", amount="0.1", symbol=PERP, leverage="10")))
        return self


async def bought(stand: Stand, **fields: Any) -> None:
    """Buy a tenth of a contract's coin with tenfold leverage."""
    values = {"amount": "0.1", "symbol": stand.perp, "leverage": "10"} | fields
    await stand.place("p", **values)


async def test_c27_a_position_is_told_and_read(stand: Stand) -> None:
    async with stand.running():
        await bought(stand)
        await stand.until(lambda: any(row.position.amount for row in stand.heard.of(PositionSeen)))
        (position,) = await stand.venue.positions()

        assert (position.symbol, position.amount, position.side) == (PERP, D("0.1"), "long")
        assert position.entry_price == pytest.approx(D(60_000), rel=D("0.01"))
        assert stand.heard.of(PositionSeen)[-1].position.amount == position.amount


async def test_c28_leverage_can_be_changed(stand: Stand) -> None:
    await bought(stand)
    before = (await stand.balance(stand.quote)).reserved
    assert before == pytest.approx(D(600), rel=D("0.05"))
    await stand.place("q", amount="0.001", symbol=stand.perp, leverage="20")

    assert (await stand.venue.positions())[0].leverage == D(20)
    assert (await stand.balance(stand.quote)).reserved == pytest.approx(before / 2, rel=D("0.05"))


async def test_c28_paper_leverage_can_be_changed() -> None:
    held = await Leveraged().open()
    reserved = (await held.venue.balances())[0].reserved
    await held.venue.set_leverage(PERP, D(20))

    assert (await held.venue.positions())[0].leverage == D(20)
    assert (await held.venue.balances())[0].reserved == pytest.approx(reserved / 2, rel=D("1e-6"))


async def test_c29_paper_funding_is_told_as_a_transfer() -> None:
    held = await Leveraged().open()
    held.clock.advance(8 * 3600)
    held.source.step()
    funding = [event for event in held.heard.of(Transferred) if event.kind == "funding"]

    assert [event.symbol for event in funding] == [PERP]
    assert abs(funding[0].amount) < D(100)


async def test_c30_the_liquidation_price_is_told_beforehand(stand: Stand) -> None:
    # Cash of another currency would save it: only what this position can fall back on counts.
    await bought(stand, amount="8", leverage="20")
    (position,) = await stand.venue.positions()

    assert position.liquidation_price is not None
    assert position.entry_price is not None
    assert 0 < position.liquidation_price < position.entry_price
    assert position.maintenance_margin is not None


async def test_c31_rows_of_an_order_never_go_back(stand: Stand) -> None:
    async with stand.running():
        order = await stand.place("a", price="59995", amount="0.3")
        for _ in range(2):
            stand.market.trade(stand.symbol, Side.SELL, "0.1")
        await stand.venue.cancel(order)

        def rows() -> list[OrderSeen]:
            return [
                row
                for row in stand.heard.of(OrderSeen)
                if row.exchange_order_id == order.exchange_order_id
            ]

        await stand.until(lambda: rows() and rows()[-1].status.ended)
        await stand.until(lambda: len(stand.heard.of(Filled)) == 2)
        filled = [row.filled for row in rows()]
        assert filled == sorted(filled)
        assert (rows()[-1].status, filled[-1]) == (Status.CANCELED, D("0.2"))
        assert [row.status.ended for row in rows()].count(True) == 1


async def test_c31_paper_events_of_an_order_come_in_their_order(stage: Stage) -> None:
    stage.heard.clear()
    await stage.place("a")
    kinds = [
        type(event).__name__
        for event in stage.heard.of(OrderSeen, Filled, BalanceSeen, PositionSeen)
    ]

    # Of one batch the newest row of an order may be the only one; it comes behind its fills.
    assert kinds[-4:] == ["Filled", "OrderSeen", "BalanceSeen", "BalanceSeen"]
    assert kinds[:-4] in ([], ["OrderSeen"])


async def test_c32_reduce_only_never_opens(stand: Stand) -> None:
    with pytest.raises(VenueRejected):
        await stand.place("a", symbol=stand.perp, reduce_only=True)
    await bought(stand)
    await stand.place("c", Side.SELL, "0.1", symbol=stand.perp, reduce_only=True)

    assert [row.amount for row in await stand.venue.positions() if row.amount] == []


async def test_c32_paper_reduce_only_never_opens(stage: Stage) -> None:
    with pytest.raises(VenueRejected):
        await stage.place("a", reduce_only=True)

    assert (
        await status_of(stage, await stage.place("b", Side.SELL, reduce_only=True)) is Status.FILLED
    )


async def test_c33_paper_of_a_group_one_leg_ends_the_other(stage: Stage) -> None:
    stage.source.trade(Side.SELL, D("64000.00"), D("0.00001"))
    stop = await stage.place(
        "s",
        Side.SELL,
        "2",
        type=OrderType.STOP,
        stop_price="60000.00",
        oco_group="g",
        reduce_only=True,
    )
    target = await stage.place(
        "t", Side.SELL, "2", price="66000.00", oco_group="g", reduce_only=True
    )
    assert await stage.free("BTC") == 0

    stage.source.trade(Side.BUY, D("66001.00"), D(5))

    assert await status_of(stage, target) is Status.FILLED
    assert await status_of(stage, stop) is Status.CANCELED


async def test_c34_connecting_again_tells_the_same_account(stand: Stand) -> None:
    order = await stand.place("a", price="50000")
    await ended(stand, await stand.place("b"))
    # First all that this one is asked: a key counts its requests, and is used by one process at a time.
    money = held(await stand.venue.balances())
    fills = [row.trade_id for row in await stand.venue.fills(0)]
    async with stand.reopened() as again:
        working = [row.venue_client_id for row in await again.open_orders()]

        assert working == [order.venue_client_id]
        assert held(await again.balances()) == money
        assert [row.trade_id for row in await again.fills(0)] == fills


async def test_c34_paper_connecting_again_tells_the_fold_of_all_events(stage: Stage) -> None:
    await stage.place("a", price="60000.00")
    await stage.place("b")
    again = await stage.reopened()
    told = {event.balance.currency: event.balance for event in again.heard.of(BalanceSeen)}
    last = {event.balance.currency: event.balance for event in stage.heard.of(BalanceSeen)}

    assert told == last
    assert [seen.venue_client_id for seen in again.heard.of(OrderSeen)] == ["va"]


# --- C35 to C44, faults -----------------------------------------------------------------------


FAULTS = [
    ("c35", Kind.REFUSE, VenueRejected, Code.VENUE_REJECTED, False),
    ("c36", Kind.LOST_BEFORE, VenueUnknown, Code.OUTCOME_UNKNOWN, False),
    ("c37", Kind.LOST_AFTER, VenueUnknown, Code.OUTCOME_UNKNOWN, True),
    ("c39", Kind.DISCONNECT, VenueUnknown, Code.OUTCOME_UNKNOWN, False),
    ("c40", Kind.HALF_OPEN, VenueUnknown, Code.OUTCOME_UNKNOWN, False),
    ("c41", Kind.RATE_LIMIT, VenueRejected, Code.RATE_LIMITED, False),
    ("c42", Kind.BAD_BODY, VenueUnknown, Code.OUTCOME_UNKNOWN, True),
    ("c44", Kind.MAINTENANCE, VenueRejected, Code.VENUE_UNAVAILABLE, False),
]


@pytest.mark.parametrize(
    ("kind", "error", "code", "there"),
    [row[1:] for row in FAULTS],
    ids=[f"{r[0]} {r[1]}" for r in FAULTS],
)
async def test_c35_to_c44_paper_a_fault_has_its_class_and_the_truth_is_found_afterwards(
    *, rough: Stage, kind: Kind, error: type[Exception], code: Code, there: bool
) -> None:
    rough.chaos.set_faults([Fault(kind=kind)])
    with pytest.raises(error) as failed:
        await rough.place("a")
    assert failed.value.code is code  # type: ignore[attr-defined]

    rough.chaos.set_faults([])
    found = await rough.venue.find(wish("a"))

    assert (found is not None) is there
    assert len(await rough.venue.fills(0)) == (1 if there else 0)
    if found is not None:
        assert found.status is Status.FILLED


DROP = emulated_faults.Fault(emulated_faults.Kind.DROP)
EMULATED_FAULTS: list[tuple[str, str, Any, type[Exception], bool]] = [
    ("c35", "refuse", None, VenueRejected, False),
    ("c36", "lost before", DROP, VenueUnknown, False),
    ("c37", "lost after", LOST, VenueUnknown, True),
    ("c39", "disconnect", DROP, VenueUnknown, False),
    ("c40", "half open", emulated_faults.Fault(emulated_faults.Kind.HANG), VenueUnknown, False),
    ("c41", "rate limit", emulated_faults.Fault(emulated_faults.Kind.RATE_LIMITED), VenueRejected, False),
    ("c42", "bad body", emulated_faults.Fault(emulated_faults.Kind.TRUNCATED), VenueUnknown, True),
    ("c42", "html", emulated_faults.Fault(emulated_faults.Kind.HTML), VenueUnknown, False),
    ("c44", "maintenance", emulated_faults.Fault(emulated_faults.Kind.UNAVAILABLE), VenueUnknown, False),
]  # fmt: skip
"""At an emulated exchange: a status without a code of the venue proves nothing."""
EACH = [
    pytest.param(name, row, id=f"{row[0]} {row[1]}-{name}", marks=[pytest.mark.slow] if name in SLOW else [])
    for row in EMULATED_FAULTS
    for name in PLACES
]  # fmt: skip


@pytest.mark.parametrize(("name", "row"), EACH)
async def test_c35_to_c44_a_fault_of_an_exchange_has_its_class_and_the_truth_is_found(
    name: str, row: tuple[str, str, Any, type[Exception], bool]
) -> None:
    _, word, fault, error, there = row
    async with STANDS[name]() as stand:
        assert stand.faults is not None
        await stand.venue.open_orders()
        if word == "half open":
            stand.venue.exchange.timeout = 250  # type: ignore[attr-defined]
        stand.faults.once(PLACES[name].create, fault or PLACES[name].refusal)
        with pytest.raises(error) as failed:
            await stand.place("a")
        stand.faults.clear()
        found = await stand.venue.find(stand.wish("a"))

        if word == "rate limit":
            assert failed.value.code is Code.RATE_LIMITED  # type: ignore[attr-defined]
        assert (found is not None) is there
        assert len(await stand.venue.fills(0)) == (1 if there else 0)
        if found is not None:
            assert found.status is Status.FILLED


async def test_c38_paper_an_order_that_is_visible_late_is_found_later(rough: Stage) -> None:
    rough.chaos.set_faults([Fault(kind=Kind.VISIBLE_LATE)])
    order = await rough.place("a")
    assert await rough.venue.find(order) is None

    rough.clock.advance(LATE_S)

    assert await rough.venue.find(order) is not None


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] if n in SLOW else []) for n in PLACES])  # fmt: skip
async def test_c38_an_order_that_an_exchange_shows_late_is_found_later(name: str) -> None:
    async with STANDS[name]() as stand:
        assert stand.faults is not None
        await stand.venue.open_orders()
        late = emulated_faults.Fault(emulated_faults.Kind.LATE, seconds=0.3)
        stand.faults.once("order", late)
        order = await stand.place("a", price="50000")
        assert await stand.venue.find(order) is None

        await asyncio.sleep(0.35)

        assert (await row_of(stand, order)).status is Status.OPEN


@pytest.mark.parametrize("kind", [Kind.DUPLICATE, Kind.REORDER, Kind.DROP_EVENT, Kind.CLOCK_OFFSET])
async def test_c43_paper_events_may_be_wrong_but_reading_is_right(rough: Stage, kind: Kind) -> None:
    rough.chaos.set_faults([Fault(kind=kind)])
    await rough.place("a")
    await rough.place("b", price="60000.00")

    assert [fill.venue_client_id for fill in await rough.venue.fills(0)] == ["va"]
    assert [seen.venue_client_id for seen in await rough.venue.open_orders()] == ["vb"]


WRONG = ["duplicate", "reorder", "swallow"]


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] if n in SLOW else []) for n in PLACES])  # fmt: skip
@pytest.mark.parametrize("kind", WRONG)
async def test_c43_a_stream_of_an_exchange_may_be_wrong_but_reading_is_right(
    name: str, kind: str
) -> None:
    async with STANDS[name]() as stand, stand.running():
        assert stand.faults is not None
        fault = emulated_faults.Fault(emulated_faults.Kind(kind))
        stand.faults.once("private*", fault, times=3)
        order = await stand.place("a")
        await stand.place("b", price="50000")
        await ended(stand, order)
        await asyncio.sleep(0.05)

        read = [fill.exchange_order_id for fill in await stand.venue.fills(0)]
        assert read == [order.exchange_order_id]
        assert len(await stand.venue.open_orders()) == 1
        told = [fill.trade_id for fill in stand.heard.of(Filled)]
        assert len(told) == len(set(told))


# --- C45 to C50, in the middle of things ------------------------------------------------------


async def test_c45_paper_a_connection_that_breaks_during_a_placement_leaves_it_unknown(
    rough: Stage,
) -> None:
    rough.chaos.lose_next()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(HANG_S / 2):
            await rough.place("a")
    again = await rough.reopened()

    assert await again.venue.find(wish("a")) is not None


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] if n in SLOW else []) for n in PLACES])  # fmt: skip
async def test_c45_an_order_of_which_only_the_intent_is_known_is_found_by_whoever_comes_next(
    name: str,
) -> None:
    async with STANDS[name]() as stand:
        assert stand.faults is not None
        await stand.venue.open_orders()
        stand.faults.once(PLACES[name].create, LOST)
        with pytest.raises(VenueUnknown):
            await stand.place("a", price="50000")
        stand.orders.append(stand.wish("a", price="50000"))
        async with stand.reopened() as again:
            found = await again.find(stand.wish("a", price="50000"))

        assert found is not None
        assert found.status is Status.OPEN


async def test_c46_paper_a_connection_that_breaks_during_a_cancel_changes_nothing(
    rough: Stage,
) -> None:
    order = await rough.place("a", price="60000.00")
    rough.chaos.set_faults([Fault(kind=Kind.DISCONNECT)])
    with pytest.raises(VenueUnknown):
        await rough.venue.cancel(order)
    rough.chaos.set_faults([])

    assert await status_of(rough, order) is Status.OPEN


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] if n in SLOW else []) for n in PLACES])  # fmt: skip
@pytest.mark.parametrize("done", [False, True], ids=["not done", "done"])
async def test_c46_a_cancel_without_an_answer_is_unknown_and_reading_tells(
    name: str,
    done: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    async with STANDS[name]() as stand:
        assert stand.faults is not None
        order = await stand.place("a", price="50000")
        stand.faults.once(PLACES[name].cancel, LOST if done else DROP)
        with pytest.raises(VenueUnknown):
            await stand.venue.cancel(order)

        status = (await row_of(stand, order)).status
        assert status is (Status.CANCELED if done else Status.OPEN)


async def test_c47_paper_a_stale_feed_is_told_and_fills_nothing(rough: Stage) -> None:
    order = await rough.place("a", price="64000.00")
    rough.chaos.set_faults([Fault(kind=Kind.DISCONNECT)])
    assert rough.heard.of(Stale)[-1].stale
    rough.chaos.set_faults([])
    rough.source.silence(silent=True)
    rough.source.fill()

    assert await status_of(rough, order) is Status.OPEN


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] if n in SLOW else []) for n in PLACES])  # fmt: skip
async def test_c47_a_feed_whose_socket_is_gone_is_told_to_be_stale_and_comes_back(
    name: str,
) -> None:
    async with stands.served(name) as server:
        account = stands.account_of(name, server.endpoint)
        async with listening(account, PLACES[name].symbol) as (_, heard):
            heard.clear()
            away = emulated_faults.Fault(emulated_faults.Kind.ABORT)
            assert server.floor.faults.strike("public*", away)
            await until(lambda: any(event.stale for event in heard.of(Stale)))
            await until(lambda: heard.of(BookSnapshot))

            assert heard.of(BookSnapshot)[-1].symbol == PLACES[name].symbol


async def test_c48_a_fill_that_races_a_cancel_is_not_lost(stand: Stand) -> None:
    order = await stand.place("a", price="59995", amount="0.02")
    stand.market.trade(stand.symbol, Side.SELL, "0.005")
    await stand.venue.cancel(order)
    found = await ended(stand, order)

    assert (found.status, found.filled) == (Status.CANCELED, D("0.005"))
    assert [fill.amount for fill in await stand.venue.fills(0)] == [D("0.005")]


async def test_c49_the_look_up_finds_a_known_order_working_and_ended(stand: Stand) -> None:
    async with stand.running():
        working = await stand.place("w", price="50000")
        over = await stand.place("e")
        await ended(stand, over)
        await stand.until(lambda: any(row.status.ended for row in stand.heard.of(OrderSeen)))
        for order in (working, over):
            found = await stand.venue.find(stand.wish(order.client_order_id))
            assert found is not None
            assert found.exchange_order_id == order.exchange_order_id
        if stand.real:
            await stand.venue.control()  # type: ignore[attr-defined]

        assert stand.venue.lookup_proven


async def test_c50_paper_a_kill_at_any_entry_leaves_a_consistent_account(stage: Stage) -> None:
    stage.source.trade(Side.SELL, D("64000.00"), D("0.00001"))
    await stage.place("a")
    resting = await stage.place("b", price="63000.00", amount="0.1")
    stage.source.trade(Side.SELL, D("62999.00"), D("0.04"))
    await stage.venue.amend(amended(resting, price="63100.00"))
    await stage.place("s", Side.SELL, type=OrderType.STOP, stop_price="60000.00", amount="0.01")
    await stage.venue.cancel(resting)
    assert stage.log is not None
    for kept in range(1, len(stage.log.entries) + 1):
        entries = stage.log.entries[:kept]
        again = Shop(stage.clock, log=MemoryLog(), history=entries)
        await again.open()
        newest: dict[str, Any] = {}
        for entry in map(orjson.loads, entries):
            newest.update({row["id"]: row for row in entry["orders"]})
        filled = sum(D(row["filled"]) for row in newest.values())

        fills = await again.venue.fills(0)
        assert sum(fill.amount for fill in fills) == filled
        for row in await again.venue.balances():
            assert row.available >= 0
            assert row.reserved >= 0


async def test_c50_whoever_comes_next_finds_a_consistent_account(stand: Stand) -> None:
    await ended(stand, await stand.place("a"))
    resting = await stand.place("b", price="59995", amount="0.1")
    stand.market.trade(stand.symbol, Side.SELL, "0.04")
    await stand.venue.amend(amended(resting, price="59994"))
    other = await stand.place("c", price="50000")
    await stand.venue.cancel(other)
    async with stand.reopened() as again:
        fills = await again.fills(0)
        rows = [await again.find(order) for order in stand.orders]
        assert None not in rows
        assert [row.filled for row in rows if row] == [D("0.01"), D("0.04"), D(0)]
        assert sum(fill.amount for fill in fills) == D("0.05")
        (working,) = await again.open_orders()
        assert (working.price, working.filled) == (D(59_994), D("0.04"))
        money = held(await again.balances())
        assert money[stand.quote][1] == D("0.06") * 59_994
        cash = sum(fill.price * fill.amount for fill in fills)
        fees = {currency: D(0) for currency in money}
        for fill in fills:
            fees[fill.fee_currency] += fill.fee
        assert sum(money[stand.quote]) == CASH - cash - fees[stand.quote]
        assert sum(money["BTC"]) == COINS + D("0.05") - fees["BTC"]


# --- structures -------------------------------------------------------------------------------


def iso(ms: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(ms // 1000)) + f".{ms % 1000:03d}Z"


def said(row: OrderSeen | Filled | Trade, **more: Any) -> dict[str, Any]:
    """Give what all of ccxt's structures have of a row of ours."""
    ms = row.ts // MS
    base = {"info": {}, "symbol": row.symbol, "timestamp": ms, "datetime": iso(ms)}
    return base | {"side": str(row.side), "fees": [], "fee": None} | more


def number(value: Decimal | str | None) -> float | None:
    return None if value is None else float(value)


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] if n in SLOW else []) for n in PLACES])  # fmt: skip
async def test_our_structures_are_those_of_ccxt(name: str) -> None:
    """ccxt's own tests of an order, a trade, a balance, a ticker, a book and a bar, on what our rows say."""
    async with STANDS[name]() as stand:
        exchange: Any = stand.venue.exchange  # type: ignore[attr-defined]
        order = await stand.place("a", amount="1.3", price="60020")
        row = await ended(stand, order)
        now = stand.now() // MS
        average = row.cost / row.filled
        validate(
            "order",
            exchange,
            said(
                row,
                id=row.exchange_order_id,
                clientOrderId=row.venue_client_id,
                lastTradeTimestamp=row.ts // MS,
                status="closed",
                type=row.type,
                timeInForce="GTC",
                postOnly=False,
                reduceOnly=row.reduce_only,
                price=number(row.price),
                average=number(average),
                amount=number(row.amount),
                filled=number(row.filled),
                remaining=number(row.amount - row.filled),
                cost=number(row.cost),
                triggerPrice=None,
                stopPrice=None,
                trades=[],
            ),
            stand.symbol,
            now,
            skipped=("fee", "fees", "trades"),
        )
        for fill in await stand.venue.fills(0):
            fee = {"currency": fill.fee_currency, "cost": number(fill.fee), "rate": None}
            validate(
                "trade",
                exchange,
                said(
                    fill,
                    id=fill.trade_id,
                    order=fill.exchange_order_id,
                    type="limit",
                    takerOrMaker="maker" if fill.maker else "taker",
                    price=number(fill.price),
                    amount=number(fill.amount),
                    cost=number(fill.price * fill.amount),
                    fee=fee,
                    fees=[fee],
                ),
                stand.symbol,
                now,
                False,
            )
        rows = await stand.venue.balances()
        free, used = (
            {r.currency: number(getattr(r, n)) for r in rows} for n in ("available", "reserved")
        )
        total = {one.currency: number(one.total) for one in rows}
        structure: dict[str, Any] = {"info": {}, "free": free, "used": used, "total": total}
        for currency, amount in total.items():
            structure[currency] = {"free": free[currency], "used": used[currency], "total": amount}
        validate("balance", exchange, structure)
        for bar in await stand.venue.ohlcv(stand.symbol, "1m", None, 3):
            prices = [number(value) for value in (bar.open, bar.high, bar.low, bar.close)]
            validate(
                "ohlcv", exchange, [bar.ts // MS, *prices, number(bar.volume)], stand.symbol, now
            )
