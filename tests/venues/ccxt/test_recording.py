"""Recordings: written while a real client listens, read as far as they go, played through the same client."""

# ruff: noqa: ASYNC240 - small files and one process of the test's own

import asyncio
import errno
import gzip
import io
import os
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import ccxt
import orjson
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from realtime.app import Outside
from realtime.emulate import bybit
from realtime.emulate.quiet import QuietMarket
from realtime.emulate.serving import serving
from realtime.makers import on_prices_of
from realtime.model.errors import Refused, VenueRejected
from realtime.model.market import SECOND, BookDelta, BookSnapshot, Ticker, Trade
from realtime.model.orders import Side
from realtime.outside import replaying
from realtime.venues.base import Post
from realtime.venues.ccxt.account import Account
from realtime.venues.ccxt.exchange import Hooks, Many, make
from realtime.venues.ccxt.playback import PlayedData, Player
from realtime.venues.ccxt.recorded import is_recording, part, read_meta, rows
from realtime.venues.ccxt.recording import Limits, RecordedData, Recorder, fresh, record
from tests.emulated import bitfinex, kraken
from tests.fakes import World, no_page


BTC = "BTC/USDT"
T0 = 1_790_000_000_000_000_000
META = {"exchange": "binance"}
CONFIG: dict[str, Any] = {"options": {"defaultType": "spot", "fetchMarkets": {"types": ["spot"]}}}
RULES = [
    {"filterType": "PRICE_FILTER", "minPrice": "0.01", "maxPrice": "1000000", "tickSize": "0.01"},
    {"filterType": "LOT_SIZE", "minQty": "0.00001", "maxQty": "9000", "stepSize": "0.00001"},
    {"filterType": "NOTIONAL", "minNotional": "5"},
]
MARKET = {
    "symbol": "BTCUSDT",
    "status": "TRADING",
    "baseAsset": "BTC",
    "quoteAsset": "USDT",
    "baseAssetPrecision": 8,
    "quotePrecision": 8,
    "isSpotTradingAllowed": True,
    "permissionSets": [["SPOT"]],
    "orderTypes": ["LIMIT", "MARKET"],
    "filters": RULES,
}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Clock:
    """A clock that moves a millisecond with each look."""

    def __init__(self) -> None:
        self.ns = T0

    def now(self) -> int:
        self.ns += 1_000_000
        return self.ns


async def until(holds: Callable[[], Any]) -> None:
    async with asyncio.timeout(30):
        while not holds():  # noqa: ASYNC110 - a server elsewhere in this loop sets no event
            await asyncio.sleep(0.002)


# --- a venue --------------------------------------------------------------------------------------


class Binance:
    """Markets, one depth snapshot, and sockets that say what a test tells them."""

    def __init__(self) -> None:
        self.sockets: dict[str, WebSocket] = {}
        self.snapshots = 0
        self.app = Starlette(
            routes=[
                Route("/api/v3/exchangeInfo", self.info),
                Route("/api/v3/depth", self.depth),
                WebSocketRoute("/ws/{n}", self.socket),
            ]
        )

    async def info(self, _: Request) -> Response:
        return Response(orjson.dumps({"symbols": [MARKET]}), media_type="application/json")

    async def depth(self, _: Request) -> Response:
        self.snapshots += 1
        book = {"lastUpdateId": 100, "bids": [["100.00", "1"]], "asks": [["100.10", "2"]]}
        return Response(orjson.dumps(book), media_type="application/json")

    async def socket(self, socket: WebSocket) -> None:
        await socket.accept()
        with suppress(WebSocketDisconnect):
            while True:
                asked = orjson.loads(await socket.receive_text())
                for stream in asked["params"]:
                    self.sockets[stream.partition("@")[2]] = socket
                await socket.send_text(orjson.dumps({"result": None, "id": asked["id"]}).decode())

    async def say(self, kind: str, data: Mapping[str, Any]) -> None:
        socket = self.sockets[next(name for name in self.sockets if name.startswith(kind))]
        await socket.send_text(orjson.dumps(data).decode())

    async def update(self, n: int) -> None:
        bids = [["99.90", f"{n % 7}"], ["100.00", f"0.{n}"]]
        await self.say(
            "depth",
            {"e": "depthUpdate", "E": n, "s": "BTCUSDT", "U": n, "u": n, "b": bids, "a": []},
        )

    async def trade(self, n: int) -> None:
        row = {"e": "trade", "E": n, "s": "BTCUSDT", "t": n, "p": "100.05", "q": "0.1", "T": n}
        await self.say("trade", row | {"m": n % 2 == 0, "M": True})


class Heard(Hooks):
    """What the tap gives, in order."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []

    def row(self, kind: str, row: Mapping[str, Any]) -> None:
        self.events.append((kind, row["id"], row["price"], row["side"]))

    def value(self, message_hash: str, value: Any) -> None:
        if "orderbook" in message_hash and isinstance(value, dict):
            best = (value["nonce"], [list(level) for level in value["bids"]][:3])
            self.events.append((message_hash, *best))


@asynccontextmanager
async def watched(exchange: Any) -> AsyncIterator[None]:
    """Watch books and trades while the block runs."""

    async def follow(watch: Callable[[str], Any]) -> None:
        with suppress(Exception):
            while True:
                await watch(BTC)

    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(follow(exchange.watch_order_book)),
            group.create_task(follow(exchange.watch_trades)),
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()


async def recorded(path: Path, updates: int = 40, limits: Limits | None = None) -> list[Any]:
    """Record a session with the real client; give what its tap gave."""
    clock, heard, venue = Clock(), Heard(), Binance()
    recorder = Recorder(path, now=clock.now, meta=META, limits=limits or Limits())
    async with serving(venue.app) as endpoint:
        exchange = make("binance", hooks=Many(recorder, heard), config=CONFIG, endpoint=endpoint)
        try:
            await exchange.load_markets()
            async with watched(exchange):
                await until(lambda: len(venue.sockets) == 2)
                for n in range(95, 95 + updates):
                    await venue.update(n)
                    await venue.trade(n)
                    if n == 98:
                        await until(lambda: venue.snapshots)
                        await until(lambda: len(heard.events) > 4)
                await until(lambda: _last(heard.events) == 94 + updates)
                await until(lambda: sum(event[0] == "trade" for event in heard.events) == updates)
        finally:
            await exchange.close()
            recorder.close()
    return heard.events


def _last(events: list[Any]) -> int | None:
    return next((event[1] for event in reversed(events) if event[0] != "trade"), None)


async def played(path: Path) -> tuple[list[Any], Player]:
    """Play a recording without a network; give what the tap gives."""
    heard = Heard()
    player = Player(path, now=Clock().now, sleep=asyncio.sleep, speed=None)
    exchange = player.make("binance", hooks=heard, config=CONFIG)
    try:
        await exchange.load_markets()
        async with watched(exchange):
            await until(lambda: len([c for c in exchange.clients.values() if c.isConnected]) == 2)
            await player.run()
    finally:
        await exchange.close()
    return heard.events, player


async def test_a_recording_plays_the_same_events_in_the_same_order(tmp_path: Path) -> None:
    path = tmp_path / "btc.jsonl.gz"
    told = await recorded(path)
    again, player = await played(path)

    assert len(told) > 60
    assert again == told
    assert (player.left_out, player.ended) == (0, True)
    kinds = {row["kind"] for row in rows(path)}
    assert kinds == {"meta", "frame", "ask", "rest"}


async def test_it_plays_at_the_pace_of_the_recording_or_a_multiple_of_it(tmp_path: Path) -> None:
    path = tmp_path / "btc.jsonl.gz"
    await recorded(path, updates=10)
    first, *_, last = [row["t"] for row in rows(path) if row["kind"] == "frame"]
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        await asyncio.sleep(0)

    player = Player(path, now=lambda: T0, sleep=sleep, speed=10)
    exchange = player.make("binance", hooks=Hooks(), config=CONFIG)
    await exchange.load_markets()
    async with watched(exchange):
        await until(lambda: len(exchange.clients) == 2)
        await player.run()
    await exchange.close()

    assert slept[-1] == pytest.approx((last - first) / SECOND / 10, rel=0.5)
    assert slept == sorted(slept)


async def test_what_the_recording_has_not_fails_like_a_venue_that_is_away(tmp_path: Path) -> None:
    path = tmp_path / "btc.jsonl.gz"
    await recorded(path, updates=6)
    player = Player(path, now=Clock().now, sleep=asyncio.sleep, speed=None)
    exchange = player.make("binance", hooks=Hooks(), config=CONFIG)
    early = await _failure(exchange.fetch_ticker(BTC))
    async with asyncio.TaskGroup() as group, watched(exchange):
        await until(lambda: len(exchange.clients or ()) == 2)
        playing = group.create_task(player.run())
        await asyncio.sleep(0)
        asking = group.create_task(_failure(exchange.fetch_ticker(BTC)))
        await playing
    late = await _failure(exchange.fetch_ticker(BTC))
    await exchange.close()

    assert [type(error) for error in (early, asking.result(), late)] == [
        ccxt.ExchangeNotAvailable
    ] * 3
    assert player.unanswered == 3


async def _failure(call: Any) -> Exception | None:
    try:
        await call
    except Exception as error:  # noqa: BLE001 - what it is, the test judges
        return error
    return None


# --- files ----------------------------------------------------------------------------------------


def frames(path: Path) -> list[str]:
    return [row["text"] for row in rows(path) if row["kind"] == "frame"]


async def write(recorder: Recorder, blocks: int, lines: int = 20) -> None:
    """Let a recorder take some blocks of frames, each written by its own second."""
    turns = 0

    async def sleep(_seconds: float) -> None:
        nonlocal turns
        if turns == blocks:
            raise asyncio.CancelledError
        for line in range(lines):
            recorder.frame("ws://x/ws", f"{turns}.{line} {'x' * 200}")
        turns += 1

    with suppress(asyncio.CancelledError):
        await recorder.run(sleep)


async def test_a_cut_file_gives_everything_up_to_the_cut(tmp_path: Path) -> None:
    path = tmp_path / "cut.jsonl.gz"
    await write(Recorder(path, now=Clock().now, meta=META), 10)
    whole, raw = frames(path), path.read_bytes()
    ends = [0]
    for place in range(0, len(raw), 37):
        path.write_bytes(raw[:place])
        ends.append(len(frames(path)) if is_recording(path) else 0)
        if ends[-1]:
            assert frames(path) == whole[: ends[-1]]

    assert len(whole) == 200
    assert ends == sorted(ends)
    # All blocks but the one that was cut.
    path.write_bytes(raw[:-5])
    assert len(frames(path)) >= 180


async def test_a_cut_file_plays_up_to_the_cut(tmp_path: Path) -> None:
    path = tmp_path / "btc.jsonl.gz"
    told = await recorded(path)
    lines = gzip.decompress(path.read_bytes()).splitlines(keepends=True)
    packed = b"".join(gzip.compress(b"".join(lines[n : n + 10])) for n in range(0, len(lines), 10))
    path.write_bytes(packed[: len(packed) * 3 // 4])
    again, _ = await played(path)

    assert 10 < len(again) < len(told)
    assert again == told[: len(again)]


async def test_parts_are_numbered_begin_alike_and_are_read_as_one(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl.gz"
    recorder = Recorder(path, now=Clock().now, meta=META, limits=Limits(part_bytes=300))
    recorder.request("GET", "http://x/markets")
    recorder.response("GET", "http://x/markets", 200, {"Authorization": "never"}, '{"m":1}')
    recorder.want(BTC, "trades", wanted=True)
    recorder.want(BTC, "ticker", wanted=True)
    recorder.want(BTC, "ticker", wanted=False)
    await write(recorder, 4)
    third = list(rows(tmp_path / "run.part0003.jsonl.gz"))

    assert sorted(found.name for found in tmp_path.iterdir()) == [
        "run.jsonl.gz",
        "run.part0002.jsonl.gz",
        "run.part0003.jsonl.gz",
        "run.part0004.jsonl.gz",
    ]
    assert len(frames(path)) == 80
    assert [row["kind"] for row in third[:3]] == ["meta", "want", "rest"]
    assert (third[0]["part"], third[0]["exchange"]) == (3, "binance")
    assert (third[1]["symbol"], third[1]["stream"]) == (BTC, "trades")
    assert read_meta(path)["part"] == 1
    assert recorder.size == sum(found.stat().st_size for found in tmp_path.iterdir())


async def test_parts_end_by_age_and_the_oldest_go(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl.gz"
    limits = Limits(part_s=0.001, keep=2)
    await write(Recorder(path, now=Clock().now, meta=META, limits=limits), 6)

    assert len(list(tmp_path.iterdir())) == 2
    assert not path.exists()


def test_keys_and_tokens_are_not_in_a_recording(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl.gz"
    token = "2neAiuYvAU61ZDXANAGAsiL4"
    meta: dict[str, object] = META | {"options": {"privateKey": token}}
    recorder = Recorder(path, now=Clock().now, meta=meta, hidden=["SECRET-OF-OURS"])
    recorder.response(
        "POST", f"https://x/bullet?signature={token}&symbol=B", 200, {}, f'{{"token": "{token}"}}'
    )
    recorder.frame(
        f"wss://x/?token={token}&connectId=7", f'{{"a":"SECRET-OF-OURS","apiKey":"{token}"}}'
    )
    recorder.frame("wss://x/", '{"token":"BTC","s":"short"}')
    recorder.close()
    text = gzip.decompress(path.read_bytes()).decode()

    assert token not in text
    assert "SECRET-OF-OURS" not in text
    assert "symbol=B" in text
    assert '{\\"token\\":\\"BTC\\",\\"s\\":\\"short\\"}' in text


def test_a_recorder_that_is_behind_counts_what_it_leaves_out(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl.gz"
    recorder = Recorder(path, now=Clock().now, meta=META, limits=Limits(waiting=1_000))
    for n in range(30):
        recorder.frame("ws://x", f"{n:04d}" * 10)
    lost = recorder.dropped
    recorder._take()
    recorder.frame("ws://x", "later")
    recorder.close()

    assert 0 < lost < 30
    assert [(row["kind"], row.get("lines")) for row in rows(path)][1:] == [
        ("gap", lost),
        ("frame", None),
    ]


async def test_a_disk_that_fails_ends_the_recording_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    path = folder / "x.jsonl.gz"
    recorder = Recorder(path, now=Clock().now, meta=META, limits=Limits(part_bytes=1))
    path.unlink()
    folder.rmdir()
    await write(recorder, 3)

    assert recorder.failed is not None
    assert "No such file" in recorder.failed


async def test_a_disk_that_is_full_ends_the_recording_and_nothing_else(tmp_path: Path) -> None:
    """Found by a run on a small tmpfs: closing tried again what had had no room, and took the feed down with it."""
    recorder = Recorder(tmp_path / "x.jsonl.gz", now=Clock().now, meta=META)
    recorder._file.close()
    recorder._file = io.BufferedWriter(io.FileIO("/dev/full", "wb"))
    await write(recorder, 3)

    assert recorder.failed == "x.jsonl.gz: No space left on device"
    assert recorder._file.closed


def test_a_recording_that_has_no_room_to_begin_is_refused_and_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_self: Recorder, _lines: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Recorder, "_put", full)
    with pytest.raises(Refused, match="cannot be made: No space left on device"):
        Recorder(tmp_path / "x.jsonl.gz", now=Clock().now, meta=META)

    assert list(tmp_path.iterdir()) == []


def test_nothing_is_written_over_and_strange_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl.gz"
    path.write_bytes(b"123 {}\n")

    with pytest.raises(Refused, match="File exists"):
        Recorder(path, now=Clock().now, meta=META)
    with pytest.raises(Refused, match="no recording of ours"):
        read_meta(path)
    newer = orjson.dumps({"kind": "meta", "format": "realtime-recording", "version": 9})
    path.write_bytes(gzip.compress(newer + b"\n"))
    with pytest.raises(Refused, match="version 9"):
        read_meta(path)
    assert not is_recording(tmp_path / "absent")
    assert part(path, 12).name == "x.part0012.jsonl.gz"


def test_a_recording_that_was_unpacked_is_one(tmp_path: Path) -> None:
    path, unpacked = tmp_path / "x.jsonl.gz", tmp_path / "x.jsonl"
    recorder = Recorder(path, now=Clock().now, meta=META)
    recorder.frame("ws://x", "one")
    recorder.close()
    unpacked.write_bytes(gzip.decompress(path.read_bytes()))

    assert is_recording(unpacked)
    assert read_meta(unpacked) == read_meta(path)
    assert list(rows(unpacked)) == list(rows(path))


def test_lines_that_are_none_of_ours_are_passed_over(tmp_path: Path) -> None:
    """Found by a run: one of them ended the server that played the recording."""
    path = tmp_path / "x.jsonl.gz"
    recorder = Recorder(path, now=Clock().now, meta=META)
    recorder.frame("ws://x", "one")
    recorder.frame("ws://x", "two")
    recorder.close()
    meta, first, second = gzip.decompress(path.read_bytes()).splitlines()
    strange = [
        b"[1, 2]",
        b"null",
        b'{"kind": "frame", "t": 1}',
        b'{"kind": "frame", "t": "1", "url": "ws://x", "text": "x"}',
        b'{"kind": [], "t": 1}',
        b'{"kind": "rest", "t": 1, "method": "GET", "url": "x", "status": null, "text": ""}',
    ]
    path.write_bytes(gzip.compress(b"\n".join([meta, first, *strange, second])))

    assert frames(path) == ["one", "two"]
    damaged: list[dict[str, Any]] = [
        {"exchange": None},
        {"version": "1"},
        {"version": 0},
        {"t": None},
    ]
    for broken in (*damaged, {"symbols": 5}, {"options": [1]}, {"types": None}):
        path.write_bytes(gzip.compress(orjson.dumps(orjson.loads(meta) | broken) + b"\n" + first))
        with pytest.raises(Refused, match="first line of the recording is damaged"):
            read_meta(path)


# --- the public data of a venue -------------------------------------------------------------------


def told(events: Any) -> list[tuple[Any, ...]]:
    """What events say, without their times."""
    found: list[tuple[Any, ...]] = []
    for event in events:
        match event:
            case BookSnapshot() | BookDelta():
                found.append((type(event), event.symbol, event.bids, event.asks))
            case Trade():
                found.append((Trade, event.id, event.side, event.price, event.amount))
            case Ticker():
                found.append((Ticker, event.bid, event.ask, event.daily.last))
            case _:
                found.append((type(event),))
    return found


class Listened(RecordedData):
    """Recorded data whose events are kept."""

    def __init__(self, path: Path, **more: Any) -> None:
        super().__init__(path, **more)
        self.seen: list[Any] = []

    async def run(self, post: Post) -> None:
        def both(events: Any) -> None:
            self.seen.extend(events)
            post(events)

        await super().run(both)


async def record_data(path: Path, clock: Clock) -> list[tuple[Any, ...]]:
    """Record through `record`, and give the events of the session."""
    venue = Binance()
    async with serving(venue.app) as endpoint:
        account = Account(id="b", exchange="binance", endpoint=endpoint, symbols=(BTC,))
        data = Listened(path, account=account, now=clock.now, sleep=asyncio.sleep)
        seen = data.seen
        turns = 0

        async def sleep(_seconds: float) -> None:
            nonlocal turns
            turns += 1
            if turns == 1:
                await until(lambda: len(venue.sockets) == 2)
                for n in range(95, 135):
                    await venue.update(n)
                    await venue.trade(n)
                    if n == 98:
                        await until(lambda: any(type(e) is BookSnapshot for e in seen))
                await until(lambda: sum(type(e) is Trade for e in seen) == 40)
                await until(lambda: sum(type(e) is BookDelta for e in seen) >= 34)

        told_: list[int] = []
        await record(
            data,
            [BTC],
            ["orderbook", "trades"],
            seconds=0.3,
            sleep=sleep,
            told=lambda recorder: told_.append(recorder.lines),
        )
        assert told_[-1] > 80
    return told(seen)


async def test_a_recording_is_a_source_of_the_same_market_events(tmp_path: Path) -> None:
    path, clock = tmp_path / "b.jsonl.gz", Clock()
    before = await record_data(path, clock)
    player = Player(path, now=clock.now, sleep=asyncio.sleep, speed=None)
    data = PlayedData(player, now=clock.now, sleep=asyncio.sleep)
    events: list[Any] = []
    await data.open()
    data.want(BTC, "ticker", True)
    async with asyncio.timeout(30):
        await data.run(events.extend)
    bars = await data.ohlcv(BTC, "1m", None, 5)

    assert list(data.markets) == [BTC]
    assert told(events) == before
    assert sum(row[0] is Trade for row in before) == 40
    assert [trade.id for trade in await data.trades(BTC, 2)] == ["133", "134"]
    assert bars[-1].close == "100.05"
    assert (await data.ohlcv("X/Y", "1m", None, 5), await data.trades("X/Y", 5)) == ((), ())
    stamps = [event.ts for event in events if isinstance(event, Trade)]
    assert stamps == sorted(stamps)
    assert stamps[0] > player.at  # told now, not when it was recorded


async def test_a_venue_that_is_away_leaves_no_thread_behind(tmp_path: Path) -> None:
    account = Account(id="b", exchange="binance", endpoint="http://127.0.0.1:1", symbols=(BTC,))
    path = tmp_path / "x.jsonl.gz"
    data = RecordedData(path, account=account, now=Clock().now, sleep=asyncio.sleep)
    with pytest.raises(VenueRejected):
        await data.open()
    data.recorder.frame("ws://x", "late")

    assert not [name for name in (t.name for t in threading.enumerate()) if "recording" in name]
    assert data.recorder.lines == len(list(rows(path))) - 1


async def test_what_cannot_be_recorded_is_refused_before_anything_is_followed(
    tmp_path: Path,
) -> None:
    venue = Binance()
    async with serving(venue.app) as endpoint:
        account = Account(id="b", exchange="binance", endpoint=endpoint, symbols=(BTC,))
        for place, (symbol, stream, why) in enumerate(
            [("BTC/USD", "trades", "near: BTC/USDT"), (BTC, "ohlcv", "no stream ohlcv")]
        ):
            data = RecordedData(
                tmp_path / f"{place}.gz", account=account, now=Clock().now, sleep=asyncio.sleep
            )
            with pytest.raises(Refused, match=why):
                await record(
                    data, [symbol], [stream], seconds=1, sleep=asyncio.sleep, told=lambda _: None
                )

    assert venue.sockets == {}
    assert list(tmp_path.iterdir()) == []


def test_recordings_of_a_server_are_named_by_their_time_and_the_oldest_go(tmp_path: Path) -> None:
    folder = tmp_path / "recordings"
    for hour in range(5):
        fresh(folder, "kraken", T0 + hour * 3_600 * SECOND, 3).write_bytes(b"")
    (folder / "kraken-notes.jsonl.gz").write_bytes(b"")
    other = fresh(folder, "bybit", T0, 1)

    kept = sorted(path.name for path in folder.glob("kraken-1*"))
    assert kept == [f"kraken-{T0 // SECOND + hour * 3_600}.jsonl.gz" for hour in (2, 3, 4)]
    assert other.name == f"bybit-{T0 // SECOND}.jsonl.gz"
    other.write_bytes(b"")
    with pytest.raises(Refused, match=r"record\.path"):
        fresh(folder / other.name / "x", "a", T0, 1)


async def test_a_book_that_is_wanted_again_is_told_whole(tmp_path: Path) -> None:
    path, clock = tmp_path / "b.jsonl.gz", Clock()
    await record_data(path, clock)
    player = Player(path, now=clock.now, sleep=asyncio.sleep, speed=None)
    data = PlayedData(player, now=clock.now, sleep=asyncio.sleep)
    events: list[Any] = []
    await data.open()
    data.want(BTC, "orderbook", True)  # nothing is known yet

    def post(batch: Any) -> None:
        events.extend(batch)
        if sum(type(event) is Trade for event in events) == 20:
            data.want(BTC, "orderbook", False)
            data.want(BTC, "orderbook", True)

    async with asyncio.timeout(30):
        await data.run(post)
    snapshots = [event for event in events if type(event) is BookSnapshot]

    assert len(snapshots) >= 2
    assert snapshots[-1].repaired
    assert snapshots[-1].asks == (("100.10", "2"),)


async def command(*args: str) -> tuple[int | None, str, str]:
    """Run the command line as a person does."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "realtime", "record", *args,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(120):
        out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def test_the_command_records(tmp_path: Path) -> None:
    venue, path = Binance(), tmp_path / "b.jsonl.gz"
    async with serving(venue.app) as endpoint:
        given = ("--symbols", BTC, "--streams", "trades", "--endpoint", endpoint)
        async with asyncio.TaskGroup() as group:
            running = group.create_task(command("binance", str(path), *given, "--seconds", "1"))
            async with asyncio.timeout(60):
                while not venue.sockets:  # noqa: ASYNC110 - as above
                    await asyncio.sleep(0.02)
            for n in range(5):
                await venue.trade(n)
        code, out, err = running.result()

    assert (code, err) == (0, "")
    assert out.startswith(f"{len(list(rows(path))) - 1} lines in ")
    assert sum('"e":"trade"' in text for text in frames(path)) == 5
    assert read_meta(path)["types"] == ["spot"]


class PlayedWorld(World):
    """A system over a recording."""

    def __init__(self, path: Path, speed: float | None) -> None:
        super().__init__(paper={"latency_ms": 0})
        self._outside = replaying(path, speed)

    def outside(self) -> Outside:
        return replace(self._outside, monotonic=time.monotonic_ns, page=no_page)


async def test_a_paper_account_trades_against_a_recording(tmp_path: Path) -> None:
    path = tmp_path / "b.jsonl.gz"
    await record_data(path, Clock())
    # Slower than recorded: there has to be time for an order.
    world = PlayedWorld(path, 0.5)
    async with asyncio.timeout(20), world.life() as system:
        books = system.desk.engine.books
        await until(lambda: BTC in books and books[BTC].best_ask is not None)
        buy: dict[str, Any] = {"symbol": BTC, "side": "buy", "type": "market", "amount": "0.5"}
        reply = await world.call("order.place", **buy)
        (venue,) = (await world.call("system.status")).result["venues"]  # type: ignore[index,misc]

    assert reply.ok, reply.error
    assert reply.result is not None
    assert reply.result["status"] == "filled"
    assert (venue["kind"], venue["source"]) == ("replay", "recording b.jsonl.gz")


async def test_a_server_on_live_prices_records_where_the_settings_want_it(tmp_path: Path) -> None:
    venue, folder = Binance(), tmp_path / "recordings"
    async with serving(venue.app) as endpoint:
        account = Account(id="binance", exchange="binance", endpoint=endpoint, symbols=(BTC,))
        world = World(paper={"latency_ms": 0}, record={"path": str(folder), "keep": 2})

        def outside() -> Outside:
            return Outside(
                venue=lambda making: on_prices_of(account, making),
                monotonic=time.monotonic_ns,
                page=no_page,
            )

        world.outside = outside  # type: ignore[method-assign]
        async with asyncio.timeout(20), world.life(ready=False) as system:
            system.venue.want(BTC, "trades", True)
            await until(lambda: any(name.startswith("trade") for name in venue.sockets))
            await venue.trade(1)
            await until(lambda: system.desk.engine.tickers.get(BTC) is not None or _told(folder))
    (path,) = folder.iterdir()

    assert path.name.startswith("paper-")
    assert sum('"e":"trade"' in text for text in frames(path)) == 1


def _told(folder: Path) -> bool:
    return any('"e":"trade"' in text for path in folder.iterdir() for text in frames(path))


# --- other venues ---------------------------------------------------------------------------------


@asynccontextmanager
async def at_kraken() -> AsyncIterator[tuple[str, QuietMarket, str]]:
    async with kraken.serve() as server:
        assert isinstance(server.floor.source, QuietMarket)
        yield server.endpoint, server.floor.source, "BTC/USD"


@asynccontextmanager
async def at_bitfinex() -> AsyncIterator[tuple[str, QuietMarket, str]]:
    async with bitfinex.serve() as server:
        assert isinstance(server.floor.source, QuietMarket)
        yield server.endpoint, server.floor.source, "BTC/USD"


@asynccontextmanager
async def at_bybit() -> AsyncIterator[tuple[str, QuietMarket, str]]:
    async with bybit.emulated() as server:
        yield server.endpoint, server.market, BTC


@pytest.mark.parametrize(
    ("exchange", "serve"),
    [("kraken", at_kraken), ("bitfinex", at_bitfinex), ("bybit", at_bybit)],
    ids=["kraken", "bitfinex", "bybit"],
)
async def test_native_and_ccxt_books_tickers_and_trades_play_as_they_came(
    tmp_path: Path, exchange: str, serve: Any
) -> None:
    path = tmp_path / "x.jsonl.gz"
    async with serve() as (endpoint, market, symbol):
        account = Account(id="x", exchange=exchange, endpoint=endpoint, symbols=(symbol,))
        data = Listened(path, account=account, now=time.time_ns, sleep=asyncio.sleep)
        await data.open()
        async with asyncio.TaskGroup() as group:
            following = group.create_task(data.run(lambda _: None))
            for stream in ("orderbook", "trades", "ticker"):
                data.want(symbol, stream, True)
            await until(lambda: {BookSnapshot, Ticker} <= {type(event) for event in data.seen})
            for n in range(20):
                market.move(symbol, 60_000 + n)
                market.trade(symbol, Side.BUY, "0.01")
                await asyncio.sleep(0.001)
            await until(lambda: sum(type(event) is Trade for event in data.seen) >= 20)
            following.cancel()
    player = Player(path, now=time.time_ns, sleep=asyncio.sleep, speed=None)
    again = PlayedData(player, now=time.time_ns, sleep=asyncio.sleep)
    events: list[Any] = []
    await again.open()
    async with asyncio.timeout(30):
        await again.run(events.extend)

    seen = told(data.seen)
    # What came last may have been recorded and not told before the end.
    assert told(events)[: len(seen)] == seen
    assert (player.left_out, player.unanswered) == (0, 0)
