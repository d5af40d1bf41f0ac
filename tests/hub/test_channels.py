"""Channel names: the canonical form, what is rounded, and what is refused with a hint."""

from decimal import Decimal

import pytest
from hypothesis import given, settings, strategies as st

from realtime.engine.studies import canonical
from realtime.hub.channels import TOPICS, Channel, Kind, parse
from realtime.model.errors import Code, Refused


PERP = "BTC/USDT:USDT"
SYMBOLS = {"BTC/USDT", PERP}
IDS = {"bot_id": {"b1"}, "backtest_id": {"bt1"}}


def read(name: str) -> Channel:
    groups = {"BTC/USDT": ("0.1", "10.0")}
    return parse(
        name,
        SYMBOLS,
        groups=lambda s: groups.get(s, ()),
        studies=canonical,
        venues={"kraken"},
        ids=IDS,
    )


@pytest.mark.parametrize(
    ("written", "name", "base"),
    [
        ("ticker:BTC/USDT", "ticker:BTC/USDT", "ticker:BTC/USDT"),
        ("ticker:BTC/USDT?rate=100", "ticker:BTC/USDT", "ticker:BTC/USDT"),
        ("ticker:BTC/USDT?rate=101", "ticker:BTC/USDT?rate=250", "ticker:BTC/USDT"),
        ("ticker:BTC/USDT?rate=0", "ticker:BTC/USDT?rate=0", "ticker:BTC/USDT"),
        ("ticker:*?rate=1000", "ticker:*?rate=1000", "ticker:*"),
        (f"ticker:{PERP}", f"ticker:{PERP}", f"ticker:{PERP}"),
        ("ticker:BTC/USDT@kraken", "ticker:BTC/USDT@kraken", "ticker:BTC/USDT@kraken"),
        ("orders@kraken", "orders@kraken", "orders@kraken"),
        ("orderbook:BTC/USDT", "orderbook:BTC/USDT?depth=25&rate=100", "orderbook:BTC/USDT"),
        (
            "orderbook:BTC/USDT?rate=80&depth=1",
            "orderbook:BTC/USDT?depth=5&rate=100",
            "orderbook:BTC/USDT",
        ),
        (
            "orderbook:BTC/USDT?group=10&depth=26",
            "orderbook:BTC/USDT?depth=100&group=10.0&rate=100",
            "orderbook:BTC/USDT",
        ),
        ("trades:BTC/USDT", "trades:BTC/USDT", "trades:BTC/USDT"),
        ("ohlcv:BTC/USDT", "ohlcv:BTC/USDT?timeframe=1m", "ohlcv:BTC/USDT?timeframe=1m"),
        (
            "ohlcv:BTC/USDT?timeframe=4h",
            "ohlcv:BTC/USDT?timeframe=4h",
            "ohlcv:BTC/USDT?timeframe=4h",
        ),
        ("orders", "orders", "orders"),
        (f"orders?symbol={PERP}&bot_id=b.1", f"orders?bot_id=b.1&symbol={PERP}", "orders"),
        ("fills?symbol=BTC/USDT", "fills?symbol=BTC/USDT", "fills"),
        ("events?type=halt", "events?type=halt", "events"),
        ("alerts?level=info", "alerts", "alerts"),
        ("alerts?level=error", "alerts?level=error", "alerts"),
        ("logs?level=debug&component=hub", "logs?component=hub&level=debug", "logs"),
    ],
)
def test_a_name_has_one_canonical_form(written: str, name: str, base: str) -> None:
    channel = read(written)

    assert (channel.name, channel.base) == (name, base)
    assert read(channel.name) == channel


@pytest.mark.parametrize(
    ("written", "code", "says"),
    [
        ("", Code.UNKNOWN_CHANNEL, "no topic ''"),
        ("nope:X", Code.UNKNOWN_CHANNEL, 'try {"op":"help","about":"channels"}'),
        ("tickr:BTC/USDT", Code.UNKNOWN_CHANNEL, "did you mean 'ticker'?"),
        ("ticker:DOGE/USDT", Code.UNKNOWN_CHANNEL, "no market 'DOGE/USDT'"),
        ("trades:*", Code.UNKNOWN_CHANNEL, "no market '*'"),
        ("bot:nope", Code.UNKNOWN_CHANNEL, "no bot 'nope'"),
        ("ticker:BTC/USDT@other", Code.UNKNOWN_CHANNEL, "no venue 'other'"),
        ("ticker", Code.INVALID, "needs a symbol, e.g. 'ticker:BTC/USDT'"),
        ("ticker:", Code.INVALID, "needs a symbol"),
        ("orders:BTC/USDT", Code.INVALID, "takes nothing behind ':'"),
        ("orders:", Code.INVALID, "takes nothing behind ':'"),
        ("orders?", Code.INVALID, "channel: an option without a name in '?'"),
        ("orders?=1", Code.INVALID, "channel: an option without a name in '?=1'"),
        ("indicators:BTC/USDT?", Code.INVALID, "channel: an option without a name in '?'"),
        ("risk?a=1", Code.INVALID, "it has none"),
        ("orders?symbl=BTC/USDT", Code.INVALID, "did you mean 'symbol'?"),
        ("orders?symbol", Code.INVALID, "needs a value"),
        ("orders?symbol=", Code.INVALID, "needs a value"),
        ("orders?symbol=BTC/USDT&symbol=BTC/USDT", Code.INVALID, "given twice"),
        ("orders?symbol=DOGE", Code.INVALID, "no market 'DOGE'"),
        ("orders?bot_id=a%20b", Code.INVALID, "characters of"),
        ("ticker:BTC/USDT?rate=1001", Code.INVALID, "above the largest offered, 1000 ms"),
        ("ticker:BTC/USDT?rate=-1", Code.INVALID, "not a number of ms"),
        ("ticker:BTC/USDT?rate=٣", Code.INVALID, "not a number of ms"),
        ("orderbook:BTC/USDT?depth=0", Code.INVALID, "not a number of levels"),
        ("orderbook:BTC/USDT?depth=101", Code.INVALID, "above the largest offered, 100 levels"),
        ("orderbook:BTC/USDT?group=5", Code.INVALID, "not one of the steps offered: 0.1, 10.0"),
        (f"orderbook:{PERP}?group=1e1", Code.INVALID, "not one of the steps offered: none"),
        ("ohlcv:BTC/USDT?timeframe=7m", Code.INVALID, "not one of 1m, 5m"),
        ("logs?level=loud", Code.INVALID, "not one of debug, info"),
        ("x" * 201, Code.INVALID, "longer than 200 characters"),
    ],
)
def test_a_wrong_name_is_refused_with_a_hint(written: str, code: Code, says: str) -> None:
    with pytest.raises(Refused) as refused:
        read(written)

    assert refused.value.code is code
    assert says in refused.value.message


def test_a_price_step_is_refused_where_none_is_offered() -> None:
    with pytest.raises(Refused, match="steps offered: none"):
        parse("orderbook:BTC/USDT?group=10", SYMBOLS)


def test_a_channel_knows_its_class_key_scope_and_figures() -> None:
    book = read("orderbook:BTC/USDT?group=10.0&depth=5&rate=0")
    fills = read("fills")
    logs = read("logs")

    assert (book.kind, book.row_key, book.depth, book.rate) == (Kind.TABLE, "price", 5, 0)
    assert (book.group, book.key, book.venue) == (Decimal(10), "BTC/USDT", None)
    assert (fills.kind, fills.row_key, fills.journaled, fills.group) == (Kind.LOG, None, True, None)
    assert (logs.scope, fills.scope, logs.rate, logs.star) == ("admin", "read", 100, False)
    assert read("ticker:*").star
    assert read("ticker:BTC/USDT@kraken").venue == "kraken"


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("indicators:BTC/USDT", "indicators:BTC/USDT?name=ema&timeframe=1m"),
        (
            "indicators:BTC/USDT?name=rsi&length=014&timeframe=5m",
            "indicators:BTC/USDT?name=rsi&timeframe=5m",
        ),
        (
            "indicators:BTC/USDT?timeframe=1h&slow=30&name=macd&fast=12",
            "indicators:BTC/USDT?name=macd&slow=30&timeframe=1h",
        ),
    ],
)
def test_equal_indicators_have_one_name_and_one_source(written: str, name: str) -> None:
    channel = read(written)

    assert (channel.name, channel.base) == (name, name)


@pytest.mark.parametrize(
    ("written", "field"),
    [
        ("indicators:BTC/USDT?name=emma", "name"),
        ("indicators:BTC/USDT?name=rsi&fast=3", "fast"),
        ("indicators:BTC/USDT?name=rsi&length=0", "length"),
        ("indicators:BTC/USDT?name=rsi&length=", "length"),
        ("indicators:BTC/USDT?name=rsi&length=3&length=3", "length"),
        ("indicators:BTC/USDT?name=rsi&timeframe=7m", "timeframe"),
        ("indicators:BTC/USDT?name=macd&fast=40", "fast"),
    ],
)
def test_a_wrong_parameter_of_an_indicator_is_named(written: str, field: str) -> None:
    with pytest.raises(Refused) as caught:
        read(written)

    assert caught.value.code is Code.INVALID
    assert caught.value.details == {
        "fields": [{"field": field, "message": caught.value.message.partition(": ")[2]}]
    }


def test_without_a_table_there_are_no_indicators() -> None:
    with pytest.raises(Refused) as caught:
        parse("indicators:BTC/USDT?name=ema", SYMBOLS)

    assert caught.value.code is Code.INVALID


def test_every_example_of_the_table_is_a_name() -> None:
    assert {read(topic.example).topic for topic in TOPICS.values()} == set(TOPICS)


@given(st.text(alphabet="tickerodbsalgv:*?&=@/BTCUSD0159_.-", max_size=60) | st.text(max_size=40))
@settings(max_examples=300, deadline=None)
def test_any_text_is_a_canonical_name_or_refused(text: str) -> None:
    code = None
    try:
        channel = read(text)
    except Refused as refused:
        code = refused.code
    else:
        assert read(channel.name) == channel

    assert code in {None, Code.INVALID, Code.UNKNOWN_CHANNEL}
