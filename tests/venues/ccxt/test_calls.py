"""The way of real requests: the unpatched ccxt client against a small server on this machine (S12, V2, V4, V6)."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from realtime.emulate.serving import serving
from realtime.model.errors import Code, Refused, VenueUnknown
from realtime.venues.ccxt.account import Account, Secret
from realtime.venues.ccxt.calls import Calls, nonce_row
from realtime.venues.ccxt.exchange import make
from realtime.venues.ccxt.nonces import Forgetful
from realtime.venues.ccxt.way import Lane, lane


KEY = "canary-key-0123456789"
SECRET = "Y2FuYXJ5LXNlY3JldC1zaWduaW5n"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@dataclass
class Kraken:
    """As much of Kraken as signing needs: public time and ticker, private calls whose nonces must rise."""

    takes_s: float = 0.0
    ahead_s: float = 0.0
    html: bool = False
    errors: list[str] = field(default_factory=list)
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    seen: list[tuple[str, float]] = field(default_factory=list)
    nonces: list[int] = field(default_factory=list)
    refused: int = 0
    least: int = 0
    flying: int = 0
    most_flying: int = 0

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/0/public/{name}", self.public),
                Route("/0/private/{name}", self.private, methods=["POST"]),
            ]
        )

    async def public(self, request: Request) -> Response:
        name = request.path_params["name"]
        self.seen.append((name, time.monotonic()))
        if self.status != 200:
            return JSONResponse({"error": self.errors}, self.status, self.headers)
        if self.html:
            return HTMLResponse("<html>maintenance</html>")
        now = time.time() + self.ahead_s
        result = {"unixtime": int(now)} if name == "Time" else {}
        return JSONResponse({"error": self.errors, "result": result})

    async def private(self, request: Request) -> Response:
        name = request.path_params["name"]
        self.seen.append((name, time.monotonic()))
        nonce = int(dict(parse_qsl((await request.body()).decode()))["nonce"])
        self.flying += 1
        self.most_flying = max(self.most_flying, self.flying)
        await asyncio.sleep(self.takes_s)
        self.flying -= 1
        if nonce <= max(self.least, max(self.nonces, default=0)):
            self.refused += 1
            return JSONResponse({"error": ["EAPI:Invalid nonce"]})
        self.nonces.append(nonce)
        return JSONResponse({"error": [], "result": {"count": 1}})


class Told:
    """Takes alerts."""

    def __init__(self) -> None:
        self.codes: list[str] = []

    def __call__(self, _level: str, code: str, _text: str, _data: Mapping[str, object]) -> None:
        self.codes.append(code)


@asynccontextmanager
async def connected(
    server: Kraken,
    *,
    ledger: Forgetful | None = None,
    now: Callable[[], int] = time.time_ns,
    endpoint: str | None = None,
    **config: object,
) -> AsyncIterator[tuple[Any, Calls, Told]]:
    """A real client with our way in it."""
    account = Account(
        id="kraken", exchange="kraken", key=Secret(KEY), secret=Secret(SECRET), backoff_max_s=1
    )
    told = Told()
    calls = Calls(
        account,
        now=now,
        loop=asyncio.get_running_loop(),
        chance=random.Random(1).random,
        ledger=ledger or Forgetful(),
        tell=told,
    )
    async with serving(server.app()) as address:
        given = {"apiKey": KEY, "secret": SECRET, "timeout": 500, **config}
        exchange = make("kraken", hooks=calls, config=given, endpoint=endpoint or address)
        try:
            yield exchange, calls, told
        finally:
            await exchange.close()


@pytest.mark.promise("O8")
async def test_a_cancel_behind_a_hundred_polls_leaves_within_a_tenth_of_a_second() -> None:
    server = Kraken()
    async with connected(server) as (exchange, calls, _):
        polls = [asyncio.create_task(exchange.public_get_ticker()) for _ in range(100)]
        # 45 requests in 45 seconds, a fifth of them kept: most of the polls wait, and would for minutes.
        async with asyncio.timeout(30):
            while len(server.seen) < 36:  # noqa: ASYNC110 - the server tells nobody
                await asyncio.sleep(0.005)
        since = time.monotonic()
        with lane(Lane.CANCEL):
            await exchange.private_post_cancelorder({"txid": "O-1"})
        for poll in polls:
            poll.cancel()
        await asyncio.gather(*polls, return_exceptions=True)

        left = next(at for name, at in server.seen if name == "CancelOrder") - since
        print(f"O8: {left * 1000:.1f} ms from the call to the server, behind 64 polls (100 ms)")
        assert left < 0.1
        assert len(server.seen) == 37
        row = calls.way.row()
        assert row["lanes"]["poll"]["sent"] == 36  # type: ignore[index]


async def test_signed_requests_go_one_at_a_time_and_their_numbers_rise_over_restarts() -> None:
    server, ledger = Kraken(takes_s=0.002), Forgetful()
    async with connected(server, ledger=ledger) as (exchange, calls, _):
        with lane(Lane.PROTECT):
            await asyncio.gather(*(exchange.private_post_cancelorder() for _ in range(8)))
        row = nonce_row([calls])
    # A new process whose clock was set back by an hour.
    async with connected(server, ledger=ledger, now=lambda: time.time_ns() - 3_600_000_000_000) as (
        exchange,
        _,
        _,
    ):
        with lane(Lane.PROTECT):
            await asyncio.gather(*(exchange.private_post_cancelorder() for _ in range(2)))

    assert server.most_flying == 1
    assert len(server.nonces) == 10
    assert server.refused == 0
    assert row["total_nonces_issued"] == 8
    keys = row["keys"]
    assert isinstance(keys, list)
    assert keys[0]["key"] == "***6789"
    assert keys[0]["last_nonce"] == server.nonces[7]
    assert keys[0]["callers"] == {"protect": 8}
    assert len(row["recent"]) == 8  # type: ignore[arg-type]
    assert KEY not in str(row)


async def test_a_refused_number_skips_ahead_and_only_a_read_is_sent_again() -> None:
    import ccxt  # noqa: PLC0415 - half a second, by those who need it

    server = Kraken(least=int((time.time() + 5) * 1000))
    async with connected(server, rateLimit=10) as (exchange, calls, _):
        assert calls.nonces is not None
        with lane(Lane.PROTECT):
            with pytest.raises(ccxt.InvalidNonce):
                await exchange.private_post_addorder({"pair": "XBTUSD"})
            assert server.refused == 1
            await calls.read(exchange.private_post_balance)
            server.least = int((time.time() + 3600) * 1000)
            server.ahead_s = 3600
            await calls.read(exchange.private_post_balance)

        # The first refusal skipped ahead far enough; the second needs the exchange's clock.
        assert server.refused == 2
        assert [name for name, _ in server.seen].count("AddOrder") == 1
        row = calls.nonces.row()
        assert (row["rejected"], row["retried"]) == (2, 1)
        assert row["clock_offset_ms"] == pytest.approx(3_600_000, abs=1_500)


async def test_calls_without_an_answer_refuse_entries_and_an_exit_finds_out_that_it_is_over() -> (
    None
):
    import ccxt  # noqa: PLC0415 - as above

    server = Kraken(status=503, takes_s=0.2)
    async with connected(server) as (exchange, calls, told):
        with lane(Lane.PROTECT):
            for _ in range(4):
                with pytest.raises(ccxt.ExchangeNotAvailable):
                    await exchange.public_get_ticker()
            assert not calls.way.unavailable
            exchange.timeout = 50
            with pytest.raises(ccxt.RequestTimeout):
                await exchange.private_post_cancelorder()
            exchange.timeout = 5_000
        sent = len(server.seen)
        with lane(Lane.ENTRY), pytest.raises(Refused) as refusal:
            await exchange.private_post_addorder({"pair": "XBTUSD"})

        assert refusal.value.code is Code.VENUE_UNAVAILABLE
        assert len(server.seen) == sent
        with lane(Lane.EXIT):
            await exchange.private_post_addorder({"pair": "XBTUSD"})
        with lane(Lane.ENTRY):
            await exchange.private_post_addorder({"pair": "XBTUSD"})
        assert told.codes == ["venue_unavailable", "venue_answers"]


async def test_an_exchange_that_cannot_be_reached_counts_as_one_that_does_not_answer() -> None:
    import ccxt  # noqa: PLC0415 - as above

    async with connected(Kraken(), endpoint="http://127.0.0.1:1") as (exchange, calls, _):
        for _ in range(5):
            with pytest.raises(ccxt.NetworkError):
                await exchange.public_get_ticker()

        assert calls.way.unavailable
        assert calls.way.row()["failed"] == 5


async def test_too_many_requests_hold_polls_back() -> None:
    import ccxt  # noqa: PLC0415 - as above

    server = Kraken(status=429, headers={"Retry-After": "0.2"})
    async with connected(server) as (exchange, calls, told):
        with pytest.raises(ccxt.BaseError):
            await exchange.public_get_ticker()
        server.status = 200
        assert calls.way.limited
        await exchange.public_get_ticker()

        assert server.seen[1][1] - server.seen[0][1] >= 0.2
        assert told.codes == ["venue_rate_limited"]


@pytest.mark.parametrize("status", [200, 403])
async def test_too_many_requests_told_in_the_body_count_as_such_and_once(status: int) -> None:
    import ccxt  # noqa: PLC0415 - as above

    server = Kraken(errors=["EAPI:Rate limit exceeded"], status=status)
    async with connected(server) as (exchange, calls, told):
        with pytest.raises(ccxt.BaseError, match="Rate limit"):
            await exchange.fetch_time()

        assert told.codes == ["venue_rate_limited"]
        assert calls.way.row()["refused"] == 1

        server.status = 429
        with pytest.raises(ccxt.BaseError), lane(Lane.CANCEL):
            await exchange.fetch_time()

        assert calls.way.row()["refused"] == 2


async def test_the_clock_is_measured_through_the_same_way() -> None:
    server = Kraken(ahead_s=3600)
    async with connected(server) as (_, calls, told):
        assert calls.offset is not None
        measured = await calls.offset.measure()

        # Kraken tells whole seconds.
        assert measured == pytest.approx(3_600_000, abs=1_500)
        assert told.codes == ["clock_offset"]
        calls.check_clock()  # Kraken has no receive window
        assert calls.way.row()["lanes"]["reconcile"]["sent"] == 3  # type: ignore[index]


async def test_an_answer_that_is_none_is_no_offset() -> None:
    server = Kraken(html=True)
    async with connected(server) as (_, calls, _):
        assert calls.offset is not None
        with pytest.raises(VenueUnknown, match="not JSON"):
            await calls.offset.measure()
        assert calls.offset.ms is None


async def test_what_a_socket_is_sent_takes_no_turns_from_requests() -> None:
    server = Kraken()
    async with connected(server) as (exchange, calls, _):
        await exchange.throttle(1)
        await exchange.public_get_ticker()

        sent = [way.row()["lanes"]["poll"]["sent"] for way in (calls.sockets, calls.way)]  # type: ignore[index]
        assert sent == [1, 1]
