from collections import defaultdict
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given, settings, strategies as st

from realtime.engine.bars import DAY, HOUR, MINUTE, Bars, DayFold, opening, resample
from realtime.model.market import SECOND, Bar, Market, Trade
from tests.engine.floor import PERP, SPOT


D = Decimal


def trade(ts: int, price: str, amount: str = "1") -> Trade:
    return Trade(id=str(ts), symbol="S", side="buy", price=price, amount=amount, ts=ts, recv_ts=ts)


def bar(ts: int, *, o: str = "1", h: str = "1", low: str = "1", c: str = "1", v: str = "1") -> Bar:
    return Bar(ts=ts, open=o, high=h, low=low, close=c, volume=v)


def test_trades_of_one_minute_make_one_bar() -> None:
    bars = Bars("1m")
    for second, price in ((1, "10.0"), (2, "9.5"), (30, "12.0"), (59, "11.0")):
        assert not bars.add(trade(second * SECOND, price, "0.5"))

    assert bars.rows() == (bar(0, o="10.0", h="12.0", low="9.5", c="11.0", v="2.0"),)


def test_a_trade_of_the_next_minute_closes_the_bar() -> None:
    bars = Bars("1m")
    bars.add(trade(SECOND, "10"))

    assert bars.add(trade(61 * SECOND, "11"))
    assert [row.open for row in bars.rows()] == ["10", "11"]
    assert bars.closed_through == MINUTE


def test_time_alone_closes_a_bar() -> None:
    bars = Bars("1m")
    bars.add(trade(SECOND, "10"))

    assert not bars.advance(59 * SECOND)
    assert bars.advance(60 * SECOND)
    assert (bars.forming, bars.closed) == (None, bar(0, o="10", h="10", low="10", c="10"))
    assert not bars.advance(500 * SECOND)


def test_minutes_without_trades_have_no_bar() -> None:
    bars = Bars("1m")
    bars.add(trade(SECOND, "10"))
    bars.add(trade(10 * MINUTE, "11"))

    assert [row.ts for row in bars.rows()] == [0, 10 * MINUTE]
    assert bars.closed_through == 10 * MINUTE


def test_a_late_trade_is_counted_and_changes_no_closed_bar() -> None:
    bars = Bars("1m")
    bars.add(trade(SECOND, "10"))
    bars.add(trade(61 * SECOND, "11"))
    before = bars.closed

    assert not bars.add(trade(2 * SECOND, "99"))
    assert (bars.closed, bars.late) == (before, 1)


def test_history_is_continued_behind_its_last_bar() -> None:
    bars = Bars("1m", [bar(0)])

    assert not bars.add(trade(30 * SECOND, "5"))
    assert (bars.late, bars.history()) == (1, (bar(0),))


def test_only_so_many_closed_bars_are_kept() -> None:
    bars = Bars("1m", keep=3)
    for minute in range(10):
        bars.add(trade(minute * MINUTE, "1"))

    assert [row.ts // MINUTE for row in bars.history()] == [6, 7, 8]


@pytest.mark.parametrize(
    ("timeframe", "ts", "expected"),
    [
        ("1m", 61 * SECOND, 60 * SECOND),
        ("1h", HOUR + 5, HOUR),
        ("1d", DAY + HOUR, DAY),
        ("1w", 4 * DAY, 4 * DAY),
        ("1w", 11 * DAY - 1, 4 * DAY),
    ],
    ids=["minute", "hour", "day", "monday", "sunday"],
)
def test_bars_open_at_multiples_of_their_length(timeframe: str, ts: int, expected: int) -> None:
    assert opening(ts, timeframe) == expected


def test_bars_are_cut_in_utc_whatever_the_summer_time() -> None:
    # 2024-03-31 01:00 UTC: clocks in Europe jump from 2 to 3
    change = 1711846800 * SECOND
    bars = Bars("1h")
    for quarter in range(12):
        bars.add(trade(change - HOUR + quarter * HOUR // 4, "1"))

    assert [row.ts for row in bars.rows()] == [change, change + HOUR]
    assert [row.volume for row in bars.history()] == ["4", "4"]


def test_finer_bars_fold_into_coarser_ones() -> None:
    minutes = [
        bar(n * MINUTE, o=str(n), h=str(n + 5), low=str(n - 5), c=str(n + 1), v="2")
        for n in range(7)
    ]

    assert resample(minutes, "5m") == [
        bar(0, o="0", h="9", low="-5", c="5", v="10"),
        bar(5 * MINUTE, o="5", h="11", low="0", c="7", v="4"),
    ]
    assert resample([], "5m") == []


trades = st.lists(
    st.tuples(st.integers(0, 40 * MINUTE), st.integers(1, 99), st.integers(1, 9)), max_size=60
)


@settings(max_examples=60, deadline=None)
@given(trades, st.sampled_from(["1m", "5m", "15m"]))
def test_the_fold_equals_grouping_by_hand_and_closed_bars_never_change(
    rows: list[tuple[int, int, int]], timeframe: str
) -> None:
    bars = Bars(timeframe)
    seen: dict[int, Bar] = {}
    groups: dict[int, list[tuple[int, int]]] = defaultdict(list)
    newest = 0
    for ts, price, amount in rows:
        bars.add(trade(ts, str(price), str(amount)))
        start = opening(ts, timeframe)
        if start >= newest:
            newest = start
            groups[start].append((price, amount))
        for row in bars.history():
            assert seen.setdefault(row.ts, row) == row
    forming = bars.forming
    everything = [*bars.history(), *([forming] if forming else [])]

    assert everything == [
        bar(
            start,
            o=str(group[0][0]),
            h=str(max(price for price, _ in group)),
            low=str(min(price for price, _ in group)),
            c=str(group[-1][0]),
            v=str(sum(amount for _, amount in group)),
        )
        for start, group in sorted(groups.items())
    ]


def test_the_last_day_is_folded_from_its_trades() -> None:
    fold = DayFold(SPOT)
    for second, price, amount in ((0, "10", "1"), (1, "12", "2"), (70, "9", "1"), (80, "11", "1")):
        fold.add(trade(second * SECOND, price, amount))
    day = fold.daily()

    assert (day.open, day.high, day.low, day.last) == ("10", "12", "9", "11")
    assert (day.volume, day.quote_volume) == ("5", "54")


def test_turnover_is_written_without_the_zeros_of_its_factors() -> None:
    """A recording writes prices and amounts with eight digits each."""
    fold = DayFold(SPOT)
    for second in (0, 70):
        fold.add(trade(second * SECOND, "10.50000000", "1.10000000"))
    day = fold.daily()

    assert (day.volume, day.quote_volume) == ("2.20000000", "23.1")


@pytest.mark.parametrize(
    ("market", "turnover"),
    [
        (replace(PERP, contract_size=Decimal("0.01")), "0.32"),
        (replace(PERP, contract_size=Decimal(100), settle="BTC"), "300"),
    ],
    ids=["linear", "inverse"],
)
def test_turnover_counts_contracts_with_their_size(market: Market, turnover: str) -> None:
    """It was that of so many coins, and an average price with it that nobody had paid."""
    fold = DayFold(market)
    fold.add(trade(0, "10", "2"))
    fold.add(trade(70 * SECOND, "12", "1"))

    assert (fold.daily().volume, fold.daily().quote_volume) == ("3", turnover)


def test_a_day_without_trades_knows_nothing() -> None:
    day = DayFold(SPOT).daily()

    assert (day.open, day.high, day.low, day.last, day.volume) == (None, None, None, None, "0")


def test_minutes_leave_the_day_as_a_whole_and_take_their_extremes_along() -> None:
    fold = DayFold(SPOT)
    fold.add(trade(0, "99", "7"))
    fold.add(trade(MINUTE, "10", "1"))
    fold.add(trade(HOUR, "12", "1"))
    fold.drop(DAY)

    assert (fold.daily().high, fold.daily().low, fold.daily().volume) == ("12", "10", "2")
    fold.drop(DAY + MINUTE)
    assert (fold.daily().low, fold.daily().open) == ("12", "12")
    fold.drop(3 * DAY)
    assert (fold.daily().high, fold.daily().volume) == (None, "0")


def test_an_unremarkable_minute_leaves_without_changing_the_extremes() -> None:
    fold = DayFold(SPOT)
    fold.add(trade(0, "11"))
    fold.add(trade(MINUTE, "10"))
    fold.add(trade(2 * MINUTE, "12"))
    fold.add(trade(DAY, "11"))

    assert (fold.daily().high, fold.daily().low, fold.daily().open) == ("12", "10", "10")
