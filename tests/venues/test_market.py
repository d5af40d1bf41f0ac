"""The embedded market (trading:5.2): alive, consistent with itself, the same for the same seed."""

import asyncio
from collections import defaultdict
from decimal import Decimal
from itertools import pairwise
from math import log

import orjson
import pytest

from realtime.engine.bars import DAY, HOUR, MINUTE, TIMEFRAMES, Bars, opening
from realtime.engine.forgotten import Sizes
from realtime.engine.orderbook import OrderBook
from realtime.model.errors import Refused
from realtime.model.events import Filled, Transferred
from realtime.model.market import SECOND, BookDelta, BookSnapshot, Daily, Mark, Ticker, Trade
from realtime.model.orders import OrderType, Side, Status, TriggerBy
from realtime.model.risk import Limits
from realtime.venues.chance import Chance
from realtime.venues.listing import SYMBOLS, Fees, listing_of, market_of
from realtime.venues.market import EmbeddedMarket
from realtime.venues.paper import PaperVenue
from realtime.venues.paths import Path, Walk, thrown_back
from realtime.venues.tape import Tape, text
from tests.prices import price
from tests.venues.kit import START, Clock, Listener, MemoryLog, approved, wish


D = Decimal
BTC, PERP = "BTC/USDT", "BTC/USDT:USDT"
FEW = (BTC, "DOGE/USDT", PERP)


class Living:
    """A paper venue on the embedded market."""

    def __init__(
        self,
        clock: Clock | None = None,
        *,
        symbols: tuple[str, ...] = FEW,
        seed: int = 1,
        rate: float = 50.0,
        log: MemoryLog | None = None,
        history: list[bytes] | None = None,
    ) -> None:
        self.clock = clock or Clock()
        self.source = EmbeddedMarket(
            seed=seed, now=self.clock.now, sleep=self.clock.sleep, symbols=symbols, flow_per_s=rate
        )
        self.venue = PaperVenue(
            source=self.source,
            balances={"USDT": D(1_000_000), "BTC": D(1)},
            seed=seed,
            now=self.clock.now,
            sleep=self.clock.sleep,
            log=log,
            history=history or (),
        )
        self.heard = Listener()

    async def open(self) -> "Living":
        await self.venue.open(self.heard)
        return self

    def live(self, steps: int, seconds: float = 0.05) -> None:
        for _ in range(steps):
            self.clock.advance(seconds)
            self.source.step()


_settled: list[Living] = []


async def settled() -> Living:
    """A market that has lived for fifteen seconds; only for looking at."""
    if not _settled:
        _settled.append(await lived(300))
    return _settled[0]


async def lived(steps: int = 400, **options: object) -> Living:
    market = await Living(**options).open()  # type: ignore[arg-type]
    market.live(steps)
    return market


# --- a living market --------------------------------------------------------------------------


async def test_it_lists_at_least_ten_symbols_and_all_of_them_move() -> None:
    market = await Living(symbols=SYMBOLS).open()
    market.live(20)
    traded = {trade.symbol for trade in market.heard.of(Trade)}
    moved = {delta.symbol for delta in market.heard.of(BookDelta)}

    assert len(SYMBOLS) >= 10
    assert traded == moved == set(SYMBOLS) == set(market.venue.markets)


async def test_a_price_far_below_the_market_is_in_the_bands_and_not_reached_at_any_date() -> None:
    """What tests at a real server place their resting orders with, whatever day it is."""
    passive = Limits().price_band_passive
    assert passive is not None
    for symbol, state in (await Living(symbols=SYMBOLS).open()).source._symbols.items():
        tick, band = state.market.price_tick, state.market.price_band
        assert band is not None
        for day in range(0, 3_000, 60):
            times = range(START + day * DAY, START + day * DAY + HOUR, HOUR // 4)
            now, *later = (state.path.price(ts) for ts in times)
            far = D(price({"bid": text(now, tick)}))

            assert far % tick == 0
            assert 1 - min(passive, band) <= far / D(now) < 1 - D("0.07"), symbol
            assert min(later) > far, symbol


async def test_no_published_book_is_ever_crossed_or_empty() -> None:
    market = await settled()
    books: dict[str, OrderBook] = {}
    for event in market.heard.events:
        if isinstance(event, BookSnapshot):
            books[event.symbol] = OrderBook(event.symbol)
            books[event.symbol].apply_snapshot(event)
        elif isinstance(event, BookDelta):
            book = books[event.symbol]
            book.apply_delta(event)
            bids, asks = book.top(5)
            assert not book.crossed
            assert len(bids) > 2
            assert len(asks) > 2
    for symbol, book in books.items():
        assert book.top(1000) == _rests(market, symbol)


def _rests(market: Living, symbol: str) -> tuple[object, object]:
    snapshot = market.venue.exchange.pits[symbol].snapshot(0)
    return snapshot.bids, snapshot.asks


async def test_the_ticker_is_the_newest_trade_and_the_top_of_the_book() -> None:
    market = await settled()
    for symbol in FEW:
        ticker = [row for row in market.heard.of(Ticker) if row.symbol == symbol][-1]
        bids, asks = _rests(market, symbol)
        last = [trade for trade in market.heard.of(Trade) if trade.symbol == symbol][-1]

        assert (ticker.bid, ticker.bid_amount) == bids[0]  # type: ignore[index]
        assert (ticker.ask, ticker.ask_amount) == asks[0]  # type: ignore[index]
        assert ticker.daily.last == last.price
        assert ticker.source == "paper"


async def test_the_day_s_volume_grows_by_what_is_traded() -> None:
    market = await settled()
    tickers = [row for row in market.heard.of(Ticker) if row.symbol == BTC]
    traded = sum(D(trade.amount) for trade in market.heard.of(Trade) if trade.symbol == BTC)
    first_trades = D(tickers[1].daily.volume or "0") - D(tickers[0].daily.volume or "0")

    assert 0 < first_trades < traded
    assert D(tickers[-1].daily.volume or "0") - D(tickers[0].daily.volume or "0") == traded


async def test_bars_after_the_start_are_the_fold_of_the_trades() -> None:
    clock = Clock(START // DAY * DAY)
    market = await Living(clock, symbols=(BTC,), rate=10).open()
    market.live(400, 0.5)
    fold = Bars("1m")
    for trade in market.heard.of(Trade):
        fold.add(trade)
    bars = await market.venue.ohlcv(BTC, "1m", START // DAY * DAY, 10)

    assert list(bars) == [*fold.history(), fold.forming]
    assert len(bars) == 4


async def test_trades_come_at_prices_within_the_published_book() -> None:
    market = await lived(symbols=(BTC,))
    low = None
    book = OrderBook()
    for event in market.heard.events:
        if isinstance(event, BookSnapshot):
            book.apply_snapshot(event)
        elif isinstance(event, BookDelta):
            book.apply_delta(event)
        elif isinstance(event, Trade):
            bids, asks = book.top(1000)
            low, high = float(bids[-1][0]) * 0.99, float(asks[-1][0]) * 1.01
            assert low < float(event.price) < high
    assert low is not None


async def test_buying_moves_the_book() -> None:
    market = await Living(symbols=(BTC,)).open()
    before = _rests(market, BTC)[1]
    order = wish("a", Side.BUY, "0.5")
    ack = await market.venue.submit(approved(order))
    after = _rests(market, BTC)[1]

    assert ack.status is Status.FILLED
    assert float(after[0][0]) > float(before[0][0])  # type: ignore[index]
    fills = market.heard.of(Filled)
    assert [fill.trade_id for fill in fills] == [trade.id for trade in market.heard.of(Trade)][
        -len(fills) :
    ]


async def test_our_resting_order_is_in_the_book_and_fills_by_the_flow() -> None:
    market = await Living(symbols=(BTC,)).open()
    ticker = market.heard.of(Ticker)[-1]
    assert ticker.bid is not None
    price = D(ticker.bid) + D("0.01")
    await market.venue.submit(approved(wish("a", Side.BUY, "0.00100", price=price)))
    assert _rests(market, BTC)[0][0] == (str(price), "0.00100")  # type: ignore[index]

    market.live(400)

    assert market.heard.of(Filled)[0].maker


async def test_the_price_follows_the_path() -> None:
    market = await settled()
    for symbol in FEW:
        state = market.source._symbols[symbol]
        bid, ask = _rests(market, symbol)
        middle = (float(bid[0][0]) + float(ask[0][0])) / 2  # type: ignore[index]

        assert middle == pytest.approx(state.path.price(market.clock.ns), rel=0.002)


async def test_a_perpetual_has_mark_index_and_funding_near_its_spot_market() -> None:
    market = await settled()
    marks = market.heard.of(Mark)
    mark = marks[-1]

    assert {row.symbol for row in marks} == {PERP}
    assert float(mark.mark) == pytest.approx(float(mark.index), rel=0.002)
    assert abs(float(mark.funding_rate)) <= 0.0075
    assert mark.next_funding_ts % (8 * HOUR) == 0
    assert 0 < mark.next_funding_ts - mark.ts <= 8 * HOUR
    assert market.heard.of(Ticker)[-1].mark or market.heard.of(Ticker)[-2].mark


async def test_the_margin_mode_of_a_perpetual_can_be_chosen() -> None:
    market = await Living(symbols=(BTC, PERP)).open()
    await market.venue.set_isolated(PERP, isolated=True)
    await market.venue.submit(approved(wish("a", Side.BUY, "0.1", symbol=PERP, leverage="5")))

    assert [row.margin_mode for row in await market.venue.positions()] == ["isolated"]


async def test_a_perpetual_without_its_spot_market_takes_the_path_as_index() -> None:
    market = await lived(30, symbols=(PERP,))

    assert float(market.heard.of(Mark)[-1].index) > 0


async def test_positions_in_perpetuals_pay_funding_in_time() -> None:
    clock = Clock(START // (8 * HOUR) * (8 * HOUR) + 8 * HOUR - 2 * SECOND)
    market = await Living(clock, symbols=(BTC, PERP)).open()
    await market.venue.submit(approved(wish("a", Side.BUY, "0.1", symbol=PERP, leverage="5")))
    market.live(80)

    assert [(event.kind, event.symbol) for event in market.heard.of(Transferred)] == [
        ("deposit", None),
        ("deposit", None),
        ("funding", PERP),
    ]
    assert [row.amount for row in await market.venue.positions()] == [D("0.1")]


EIGHT = 8 * HOUR


def funded(market: Living) -> list[tuple[int, Decimal, str]]:
    moved = [event for event in market.heard.of(Transferred) if event.kind == "funding"]
    return [(event.ts, event.amount, event.id) for event in moved]


@pytest.mark.parametrize("side", [Side.BUY, Side.SELL])
@pytest.mark.parametrize("slept", [False, True], ids=["killed", "suspended"])
async def test_what_fell_due_while_nobody_followed_is_paid_once_as_of_then(
    side: Side,
    slept: bool,  # noqa: FBT001 - a case
) -> None:
    clock = Clock(START // EIGHT * EIGHT + EIGHT + HOUR)
    log = MemoryLog()
    first = await Living(clock, symbols=(BTC, PERP), log=log).open()
    await first.venue.submit(approved(wish("a", side, "0.1", symbol=PERP, leverage="5")))
    first.live(2)
    had = {row.currency: row.available + row.reserved for row in await first.venue.balances()}
    opened = clock.ns

    clock.advance(20 * HOUR / SECOND)
    history = list(log.entries)  # a kill leaves this, and nothing of the rest
    now = (
        first
        if slept
        else await Living(clock, symbols=(BTC, PERP), log=log, history=history).open()
    )
    now.live(2)
    due = [opened // EIGHT * EIGHT + EIGHT, opened // EIGHT * EIGHT + 2 * EIGHT]
    path, sign = now.source._symbols[PERP].path, -1 if side is Side.BUY else 1
    told = funded(now)
    assert [ts for ts, _, _ in told] == due
    for ts, amount, _ in told:
        worth = path.price(ts) * 0.1 * 0.0001
        assert float(amount) * sign == pytest.approx(worth, abs=1e-4)
    has = {row.currency: row.available + row.reserved for row in await now.venue.balances()}
    assert has["USDT"] - had["USDT"] == sum(amount for _, amount, _ in told)

    # Started again and again it is paid no more; who was told by the newest entry of the log knows the ids.
    again = await Living(clock, symbols=(BTC, PERP), log=log, history=list(log.entries)).open()
    again.live(2)
    assert set(funded(again)) <= set(told)
    balances = {row.currency: row.available + row.reserved for row in await again.venue.balances()}
    assert balances == has


async def test_a_perpetual_that_is_not_listed_any_more_is_held_on_and_pays_nothing() -> None:
    clock, log = Clock(START // EIGHT * EIGHT + EIGHT + HOUR), MemoryLog()
    first = await Living(clock, symbols=(BTC, PERP), log=log).open()
    await first.venue.submit(approved(wish("a", Side.BUY, "0.1", symbol=PERP, leverage="5")))
    clock.advance(20 * HOUR / SECOND)
    again = Living(clock, symbols=(BTC,), log=log, history=list(log.entries))
    again.venue._known = {PERP: first.venue.markets[PERP]}
    await again.open()
    again.live(2)

    assert funded(again) == []
    assert again.venue.exchange.missed == {}
    assert [row.amount for row in await again.venue.positions()] == [D("0.1")]


async def test_a_stop_that_the_first_price_reaches_closes_all_behind_the_funding_of_before() -> (
    None
):
    """It meets a whole book, not the first two quotes of one."""
    clock = Clock(START // EIGHT * EIGHT + EIGHT + HOUR)
    log = MemoryLog()
    first = await Living(clock, symbols=(BTC, PERP), log=log).open()
    await first.venue.submit(approved(wish("a", Side.BUY, "1", symbol=PERP, leverage="5")))
    first.live(2)
    mark = Decimal(first.heard.of(Mark)[-1].mark)
    market = first.venue.markets[PERP]
    later = next(
        ts
        for ts in range(clock.ns + EIGHT, clock.ns + 40 * DAY, 5 * MINUTE)
        if first.source._symbols[PERP].path.price(ts) < float(mark) * 0.99
    )
    stop = text(mark * Decimal("0.995"), market.price_tick)
    fields = {"type": OrderType.STOP, "stop_price": stop, "reduce_only": True}
    fields["trigger_by"] = TriggerBy.MARK
    await first.venue.submit(approved(wish("s", Side.SELL, "1", symbol=PERP, **fields)))
    first.live(2)

    clock.ns = later
    again = await Living(clock, symbols=(BTC, PERP), log=log, history=list(log.entries)).open()
    kinds = [
        type(event).__name__
        for event in again.heard.events
        if isinstance(event, Filled) or (isinstance(event, Transferred) and event.kind == "funding")
    ]
    assert kinds[0] == "Transferred"
    assert kinds[-1] == "Filled"
    assert not any(row.amount for row in await again.venue.positions())
    assert not await again.venue.open_orders()


async def test_the_path_of_meanwhile_is_told_of_last_and_mark_prices() -> None:
    clock = Clock()
    market = await Living(clock, symbols=(BTC, PERP)).open()
    clock.advance(300)
    for symbol in (BTC, PERP):
        for by in (TriggerBy.LAST, TriggerBy.MARK):
            bars = await market.venue.past(symbol, by, clock.ns - 5 * MINUTE)
            assert bars
            assert bars[0].ts >= clock.ns - 5 * MINUTE
        with pytest.raises(Refused):
            await market.venue.past(symbol, TriggerBy.BID_ASK, clock.ns - MINUTE)


# --- the same for the same seed ---------------------------------------------------------------


async def test_two_markets_of_one_seed_are_equal_event_by_event() -> None:
    first, second = await lived(60), await lived(60)

    assert first.heard.events == second.heard.events
    assert first.heard.events != (await lived(60, seed=2)).heard.events


async def test_another_symbol_changes_nothing_about_the_first() -> None:
    alone, among = await lived(60, symbols=(BTC,)), await lived(60, symbols=(BTC, "XRP/USDT"))

    def levels(market: Living) -> list[object]:
        return [delta.bids for delta in market.heard.of(BookDelta) if delta.symbol == BTC]

    assert levels(alone) == levels(among)


async def test_history_a_restart_and_the_running_market_agree() -> None:
    clock = Clock()
    log = MemoryLog()
    first = await Living(clock, symbols=(BTC,), log=log).open()
    before = await first.venue.ohlcv(BTC, "1m", None, 100)
    await first.venue.submit(approved(wish("a", Side.BUY, "0.01", price="60000.00")))
    first.live(100)
    clock.advance(30)
    again = await Living(clock, symbols=(BTC,), log=log, history=log.entries).open()
    again.live(20)
    after = await again.venue.ohlcv(BTC, "1m", None, 100)

    old = {bar.ts: bar for bar in before[:-1]}
    same = [bar for bar in after if bar.ts in old]
    assert len(same) > 90
    assert all(old[bar.ts] == bar for bar in same)
    for left, right in pairwise(after):
        assert float(right.open) == pytest.approx(float(left.close), rel=0.003)
    assert float(after[-1].close) == pytest.approx(
        again.source._symbols[BTC].path.price(clock.ns), rel=0.002
    )
    assert len(await again.venue.open_orders()) == 1


@pytest.mark.parametrize("forgotten", [False, True])
async def test_past_bars_hold_what_the_account_traded_before_a_restart(
    forgotten: bool,  # noqa: FBT001 - a case
) -> None:
    """And after it, when its orders are known no more."""
    clock, log = Clock(), MemoryLog()
    first = await Living(clock, symbols=(BTC,), log=log).open()
    for number, side in enumerate((Side.BUY, Side.SELL, Side.BUY)):
        await first.venue.submit(approved(wish(f"a{number}", side, "0.9")))
        first.live(20)
        clock.advance(40)
    again = await Living(clock, symbols=(BTC,), log=log, history=log.entries).open()
    bare = await Living(clock, symbols=(BTC,)).open()
    fills = await again.venue.fills(0)
    if forgotten:
        clearing, none = again.venue.exchange.clearing, Sizes(ended=0, age=0, a_call=9)
        clearing.forget(clearing.accounts["main"], none, clock.ns)
        assert not await again.venue.fills(0)
    # Of now, so it is on the tape and nowhere else.
    await again.venue.submit(approved(wish("now", Side.BUY, "0.01")))

    assert len({fill.ts for fill in fills}) == 3
    since = START // DAY * DAY
    minutes = await again.venue.ohlcv(BTC, "1m", since, 1500)
    for timeframe in ("1m", "5m", "1h", "1d"):
        bars = await again.venue.ohlcv(BTC, timeframe, since, 1500)
        plain = {bar.ts: bar for bar in await bare.venue.ohlcv(BTC, timeframe, since, 1500)}
        for bar in bars:
            own = [fill for fill in fills if opening(fill.ts, timeframe) == bar.ts]
            assert all(D(bar.low) <= fill.price <= D(bar.high) for fill in own)
            now = D("0.01") if bar is bars[-1] else D(0)
            more = sum((fill.amount for fill in own), now)
            assert D(bar.volume) - D(plain[bar.ts].volume) == more
            assert bar.open == plain[bar.ts].open
            assert now or bar.close == plain[bar.ts].close
            within = [one for one in minutes if opening(one.ts, timeframe) == bar.ts]
            assert D(bar.high) == max(D(one.high) for one in within)
            assert D(bar.low) == min(D(one.low) for one in within)
    daily = again.heard.of(Ticker)[0].daily
    assert all(D(daily.low or 0) <= fill.price <= D(daily.high or 0) for fill in fills)
    grown = D(daily.volume or 0) - D(bare.heard.of(Ticker)[0].daily.volume or 0)
    assert grown == sum(fill.amount for fill in fills)


async def test_a_restored_order_that_crosses_the_new_book_fills_and_is_told() -> None:
    clock, log = Clock(), MemoryLog()
    first = await Living(clock, symbols=(BTC,), log=log).open()
    await first.venue.submit(
        approved(
            wish(
                "a",
                Side.BUY,
                "0.001",
                type=OrderType.STOP_LIMIT,
                stop_price="90000.00",
                price="90000.00",
            )
        )
    )
    entries = list(log.entries)
    # As if the trigger had fired in the moment of the kill: live in the log, not matched.
    entry = orjson.loads(entries[-1])
    entry["orders"][0]["live"] = True
    entries[-1] = orjson.dumps(entry)
    again = await Living(clock, symbols=(BTC,), log=log, history=entries).open()

    assert [fill.amount for fill in again.heard.of(Filled)] == [D("0.001")]
    assert await again.venue.open_orders() == []


# --- bars -------------------------------------------------------------------------------------


@pytest.mark.parametrize("timeframe", ["1m", "5m", "15m", "1h", "4h", "1d"])
async def test_there_is_history_in_every_timeframe_without_holes(timeframe: str) -> None:
    market = await Living(symbols=(BTC,)).open()
    bars = await market.venue.ohlcv(BTC, timeframe, None, 60)

    assert len(bars) == 60
    assert {right.ts - left.ts for left, right in pairwise(bars)} == {TIMEFRAMES[timeframe]}
    for bar in bars:
        low, high = float(bar.low), float(bar.high)
        assert low <= min(float(bar.open), float(bar.close))
        assert high >= max(float(bar.open), float(bar.close))
        assert float(bar.volume) > 0


async def test_bars_can_be_asked_for_from_a_time_on() -> None:
    market = await Living(symbols=(BTC,)).open()
    since = START - 10 * HOUR + 5
    bars = await market.venue.ohlcv(BTC, "1h", since, 4)

    first = (since // HOUR + 1) * HOUR
    assert [bar.ts for bar in bars] == [first + n * HOUR for n in range(4)]


@pytest.mark.parametrize("timeframe", ["1m", "1d", "1w"])
async def test_bars_can_be_asked_for_from_the_beginning_of_time_on(timeframe: str) -> None:
    market = await lived(20, symbols=(BTC,))
    bars = await market.venue.ohlcv(BTC, timeframe, 0, 4)

    length = TIMEFRAMES[timeframe]
    first = opening(length - 1, timeframe)  # weeks begin on Monday, and time on a Thursday
    assert [bar.ts for bar in bars] == [first + n * length for n in range(4)]


async def test_closes_of_short_and_long_bars_meet() -> None:
    market = await Living(symbols=(BTC,)).open()
    since = (START - 5 * HOUR) // HOUR * HOUR
    minutes = await market.venue.ohlcv(BTC, "1m", since, 120)
    hours = await market.venue.ohlcv(BTC, "1h", since, 2)

    assert [hours[0].close, hours[1].close] == [minutes[59].close, minutes[119].close]
    # Each minute rounded down by itself made an hour less than it was.
    for place, hour in enumerate(hours):
        assert D(hour.volume) == sum(D(bar.volume) for bar in minutes[place * 60 :][:60])


async def test_ticker_and_bars_of_history_agree() -> None:
    market = await Living(symbols=(BTC,)).open()
    first = START // MINUTE * MINUTE - DAY + MINUTE
    minutes = await market.venue.ohlcv(BTC, "1m", first, 1440)
    hours = await market.venue.ohlcv(BTC, "1h", START // HOUR * HOUR - DAY, 24)
    daily = market.heard.of(Ticker)[0].daily

    assert daily.open == minutes[0].open
    assert D(daily.high or 0) == max(D(bar.high) for bar in minutes)
    assert D(daily.low or 0) == min(D(bar.low) for bar in minutes)
    assert float(daily.volume or 0) == pytest.approx(
        sum(float(bar.volume) for bar in minutes), rel=1e-3
    )
    for hour in hours[1:]:
        inside = [bar for bar in minutes if hour.ts <= bar.ts < hour.ts + HOUR]
        assert D(hour.high) == max(D(bar.high) for bar in inside)
        assert D(hour.low) == min(D(bar.low) for bar in inside)


async def test_the_tape_is_kept() -> None:
    market = await lived(50, symbols=(BTC,))
    trades = market.heard.of(Trade)

    assert await market.venue.trades(BTC, 5) == trades[-5:]
    market.venue.want(BTC, "ticker", True)


async def test_it_runs_by_itself() -> None:
    market = await Living(symbols=(BTC,)).open()
    market.heard.clear()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(2):
            await market.venue.run()

    assert len(market.heard.of(Trade)) > 5


# --- the parts --------------------------------------------------------------------------------


def test_a_path_is_the_same_however_it_is_walked() -> None:
    def made() -> Path:
        return Path(
            base=100.0,
            beta=1.0,
            sigma=0.02,
            turnover=1.0,
            common=Walk(0.02, 1, "c"),
            names=(1, "S"),
        )

    times = [START + n * 17 * SECOND for n in range(80)]
    forward = [made().price(ts) for ts in times]
    walked = made()

    assert [walked.price(ts) for ts in times] == forward
    assert [walked.price(ts) for ts in reversed(times)] == forward[::-1]
    # Of four days, their borders among them.
    hours = [START // DAY * DAY + n * HOUR + off for n in range(0, 96, 2) for off in (-1, 0, 1)]
    assert [walked.price(ts) for ts in hours] == [made().price(ts) for ts in hours]
    bars = [made().candle(ts, ts + MINUTE) for ts in times]
    both = [(walked.candle(ts, ts + MINUTE), walked.price(ts)) for ts in times]
    assert both == list(zip(bars, forward, strict=True))


def test_a_path_is_continuous_over_days_and_moves_like_a_market() -> None:
    path = Path(
        base=100.0, beta=1.0, sigma=0.01, turnover=1.0, common=Walk(0.02, 3, "c"), names=(3, "S")
    )
    midnight = START // DAY * DAY
    assert path.price(midnight - 1000) == pytest.approx(path.price(midnight), rel=1e-3)
    hours = [log(path.price(midnight + n * HOUR)) for n in range(24 * 60)]
    moves = [b - a for a, b in pairwise(hours)]
    hourly = (sum(x * x for x in moves) / len(moves)) ** 0.5

    assert 0.001 < hourly < 0.02


@pytest.mark.parametrize(
    ("length", "within"),
    [
        ("1m", "3m"),
        ("1m", "5m"),
        ("3m", "15m"),
        ("5m", "15m"),
        ("15m", "30m"),
        ("1m", "1h"),
        ("30m", "2h"),
        ("1h", "4h"),
        ("2h", "6h"),
        ("4h", "12h"),
        ("6h", "12h"),
        ("1h", "1d"),
        ("1d", "1w"),
    ],
)
def test_bars_of_history_fold_to_those_of_every_longer_timeframe(length: str, within: str) -> None:
    path = Path(
        base=100.0, beta=1.0, sigma=0.02, turnover=1.0, common=Walk(0.02, 7, "c"), names=(7, "S")
    )
    step = TIMEFRAMES[length]
    for back in range(3):
        start = opening(START - back * 31 * HOUR, within)
        end = start + TIMEFRAMES[within]
        bars = [path.candle(at, at + step) for at in range(start, end, step)]
        whole = path.candle(start, end)

        assert all(a.close == b.open for a, b in pairwise(bars))
        assert (whole.open, whole.close) == (bars[0].open, bars[-1].close)
        assert whole.high == max(bar.high for bar in bars)
        assert whole.low == min(bar.low for bar in bars)
        assert all(a.until == b.before for a, b in pairwise(bars))
        assert (whole.before, whole.until) == (bars[0].before, bars[-1].until)


def test_a_bar_that_is_not_over_holds_what_came_before_and_ends_at_the_price_of_now() -> None:
    path = Path(
        base=100.0, beta=1.0, sigma=0.02, turnover=1.0, common=Walk(0.02, 7, "c"), names=(7, "S")
    )
    start = START // DAY * DAY
    now = start + 7 * HOUR + 23 * MINUTE + 7 * SECOND
    minutes = [path.candle(at, min(at + MINUTE, now)) for at in range(start, now, MINUTE)]
    bar = path.candle(start, now)

    assert (bar.open, bar.close) == (minutes[0].open, minutes[-1].close)
    assert bar.close == pytest.approx(path.price(now), rel=1e-3)
    assert (bar.high, bar.low) == (max(m.high for m in minutes), min(m.low for m in minutes))


@pytest.mark.parametrize("value", [-7.3, -1.0, 1.0, 1.4, 2.0, 2.2, 3.1, 9.9])
def test_what_goes_beyond_two_bounds_is_thrown_back_between_them(value: float) -> None:
    assert 1.0 <= thrown_back(value, 1.0, 2.0) <= 2.0
    assert thrown_back(2.25, 1.0, 2.0) == 1.75
    assert thrown_back(0.75, 1.0, 2.0) == 1.25
    assert thrown_back(value, 1.0, 1.0) == 1.0


def test_nervous_times_last_and_jumps_are_rare() -> None:
    walk = Walk(0.02, 5, "c")
    wild = [walk.wild(START + n * HOUR) for n in range(24 * 60)]
    changes = sum(a != b for a, b in pairwise(wild))
    jumps = sum(
        abs(walk._jump(START // HOUR * HOUR + n * HOUR + 59 * MINUTE)) > 0 for n in range(24 * 60)
    )

    assert 0.05 < sum(wild) / len(wild) < 0.6
    assert changes < len(wild) / 4
    assert 5 < jumps < 100


def test_volume_rises_and_adds_up() -> None:
    path = Path(
        base=1.0, beta=1.0, sigma=0.01, turnover=2.0, common=Walk(0.02, 3, "c"), names=(3, "S")
    )
    sums = [path.traded(START + n * 20 * SECOND) for n in range(2000)]

    assert all(b > a for a, b in pairwise(sums))
    assert (sums[-1] - sums[0]) / (1999 * 20) == pytest.approx(2.0, rel=0.3)


def test_chance_has_the_shapes_it_promises() -> None:
    chance = Chance(1, "test")
    count = 4000
    uniform = [chance.random() for _ in range(count)]
    normal = [chance.gauss() for _ in range(count)]
    events = [chance.poisson(2.5) for _ in range(count)]

    assert sum(uniform) / count == pytest.approx(0.5, abs=0.03)
    assert sum(normal) / count == pytest.approx(0, abs=0.06)
    assert sum(x * x for x in normal) / count == pytest.approx(1, abs=0.1)
    assert sum(events) / count == pytest.approx(2.5, abs=0.1)
    assert {chance.below(3) for _ in range(50)} == {0, 1, 2}
    assert [Chance(1, "a").bits()] == [Chance(1, "a").bits()] != [Chance(1, "b").bits()]


def test_only_listed_symbols_can_be_had() -> None:
    with pytest.raises(Refused, match="not one of the embedded markets"):
        listing_of("NOPE/USDT")
    with pytest.raises(Refused, match="not one of the embedded markets"):
        listing_of("BTC/EUR")
    market = market_of(PERP, Fees())
    assert (market.settle, market.type, market.taker) == ("USDT", "swap", D("0.00055"))


def test_numbers_are_written_on_the_grid() -> None:
    assert text(1.23456, D("0.01")) == "1.23"
    assert text(D("5"), D("0.001")) == "5.000"


def test_an_empty_tape_has_no_bars() -> None:
    tape = Tape(market_of(BTC, Fees()))

    assert tape.bars("1m", None, 5) == []
    assert tape.kept_from("1h") is None
    assert tape.ticker(None, None, 1, 1).daily == Daily(volume="0", quote_volume="0")


@pytest.mark.slow
async def test_a_simulated_day_stays_consistent() -> None:
    market = await Living(Clock(START // DAY * DAY), symbols=(BTC, PERP), rate=2).open()
    folds = {symbol: Bars("1h") for symbol in (BTC, PERP)}
    books: defaultdict[str, OrderBook] = defaultdict(OrderBook)
    for _ in range(24 * 3600):
        market.live(1, 1.0)
        for event in market.heard.events:
            if isinstance(event, Trade):
                folds[event.symbol].add(event)
            elif isinstance(event, BookSnapshot):
                books[event.symbol].apply_snapshot(event)
            elif isinstance(event, BookDelta):
                books[event.symbol].apply_delta(event)
                assert not books[event.symbol].crossed
        market.heard.clear()
    for symbol, fold in folds.items():
        bars = await market.venue.ohlcv(symbol, "1h", START // DAY * DAY, 24)
        assert list(bars[:23]) == list(fold.history())[:23]
        for bar in bars:
            path = market.source._symbols[symbol].path
            assert float(bar.close) == pytest.approx(path.price(bar.ts + HOUR), rel=0.01)
