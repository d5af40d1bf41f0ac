"""The tap: what ccxt would merge, drop or hide is told; ccxt itself stays as it was."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import FunctionType
from typing import Any

import pytest
from aiohttp import web

from realtime.model.errors import Code, Refused
from realtime.venues.ccxt.exchange import (
    CACHES,
    Hooks,
    Many,
    kind_of,
    make,
    mentioned,
    rebase,
    sending,
)
from tests.venues.ccxt.spot import spot, until


SUPPORTED = ("binance", "binanceusdm", "bybit", "kraken", "bitfinex", "okx")
SPOT: dict[str, Any] = {"options": {"fetchMarkets": {"types": ["spot"]}}}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Heard(Hooks):
    """Writes everything down."""

    def __init__(self) -> None:
        self.log: list[tuple[Any, ...]] = []
        self.costs: list[float] = []
        self.number: int | None = None

    def frame(self, url: str, text: str) -> None:
        self.log.append(("frame", text))

    def pulse(self, url: str) -> None:
        self.log.append(("pulse",))

    def done(self, url: str) -> None:
        self.log.append(("done",))

    def fault(self, url: str, error: BaseException) -> None:
        self.log.append(("fault", type(error).__name__))

    def row(self, kind: str, row: Mapping[str, Any]) -> None:
        self.log.append(("row", kind, dict(row)))

    def value(self, message_hash: str, value: Any) -> None:
        self.log.append(("value", message_hash))

    def request(self, method: str, url: str) -> None:
        self.log.append(("request", method))

    def frame_out(self, url: str, message: Any) -> None:
        self.log.append(("out", message))

    def response(
        self, method: str, url: str, status: int, headers: Mapping[str, str], text: str
    ) -> None:
        self.log.append(("response", status, text))

    def asking(self, path: str, api: Sequence[str]) -> AbstractContextManager[None]:
        @contextmanager
        def accompanied() -> Any:
            self.log.append(("asking", path))
            yield
            self.log.append(("asked", path))

        return accompanied()

    async def turn(self, cost: float) -> None:
        self.costs.append(cost)

    def nonce(self) -> int | None:
        return self.number

    def of(self, kind: str) -> list[tuple[Any, ...]]:
        return [entry for entry in self.log if entry[0] == kind]


def functions(kind: type) -> dict[str, FunctionType]:
    """The functions that an instance really has, by name."""
    found: dict[str, FunctionType] = {}
    for layer in kind.__mro__:
        for name, value in vars(layer).items():
            if isinstance(value, FunctionType):
                found.setdefault(name, value)
    return found


@pytest.mark.parametrize("name", SUPPORTED)
def test_every_cache_of_the_supported_venues_is_ours(name: str) -> None:
    exchange = make(name, hooks=Hooks(), config={})
    makers = {
        found: function
        for found, function in functions(type(exchange)).items()
        if mentioned(function.__code__)
    }

    assert makers
    for function in makers.values():
        for cache in mentioned(function.__code__):
            assert function.__globals__[cache].__module__ == "realtime.venues.ccxt.exchange"


def test_no_class_of_ccxt_hides_a_maker_of_caches_behind_another() -> None:
    """A function reached by `super()` would make caches that are not ours."""
    import ccxt.pro  # noqa: PLC0415 - half a second that collecting need not pay

    hidden = []
    for name in ccxt.pro.exchanges:
        seen: set[str] = set()
        for layer in getattr(ccxt.pro, name).__mro__:
            for found, value in vars(layer).items():
                if not isinstance(value, FunctionType) or value.__name__ != found:
                    continue  # an instance of it was made: ccxt writes other spellings into the class
                if mentioned(value.__code__) and found in seen:
                    hidden.append((name, found))
                seen.add(found)

    assert hidden == []


def test_no_function_of_ccxt_keeps_own_and_public_trades() -> None:
    import ccxt.pro  # noqa: PLC0415 - half a second that collecting need not pay

    both = [
        (name, found)
        for name in ccxt.pro.exchanges
        for found, function in functions(getattr(ccxt.pro, name)).items()
        if mentioned(function.__code__)
        and {"trades", "myTrades"} <= set(function.__code__.co_names)
    ]

    assert both == []


def test_two_exchanges_share_nothing_and_ccxt_stays_as_it_was() -> None:
    import ccxt.pro.binance as module  # noqa: PLC0415 - as above

    before = {name: getattr(module, name) for name in CACHES if hasattr(module, name)}
    one, two = Heard(), Heard()
    first = make("binance", hooks=one, config={})
    second = make("binance", hooks=two, config={})
    row = {"symbol": "BTC/USDT", "id": "1", "takerOrMaker": None}
    for exchange in (first, second):
        scope = type(exchange).handle_trade.__globals__
        scope["ArrayCache"](10).append(row)

    assert (len(one.log), len(two.log)) == (1, 1)
    assert {name: getattr(module, name) for name in before} == before


def test_three_rows_of_one_order_are_three_rows() -> None:
    """S6: ccxt merges them in its cache."""
    heard = Heard()
    exchange = make("bybit", hooks=heard, config={})
    scope = type(exchange).handle_order.__globals__
    cache = scope["ArrayCacheBySymbolById"](1000)
    for status in ("open", "open", "closed"):
        cache.append({"symbol": "BTC/USDT", "id": "7", "remaining": 0, "status": status})

    assert [row["status"] for _, _, row in heard.of("row")] == ["open", "open", "closed"]
    assert len(cache) == 1


@pytest.mark.parametrize(
    ("row", "own", "kind"),
    [
        ({"remaining": None, "takerOrMaker": None}, True, "order"),
        ({"entryPrice": 1.0}, False, "position"),
        ({"takerOrMaker": None}, True, "fill"),
        ({"takerOrMaker": None}, False, "trade"),
        ({"contracts": 1.0, "baseValue": 2.0}, False, None),
    ],
    ids=["order", "position", "fill", "trade", "liquidation"],
)
def test_a_row_is_told_by_its_fields(row: dict[str, Any], *, own: bool, kind: str | None) -> None:
    assert kind_of(row, own=own) == kind


def test_a_bar_is_told_with_whose_it_is() -> None:
    heard = Heard()
    exchange = make("binance", hooks=heard, config={})
    cache = type(exchange).handle_ohlcv.__globals__["ArrayCacheByTimestamp"](10)
    exchange.ohlcvs = {"BTC/USDT": {"1m": cache}}
    cache.append([1, 1.0, 1.0, 1.0, 1.0, 1.0])

    ((_, kind, row),) = heard.of("row")
    assert (kind, row["symbol"], row["timeframe"]) == ("ohlcv", "BTC/USDT", "1m")


def test_addresses_are_put_onto_another_host() -> None:
    urls = {
        "api": {"ws": "wss://a.b:9443/ws", "rest": ["https://{hostname}/v5"]},
        "n": 1,
        "x": "no",
    }

    assert rebase(urls, "http://127.0.0.1:9000") == {
        "api": {"ws": "ws://127.0.0.1:9000/ws", "rest": ["http://127.0.0.1:9000/v5"]},
        "n": 1,
        "x": "no",
    }
    assert rebase("wss://a/ws", "https://demo.example/x/") == "wss://demo.example/x/ws"


@pytest.mark.parametrize("name", ["binance", "binanceusdm", "binancecoinm"])
def test_spot_and_contracts_are_told_apart_on_another_host(name: str) -> None:
    class Client:
        def __init__(self, url: str) -> None:
            self.url = url

    exchange = make(name, hooks=Hooks(), config={}, endpoint="http://127.0.0.1:9")
    spot_url, linear = "ws://127.0.0.1:9/ws/1", "ws://127.0.0.1:9/public/ws/1"

    assert exchange.is_spot_url(Client(spot_url)) is (name == "binance")
    assert exchange.is_spot_url(Client(linear)) is False


def test_an_unknown_exchange_is_refused() -> None:
    with pytest.raises(Refused) as caught:
        make("krakan", hooks=Hooks(), config={})

    assert caught.value.code is Code.INVALID
    assert "kraken" in caught.value.message
    with pytest.raises(Refused, match=r"knows no 'zzzz'$"):
        make("zzzz", hooks=Hooks(), config={})


@pytest.mark.parametrize(
    "options",
    [
        {"maxRetriesOnFailure": 1},
        {"defaultMaxRetriesOnFailure": 1},
        {"private/AddOrder": {"maxRetriesOnFailure": 3}},
    ],
    ids=str,
)
def test_repeating_placements_is_refused(options: dict[str, Any]) -> None:
    """R1: the option of one endpoint passed, and ccxt would have sent its orders again."""
    with pytest.raises(Refused, match="maxRetriesOnFailure"):
        make("kraken", hooks=Hooks(), config={"options": options})


def test_a_sandbox_is_used_where_there_is_one() -> None:
    assert "test" in make("bybit", hooks=Hooks(), config={}, sandbox=True).urls["api"]["spot"]
    with pytest.raises(Refused) as caught:
        make("kraken", hooks=Hooks(), config={}, sandbox=True)

    assert caught.value.code is Code.NOT_SUPPORTED


def test_numbers_stay_floats_inside_ccxt() -> None:
    """M5."""
    assert make("kraken", hooks=Hooks(), config={}).number is float


def test_a_nonce_is_ours_or_ccxts() -> None:
    heard = Heard()
    exchange = make("kraken", hooks=Many(Hooks(), heard), config={})
    theirs = exchange.nonce()
    heard.number = 77

    assert theirs > 1_000_000
    assert exchange.nonce() == 77


async def test_a_request_is_accompanied_and_its_answer_told() -> None:
    heard = Heard()
    async with spot() as venue:
        exchange = make("binance", hooks=Many(heard), config=SPOT, endpoint=venue.endpoint)
        with sending() as sent:
            await exchange.fetch_time()
        await exchange.close()

        assert [entry[0] for entry in heard.log] == ["asking", "request", "response", "asked"]
        assert (sent.requests, sent.status, sent.text) == (1, 200, "{}")
        assert len(heard.costs) == 1


@pytest.mark.parametrize(
    ("method", "status", "body", "taken"),
    [
        ("GET", 200, "<html>Please wait</html>", False),
        ("POST", 200, " <html>Please wait</html>", False),
        ("GET", 200, '{"error": [], "result": {"XXB', False),
        ("GET", 200, "", False),
        ("POST", 200, "", True),
        ("GET", 200, "pong", True),
        ("GET", 200, '{"error": []}', True),
        ("GET", 503, "<html>Please wait</html>", True),  # what a status says, ccxt says
    ],
)
async def test_what_is_no_json_is_no_answer(
    method: str, status: int, body: str, *, taken: bool
) -> None:
    """trading:S1."""
    from ccxt import BadResponse  # noqa: PLC0415 - half a second

    exchange = make("kraken", hooks=Hooks(), config={})
    answer: tuple[Any, ...] = (status, "", "https://kraken", method, {}, body)
    with nullcontext() if taken else pytest.raises(BadResponse, match="not JSON"):
        exchange.handle_errors(*answer, exchange.parse_json(body), {}, None)
    await exchange.close()


async def test_what_fails_before_the_network_has_sent_nothing() -> None:
    async with spot() as venue:
        exchange = make("binance", hooks=Hooks(), config=SPOT, endpoint=venue.endpoint)
        import ccxt  # noqa: PLC0415 - as above

        with sending() as sent:
            with pytest.raises(ccxt.AuthenticationError):
                await exchange.create_order("BTC/USDT", "market", "buy", 1)
            listed = sent.requests
            with pytest.raises(ccxt.AuthenticationError):
                await exchange.create_order("BTC/USDT", "market", "buy", 1)
        await exchange.close()

        assert sent.requests == listed == 1  # the markets, and no order


async def test_a_frame_of_fifteen_hundred_trades_is_told_whole() -> None:
    """S5: ccxt shows 1,000 of them at `resolve`."""
    heard = Heard()

    async def socket(request: web.Request) -> web.WebSocketResponse:
        response = web.WebSocketResponse()
        await response.prepare(request)
        await response.receive()
        rows = [
            {"symbol": "BTC/USD", "side": "buy", "price": 1.5, "qty": 2.5, "ord_type": "market",
             "trade_id": number, "timestamp": f"2026-01-01T00:00:{number // 1000:02}.{number % 1000:03}000Z"}
            for number in range(1500)
        ]  # fmt: skip
        await response.send_json({"channel": "trade", "type": "update", "data": rows})
        await response.send_str("<html>")
        await response.receive()
        return response

    app = web.Application()
    app.router.add_get("/{tail:.*}", socket)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    endpoint = f"http://127.0.0.1:{runner.addresses[0][1]}"
    exchange = make("kraken", hooks=heard, config={}, endpoint=endpoint)
    market = exchange.safe_market_structure(
        {"id": "XXBTZUSD", "wsId": "XBT/USD", "symbol": "BTC/USD", "base": "BTC", "quote": "USD",
         "type": "spot", "spot": True, "info": {}, "precision": {"price": 0.1, "amount": 0.1}}
    )  # fmt: skip
    exchange.set_markets([market])
    seen = await exchange.watch_trades("BTC/USD")
    await until(lambda: len(heard.of("frame")) == 2)
    await exchange.close()
    await runner.cleanup()

    assert len(seen) == 1000
    assert [row["id"] for _, kind, row in heard.of("row") if kind == "trade"] == [
        str(number) for number in range(1500)
    ]
    assert heard.of("out")
    assert len(heard.of("pulse")) == len(heard.of("done"))


async def test_a_frame_that_ccxt_cannot_read_does_not_end_the_reading() -> None:
    heard = Heard()
    async with spot() as venue:
        exchange = make("binance", hooks=heard, config=SPOT, endpoint=venue.endpoint)
        await exchange.load_markets()
        waiting = asyncio.create_task(exchange.watch_trades("BTC/USDT"))
        await until(lambda: venue.subscribed)
        await next(iter(venue.sockets)).send_str('{"e":"trade","s":')
        await until(lambda: heard.of("fault"))
        await venue.send(venue.trade(5, "1.0", "1.0", 1_700_000_000_000))
        (row,) = await waiting
        await exchange.close()

        assert row["id"] == "5"
        assert len(heard.of("fault")) == 1


class Barred(Hooks):
    """Refuses the first message of a socket its turn."""

    def __init__(self) -> None:
        self.refusals = 1
        self.asked = 0

    async def turn(self, cost: float) -> None:
        self.asked += 1
        if cost == 5 and self.refusals:  # ccxt's cost of a subscription here
            self.refusals -= 1
            raise Refused(Code.VENUE_UNAVAILABLE, "the circuit is open")


async def test_a_subscription_that_was_refused_its_turn_is_not_forgotten() -> None:
    import ccxt  # noqa: PLC0415 - as above

    async with spot() as venue:
        exchange = make("binance", hooks=Barred(), config=SPOT, endpoint=venue.endpoint)
        await exchange.load_markets()
        with pytest.raises(ccxt.NetworkError, match="circuit"):
            await exchange.watch_trades("BTC/USDT")
        again = asyncio.create_task(exchange.watch_trades("BTC/USDT"))
        await until(lambda: venue.subscribed)
        await venue.send(venue.trade(1, "1.0", "1.0", 1_700_000_000_000))

        assert len(await again) == 1
        await exchange.close()
