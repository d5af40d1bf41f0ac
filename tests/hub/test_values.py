"""Class value, rate tiers, `ticker:*`, and what exists because somebody reads it."""

import pytest

from realtime.hub.hub import Hub, Since, Wanted
from realtime.model.errors import Code, Refused
from tests.hub.world import BTC, ETH, FakeWire, Json, Rig


TICKER = f"ticker:{BTC}"


def seqs(messages: list[Json]) -> list[tuple[str, int]]:
    return [(message["type"], message["seq"]) for message in messages]


def test_the_first_value_comes_as_a_snapshot_and_the_next_as_an_update() -> None:
    rig = Rig()
    wire, reader = rig.reader()
    (entry,) = rig.subscribe(reader, f"{TICKER}?rate=0")
    rig.flush()
    assert (entry["seq"], wire.take()) == (0, [])
    rig.hub.value(TICKER, {"last": "1"}, asof=5)
    rig.flush()
    rig.hub.value(TICKER, {"last": "2"}, asof=6)
    rig.flush()

    first, second = wire.take()

    assert first == {
        "type": "snapshot", "channel": f"{TICKER}?rate=0", "epoch": "b1", "seq": 1, "ts": rig.clock.ms,
        "asof": 5, "reason": "subscribe", "data": {"last": "1"},
    }  # fmt: skip
    assert second == {
        "type": "update", "channel": f"{TICKER}?rate=0", "seq": 2, "ts": rig.clock.ms, "asof": 6,
        "data": {"last": "2"},
    }  # fmt: skip


def test_the_last_value_of_a_burst_arrives_at_the_tick_and_nothing_before_it() -> None:
    rig = Rig()
    rig.hub.value(TICKER, {"n": 0})
    wire, _ = rig.reader(f"{TICKER}?rate=250")
    for n in range(1, 6):
        rig.hub.value(TICKER, {"n": n})
        rig.tick(100)
    assert wire.take() == []
    rig.tick(250)
    rig.tick(250)

    (message,) = wire.take()

    assert (message["data"], message["seq"]) == ({"n": 5}, 2)


def test_streams_of_all_rates_share_one_encoding() -> None:
    rig = Rig()
    rig.hub.value(TICKER, {"n": 0})
    wire, _ = rig.reader(TICKER, f"{TICKER}?rate=0", f"{TICKER}?rate=250", f"{TICKER}?rate=1000")
    before = rig.hub.counts.encodings
    rig.hub.value(TICKER, {"n": 1})
    rig.tick()

    assert rig.hub.counts.encodings - before == 1
    assert [m["data"] for m in wire.take()] == [{"n": 1}] * 4


def test_a_value_without_readers_is_never_made_nor_encoded() -> None:
    rig = Rig()
    calls = []

    def make() -> Json:
        calls.append(1)
        return {"n": len(calls)}

    for name in (TICKER, "risk"):
        rig.hub.value(name, make)
    rig.flush()
    assert (calls, rig.hub.counts.encodings) == ([], 0)
    wire, reader = rig.reader()
    rig.subscribe(reader, TICKER, "risk")
    rig.flush()

    assert [m["data"] for m in wire.take()] == [{"n": 1}, {"n": 2}]


def test_values_passed_over_are_counted_for_their_reader() -> None:
    rig = Rig()
    rig.hub.value("risk", {"n": 0})
    wire, reader = rig.reader("risk", batch=True, every=50)
    for n in range(1, 5):
        rig.hub.value("risk", {"n": n})
        rig.flush()
    assert wire.take(batch=True) == []
    rig.hub.due(50)
    rig.flush()

    (message,) = wire.take(batch=True)

    assert (message["seq"], message["data"]) == (5, {"n": 4})
    assert reader.skipped == 3
    late, reader_2 = rig.reader("risk", batch=True, every=50)
    assert reader_2.skipped == 0
    rig.hub.remove(reader)
    assert reader.skipped == 3
    assert late.take() == []


def test_a_snapshot_and_an_update_of_one_seq_say_the_same() -> None:
    rig = Rig()
    rig.hub.value(TICKER, {"n": 0})
    wire, reader = rig.reader(TICKER)
    rig.hub.value(TICKER, {"n": 1})
    rig.tick(100)
    rig.hub.value(TICKER, {"n": 2})
    rig.subscribe(reader, TICKER)
    rig.flush()

    update, snapshot = wire.take()

    assert (update["seq"], update["data"]) == (snapshot["seq"], snapshot["data"]) == (2, {"n": 1})


@pytest.mark.parametrize("lazy", [False, True])
def test_a_closed_bar_is_sent_at_once_and_the_forming_one_at_the_tick(*, lazy: bool) -> None:
    rig = Rig()
    name = f"ohlcv:{BTC}?timeframe=1m"

    def put(closed: int, close: str) -> None:
        data = {"symbol": BTC, "closed_through_ts": closed, "ohlcv": [close]}
        rig.hub.value(name, (lambda: data) if lazy else data)
        rig.flush()

    put(1, "a")
    wire, _ = rig.reader(f"ohlcv:{BTC}")
    put(1, "b")
    first = wire.take()
    put(2, "c")
    closed = wire.take()
    put(2, "d")
    rig.tick(250)
    forming = wire.take()

    # Nobody read before, so nobody had looked at the mark: the first change counts as a close.
    assert [m["data"]["ohlcv"] for m in first + closed + forming] == [["b"], ["c"], ["d"]]
    assert rig.demand == [(name, True)]


def test_a_value_resumes_with_the_newest_or_with_nothing() -> None:
    rig = Rig()
    rig.hub.value("risk", {"n": 1})
    wire, reader = rig.reader("risk")
    (same,) = rig.subscribe(reader, "risk", since=("b1", 1))
    rig.flush()
    assert (same["resumed"], wire.take()) == (True, [])
    rig.hub.value("risk", {"n": 2})
    rig.hub.value("risk", {"n": 3})
    (missed,) = rig.subscribe(reader, "risk", since=("b1", 1))
    rig.flush()
    assert (missed["resumed"], seqs(wire.take())) == (True, [("update", 3)])
    for since in (("b0", 3), ("b1", 4), ("b1", -1)):
        (entry,) = rig.subscribe(reader, "risk", since=since)
        rig.flush()

        (message,) = wire.take()
        assert (entry["resumed"], message["reason"]) == (False, "resume_failed")
        assert "lost" not in message


def test_who_never_had_a_value_does_not_resume_one_that_has_been_told() -> None:
    """Found from outside: `resumed` was true, and what came was a snapshot `subscribe`."""
    rig = Rig()
    wire, reader = rig.reader("risk")
    (untold,) = rig.subscribe(reader, "risk", since=("b1", 0))
    rig.hub.value("risk", {"n": 1})
    rig.flush()
    (first,) = wire.take()
    rig.hub.value("risk", {"n": 2})
    (told,) = rig.subscribe(reader, "risk", since=("b1", 0))
    rig.flush()
    (later,) = wire.take()

    assert (untold["resumed"], first["reason"], first["data"]) == (True, "subscribe", {"n": 1})
    assert (told["resumed"], later["reason"], later["data"]) == (False, "resume_failed", {"n": 2})


def test_a_subscription_without_snapshot_starts_from_now() -> None:
    rig = Rig()
    rig.hub.value("risk", {"n": 1})
    wire, reader = rig.reader()
    rig.subscribe(reader, "risk", snapshot=False)
    rig.flush()
    assert wire.take() == []
    rig.hub.value("risk", {"n": 2})
    rig.flush()

    assert seqs(wire.take()) == [("update", 2)]


# --- all symbols ----------------------------------------------------------------------------------


def test_all_symbols_come_under_their_own_names_also_one_that_is_listed_later() -> None:
    rig = Rig()
    rig.hub.value(TICKER, {"n": 1})
    rig.hub.value("risk", {"n": 1})
    wire, reader = rig.reader()
    (entry,) = rig.subscribe(reader, "ticker:*?rate=0")
    rig.flush()
    first = wire.take()
    rig.hub.value("ticker:NEW/USDT", {"n": 2})
    rig.hub.value(TICKER, {"n": 3})
    rig.flush()
    then = wire.take()

    assert entry == {
        "channel": "ticker:*?rate=0", "class": "value", "resumed": False, "stale": False,
    }  # fmt: skip
    assert [(m["channel"], m["reason"]) for m in first] == [(f"{TICKER}?rate=0", "subscribe")]
    assert {(m["channel"], m["type"]) for m in then} == {
        (f"{TICKER}?rate=0", "update"),
        ("ticker:NEW/USDT?rate=0", "snapshot"),
    }
    assert reader.subscriptions.keys() == {"ticker:*?rate=0"}


def test_a_symbol_listed_between_subscription_and_flush_comes_once() -> None:
    rig = Rig()
    wire, reader = rig.reader()
    rig.hub.value(TICKER, {"n": 1})
    rig.subscribe(reader, "ticker:*", "ticker:*")
    rig.flush()

    assert [m["channel"] for m in wire.take()] == [TICKER]


@pytest.mark.parametrize("seq", [1, 2])
@pytest.mark.parametrize("epoch", ["b1", "b0"])
def test_all_symbols_do_not_take_back_what_was_promised_to_one_by_its_name(
    epoch: str, seq: int
) -> None:
    """Its reply said `resumed:true`, and a snapshot came instead of what was missed."""
    rig = Rig()
    rig.hub.value(TICKER, {"n": 1})
    rig.reader(f"{TICKER}?rate=0")
    rig.hub.value(TICKER, {"n": 2})
    rig.hub.value(f"ticker:{ETH}", {"n": 1})
    rig.flush()
    wire, reader = rig.reader()
    one = Wanted(channel=rig.hub.channel(f"{TICKER}?rate=0"), since=Since(epoch=epoch, seq=seq))
    every = Wanted(channel=rig.hub.channel("ticker:*?rate=0"))
    named, _ = rig.hub.subscribe(reader, [one, every])
    if seq == 1:
        rig.hub.subscribe(reader, [every])  # nor does a later request
    rig.flush()
    got = [(m["channel"], m["type"], m.get("reason"), m["seq"]) for m in wire.take()]
    assert named["resumed"] is (epoch == "b1")

    other = (f"ticker:{ETH}?rate=0", "snapshot", "subscribe", 1)
    mine = f"{TICKER}?rate=0"
    if epoch == "b0":
        assert got == [(mine, "snapshot", "resume_failed", 2), other]
    else:
        assert got == [(mine, "update", None, 2), other][seq - 1 :]


def test_ending_one_of_two_subscriptions_leaves_what_the_other_covers() -> None:
    rig = Rig()
    for symbol in (BTC, ETH):
        rig.hub.value(f"ticker:{symbol}", {"n": 1})
    wire, reader = rig.reader("ticker:*", TICKER, f"{TICKER}?rate=0")
    assert rig.hub.unsubscribe(reader, [TICKER, "never", TICKER]) == [TICKER]
    rig.hub.value(TICKER, {"n": 2})
    rig.tick(100)
    assert {m["channel"] for m in wire.take()} == {TICKER, f"{TICKER}?rate=0"}
    rig.subscribe(reader, TICKER)
    rig.flush()
    wire.take()
    other, reader_2 = rig.reader("ticker:*")
    rig.hub.unsubscribe(reader, ["ticker:*"])
    assert (("ticker:*", False) in rig.demand) is False
    rig.hub.unsubscribe(reader_2, None)
    for symbol in (BTC, ETH):
        rig.hub.value(f"ticker:{symbol}", {"n": 3})
    rig.tick(100)

    assert {m["channel"] for m in wire.take()} == {TICKER, f"{TICKER}?rate=0"}
    assert other.take() == []
    assert [d for d in rig.demand if d[0] == "ticker:*"] == [
        ("ticker:*", True),
        ("ticker:*", False),
    ]


def test_two_rates_of_all_symbols_are_independent() -> None:
    rig = Rig()
    rig.hub.value(TICKER, {"n": 1})
    wire, reader = rig.reader("ticker:*", "ticker:*?rate=0")
    rig.hub.unsubscribe(reader, ["ticker:*"])
    rig.hub.value(TICKER, {"n": 2})
    rig.tick()

    assert [m["channel"] for m in wire.take()] == [f"{TICKER}?rate=0"]


def test_new_symbols_reach_readers_of_all_symbols_where_they_are() -> None:
    """To let twenty readers of 3,000 symbols join anew for each of them cost minutes."""
    rig = Rig(idle=2)
    names = [f"ticker:N{n}/USDT" for n in range(9)]
    rig.hub.symbols = {BTC, *[name.partition(":")[2] for name in names]}
    rig.hub.value(TICKER, {"n": 1})
    pairs = [rig.reader("ticker:*?rate=0", batch=every > 0, every=every) for every in (0, 0, 50)]
    # One who has named a symbol that is to come, one who reads nothing else, and one who is slow.
    named, _ = rig.reader("ticker:*?rate=0", f"{names[0]}?rate=0")
    other, _ = rig.reader(f"{TICKER}?rate=0")
    slow, _ = rig.reader("ticker:*?rate=0", f"{names[3]}?rate=0", "risk")
    slow.full = True
    rig.hub.value("risk", {"n": 1})
    rig.flush()
    slow.take()
    cohorts = [reader.cohort for _, reader in pairs]
    for name in names[:3]:
        rig.hub.value(name, {"n": 2})
        rig.flush()
        rig.hub.value(name, {"n": 3})
        rig.flush()
    for name in names[3:]:
        rig.hub.value(name, {"n": 4})
    rig.flush()
    assert pairs[2][0].take(batch=True) == []
    rig.hub.due(50)
    rig.flush()
    slow.full = False
    rig.hub.resume(slow)

    for wire, batch, whole in (
        (pairs[0][0], False, True), (pairs[1][0], False, True), (named, False, True),
        (pairs[2][0], True, False), (slow, False, False),
    ):  # fmt: skip
        got: dict[str, list[tuple[str, int]]] = {}
        for m in wire.take(batch=batch):
            got.setdefault(m["channel"], []).append((m["type"], m["data"]["n"]))
        both = [("snapshot", 2), ("update", 3)] if whole else [("snapshot", 3)]
        early = {f"{name}?rate=0": both for name in names[:3]}
        assert got == early | {f"{name}?rate=0": [("snapshot", 4)] for name in names[3:]}
    assert other.take() == []
    assert [reader.cohort for _, reader in pairs] == cohorts
    assert all(reader.skipped == 0 for _, reader in pairs)


def test_a_new_symbol_parts_who_wants_all_from_who_has_named_all_there_were() -> None:
    rig = Rig()
    rig.hub.value(TICKER, {"n": 1})
    (every, reader), (one, reader_2) = rig.reader("ticker:*"), rig.reader(TICKER)
    assert reader.cohort is reader_2.cohort
    rig.hub.value(f"ticker:{ETH}", {"n": 2})
    rig.flush()
    rig.hub.value(TICKER, {"n": 3})
    rig.tick()

    assert [m["channel"] for m in every.take()] == [f"ticker:{ETH}", TICKER]
    assert [m["channel"] for m in one.take()] == [TICKER]
    # Whoever asks for the other one too is where the first is.
    rig.subscribe(reader_2, f"ticker:{ETH}")
    rig.flush()
    assert reader.cohort is reader_2.cohort


def test_a_new_symbol_comes_to_two_who_wait_for_one_pace_at_two_positions() -> None:
    rig = Rig()
    rig.hub.value(TICKER, {"n": 1})
    first, reader = rig.reader("ticker:*", batch=True, every=50)
    rig.hub.value(TICKER, {"n": 2})
    rig.tick()
    second = FakeWire()
    reader_2 = rig.hub.attach(second, batch=True, every=50)
    rig.subscribe(reader_2, "ticker:*", snapshot=False)
    assert reader.cohort is not reader_2.cohort
    rig.hub.value(f"ticker:{ETH}", {"n": 3})
    rig.flush()
    rig.hub.due(50)
    rig.flush()

    new = (f"ticker:{ETH}", "snapshot")
    assert [(m["channel"], m["type"]) for m in first.take(batch=True)] == [(TICKER, "update"), new]
    assert [(m["channel"], m["type"]) for m in second.take(batch=True)] == [new]
    assert reader.cohort is reader_2.cohort is not None


@pytest.mark.parametrize("moved", [False, True])
def test_who_is_paced_hears_of_a_new_symbol_before_that_it_is_silent(*, moved: bool) -> None:
    rig = Rig()
    rig.hub.value(TICKER, {"n": 1})
    wire, reader = rig.reader("ticker:*", "orders", batch=True, every=1000)
    rig.hub.value(f"ticker:{ETH}", {"n": 2})
    rig.flush()
    rig.hub.set_stale(f"ticker:{ETH}", stale=True, cause="silent", venue="paper", asof=7)
    rig.hub.table("orders", rows=[{"id": "a"}])
    rig.flush()
    if moved:
        rig.hub.pace(reader, 50)
    rig.hub.value("ticker:NEW/USDT", {"n": 3})
    rig.flush()
    assert wire.take(batch=True) == []
    rig.hub.due(50 if moved else 1000)
    rig.flush()
    got = wire.take(batch=True)

    assert {m.get("channel") for m in got[:-1]} == {f"ticker:{ETH}", "orders", "ticker:NEW/USDT"}
    assert (got[-1]["event"], got[-1]["channels"]) == ("stale", [f"ticker:{ETH}"])


@pytest.mark.parametrize("back", [False, True])
def test_all_symbols_leave_alone_what_was_told_of_one_that_is_also_read_by_its_name(
    *, back: bool
) -> None:
    rig = Rig()
    rig.hub.value(TICKER, {"n": 1})
    wire, reader = rig.reader(TICKER)
    rig.hub.set_stale(TICKER, stale=True, cause="silent", venue="paper", asof=7)
    rig.flush()
    assert [m["data"]["stale"] for m in wire.take()] == [True]
    rig.subscribe(reader, "ticker:*")
    if back:
        rig.hub.set_stale(TICKER, stale=False, cause=None, venue="paper", asof=8)
    rig.flush()
    snapshot, *notices = wire.take()

    assert snapshot["type"] == "snapshot"
    assert [m["data"]["stale"] for m in notices] == [False] * back


# --- demand ---------------------------------------------------------------------------------------


def test_a_stream_lives_on_for_a_while_and_is_made_again_with_another_epoch() -> None:
    rig = Rig(linger=2)
    rig.hub.value(TICKER, {"n": 1})
    wire, reader = rig.reader(TICKER, f"{TICKER}?rate=250")
    first = rig.hub.position(TICKER)
    rig.hub.unsubscribe(reader, None)
    rig.hub.value(TICKER, {"n": 2})
    rig.tick(1000)
    rig.tick(1000)
    assert rig.hub.position(TICKER) == first
    rig.subscribe(reader, TICKER)
    rig.hub.unsubscribe(reader, None)
    for _ in range(3):
        rig.tick(1000)

    assert (rig.hub.position(TICKER), rig.demand) == (None, [(TICKER, True), (TICKER, False)])
    (entry,) = rig.subscribe(reader, TICKER, since=("b1", 1))
    rig.flush()
    (message,) = wire.take()
    assert entry["epoch"] != "b1"
    assert (message["reason"], message["data"]) == ("resume_failed", {"n": 2})
    assert rig.demand[-1] == (TICKER, True)


def test_names_that_nobody_reads_any_more_do_not_pile_up() -> None:
    """A client may make up `bot_id` after `bot_id`: what was read last is kept, the rest is dropped."""
    rig = Rig(idle=10)
    before = set(rig.hub.streams)
    for turn in range(5):
        _, reader = rig.reader(*[f"orders?bot_id=b{turn}-{n}" for n in range(20)])
        rig.hub.snapshot(rig.hub.channel(f"orders?bot_id=page-{turn}"))
        assert len(rig.hub.streams) <= len(before) + 20 + 10
        rig.hub.unsubscribe(reader, None)
        rig.hub.remove(reader)

    kept = set(rig.hub.streams) - before
    assert kept == {f"orders?bot_id=b4-{n}" for n in range(10, 20)}


def test_a_market_stream_that_gives_way_ends_the_demand_for_its_feed_only_if_it_was_the_last() -> (
    None
):
    rig = Rig(idle=1)
    rig.hub.value(TICKER, {"n": 1})
    _, reader = rig.reader(TICKER, f"{TICKER}?rate=250")
    rig.hub.unsubscribe(reader, None)
    assert rig.demand == [(TICKER, True)]

    rig.hub.snapshot(rig.hub.channel("orders?bot_id=x"))

    assert rig.demand == [(TICKER, True), (TICKER, False)]


def test_account_channels_exist_without_readers_and_count() -> None:
    rig = Rig()
    rig.hub.value("risk", {"n": 1})
    rig.hub.table("orders", rows=[{"id": "a"}])
    for _ in range(40):
        rig.tick(1000)

    assert rig.hub.position("risk") == {"epoch": "b1", "seq": 1}
    assert rig.hub.position("orders") == {"epoch": "b1", "seq": 1}
    assert rig.hub.position("fills") == {"epoch": "j1", "seq": 0}
    assert "orders" in rig.hub.streams
    assert rig.woken == 0


def test_a_snapshot_over_http_is_a_position_to_resume_from() -> None:
    rig = Rig(linger=0)
    with pytest.raises(Refused) as unknown:
        rig.hub.snapshot(rig.hub.channel(TICKER))
    rig.hub.value(TICKER, {"n": 1})
    rig.tick(100)
    body = rig.hub.snapshot(rig.hub.channel(TICKER))
    _, reader = rig.reader()
    (entry,) = rig.subscribe(reader, TICKER, since=("b1", 1))
    with pytest.raises(Refused) as star:
        rig.hub.snapshot(rig.hub.channel("ticker:*"))

    assert (unknown.value.code, unknown.value.retry_after) == (Code.VENUE_UNAVAILABLE, 1)
    assert star.value.code is Code.INVALID
    assert b'"reason":"subscribe","data":{"n":1}}' in body
    assert entry["resumed"]


def test_a_hub_works_before_anybody_has_wired_it() -> None:
    hub = Hub(boot="b", journal="j", now=lambda: 1)
    hub.symbols = {BTC}
    hub.value(TICKER, {"n": 1})
    hub.snapshot(hub.channel(TICKER))
    hub.wake()
    woken: list[int] = []
    hub.wake = lambda: woken.append(1)

    assert hub.streams
    assert list(hub.flush()) == []


def test_publishing_under_the_wrong_class_is_a_mistake_of_ours() -> None:
    with pytest.raises(AssertionError, match="orders is a table"):
        Rig().hub.value("orders", {})
