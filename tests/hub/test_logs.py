"""Class log: batches, history, byte cap, `lost`; and journaled logs across restarts."""

from collections.abc import Callable
from typing import Any

import pytest

from realtime.hub.hub import Reader, Since, Wanted
from realtime.hub.stream import Filter, Tags, Written
from tests.hub.world import BTC, ETH, FakeWire, Json, Rig


TRADES = f"trades:{BTC}"


def ids(message: Json) -> list[str]:
    return [entry["id"] for entry in message["data"]]


def fill(n: int, symbol: str = BTC) -> Json:
    return {"id": f"t-{n}", "symbol": symbol}


# --- public ---------------------------------------------------------------------------------------


def test_entries_of_one_tick_are_one_message_and_one_seq() -> None:
    rig = Rig()
    wire, _ = rig.reader(TRADES)
    for n in range(3):
        rig.hub.append(TRADES, fill(n), asof=n)
    assert wire.take() == []
    rig.tick(50)
    rig.hub.append(TRADES, fill(3))
    rig.tick(50)

    first, second = wire.take()

    assert (first["seq"], ids(first), first["asof"]) == (1, ["t-0", "t-1", "t-2"], 2)
    assert (second["seq"], ids(second), second["asof"]) == (2, ["t-3"], 2)


def test_a_tick_of_very_many_entries_is_told_in_messages_that_a_client_takes() -> None:
    rig = Rig()
    wire, _ = rig.reader(TRADES)
    for n in range(1_500):
        rig.hub.append(TRADES, fill(n) | {"note": "x" * 900})
    rig.tick(50)
    assert max(map(len, wire.blobs)) < 1_048_576

    got = wire.take()

    assert [message["seq"] for message in got] == list(range(1, len(got) + 1))
    assert [name for message in got for name in ids(message)] == [f"t-{n}" for n in range(1_500)]
    late, reader = rig.reader()
    rig.subscribe(reader, TRADES)
    rig.flush()
    (snapshot,) = late.take()
    assert (snapshot["seq"], ids(snapshot)) == (len(got), [f"t-{n}" for n in range(1_450, 1_500)])


def test_the_snapshot_has_the_newest_entries_up_to_its_seq() -> None:
    rig = Rig()
    for n in range(60):
        rig.hub.append(TRADES, fill(n))
    assert rig.hub.counts.encodings == 0
    wire, reader = rig.reader()
    rig.subscribe(reader, TRADES)
    rig.flush()
    rig.hub.append(TRADES, fill(60))
    rig.subscribe(reader, TRADES)
    rig.flush()
    rig.tick(50)

    first, again, update = wire.take()

    assert (first["seq"], ids(first)) == (0, [f"t-{n}" for n in range(10, 60)])
    assert (again["seq"], ids(again)) == (0, ids(first))
    assert (update["seq"], ids(update)) == (1, ["t-60"])


def test_an_entry_may_be_made_when_it_is_read() -> None:
    rig = Rig()
    made: list[int] = []

    def later(n: int, **fields: str) -> Callable[[], Json]:
        def make() -> Json:
            made.append(n)
            return fill(n) | fields

        return make

    rig.hub.append(TRADES, later(1))
    assert made == []
    first, reader = rig.reader()
    rig.subscribe(reader, TRADES)
    rig.flush()
    second, reader = rig.reader()
    rig.subscribe(reader, TRADES)
    rig.flush()
    assert [ids(message) for wire in (first, second) for message in wire.take()] == [["t-1"]] * 2
    assert made == [1]

    # Filters look into an entry, and the journal keeps it: both make it at once.
    rig.hub.append("logs", later(2, level="debug", component="hub"))
    rig.hub.append("fills", later(3))
    assert made == [1, 2, 3]


def test_lines_are_chosen_by_level_and_component() -> None:
    rig = Rig()

    def log(n: int, level: str, component: str = "hub") -> None:
        rig.hub.append("logs", {"id": str(n), "level": level, "component": component})

    log(1, "debug")
    log(2, "error", "desk")
    wire, reader = rig.reader()
    rig.subscribe(reader, "logs", "logs?level=debug", "logs?component=desk", "logs?level=error")
    rig.flush()
    snapshots = {m["channel"]: ids(m) for m in wire.take()}
    log(3, "info")
    log(4, "debug", "desk")
    rig.tick(100)
    updates = {m["channel"]: ids(m) for m in wire.take()}

    assert snapshots == {
        "logs": ["2"],
        "logs?level=debug": ["1", "2"],
        "logs?component=desk": ["2"],
        "logs?level=error": ["2"],
    }
    assert updates == {"logs": ["3"], "logs?level=debug": ["3", "4"]}


def test_all_public_logs_together_stay_below_their_cap() -> None:
    rig = Rig(log_bytes=2000, log=50, linger=0)
    wire, reader = rig.reader(TRADES, f"trades:{ETH}")
    for n in range(100):
        for symbol in (BTC, ETH):
            rig.hub.append(f"trades:{symbol}", fill(n, symbol))
        rig.tick(50)
        assert rig.hub.log_bytes <= 2000
    wire.take()
    assert rig.hub.log_bytes > 1000
    (failed,) = rig.subscribe(reader, TRADES, since=("b1", 60))
    rig.flush()
    (message,) = wire.take()

    assert failed["resumed"] is False
    assert (message["reason"], message["lost"]) == ("resume_failed", 40)
    rig.hub.remove(reader)
    rig.tick(1000)
    assert rig.hub.log_bytes == 0


def test_a_ring_by_count_gives_its_bytes_back() -> None:
    rig = Rig(log=2)
    rig.reader(TRADES)
    sizes = []
    for n in range(5):
        rig.hub.append(TRADES, fill(n))
        rig.tick(50)
        sizes.append(rig.hub.log_bytes)

    assert sizes[1:] == [sizes[1]] * 4


def test_what_a_snapshot_does_not_make_up_for_is_counted_as_lost() -> None:
    rig = Rig(log=2)
    wire, reader = rig.reader(TRADES)
    wire.full = True

    def publish(n: int) -> None:
        rig.hub.append(TRADES, fill(n))
        rig.tick(50)

    for n in range(6):
        publish(n)
    assert [m["seq"] for m in wire.take()] == [1]
    wire.full = False
    rig.hub.resume(wire)
    (lag,) = wire.take()
    (entry,) = rig.subscribe(reader, TRADES)
    publish(6)
    rig.flush()

    (late,) = wire.take()

    assert (lag["reason"], lag["seq"], lag["lost"]) == ("lag", 6, 5)
    assert list(lag)[4:8] == ["ts", "reason", "lost", "data"]
    assert (entry["seq"], late["seq"], late["reason"], late["lost"]) == (6, 7, "subscribe", 1)


# --- journaled ------------------------------------------------------------------------------------


def test_every_journaled_entry_is_one_message_and_counted_for_ever() -> None:
    rig = Rig()
    rig.hub.seed("fills", 811, [(811, 5, fill(811))])
    wire, reader = rig.reader()
    (entry,) = rig.subscribe(reader, "fills")
    rig.flush()
    rig.hub.append("fills", fill(812), asof=3)
    rig.hub.append("fills", fill(813))
    rig.flush()

    snapshot, first, second = wire.take()

    assert (entry["epoch"], entry["seq"]) == ("j1", 811)
    assert (snapshot["seq"], ids(snapshot)) == (811, ["t-811"])
    assert (first["seq"], ids(first), first["asof"]) == (812, ["t-812"], 3)
    assert (second["seq"], ids(second)) == (813, ["t-813"])
    assert "asof" not in second


def test_a_journaled_log_resumes_across_a_restart_with_the_same_bytes() -> None:
    first = Rig()
    wire, _ = first.reader("fills", f"fills?symbol={BTC}")
    for n in range(1, 6):
        first.hub.append("fills", fill(n, BTC if n % 2 else ETH))
    first.flush()
    before = wire.blobs[0]
    second = Rig(boot="b2", journaled=3)
    old = [(n, first.clock.ms, fill(n, BTC if n % 2 else ETH)) for n in range(1, 6)]
    second.hub.count_filtered("fills", [entry for _, _, entry in old[:2]])
    second.hub.seed("fills", 5, old[2:])
    again, reader = second.reader()
    entries = second.subscribe(reader, "fills", since=("j1", 2))
    entries += second.subscribe(reader, f"fills?symbol={BTC}", since=("j1", 1))
    second.flush()

    assert [(e["resumed"], e["seq"]) for e in entries] == [(True, 5), (True, 3)]
    assert [(m["channel"], m["seq"], ids(m)) for m in again.take()] == [
        ("fills", 3, ["t-3"]),
        ("fills", 4, ["t-4"]),
        ("fills", 5, ["t-5"]),
        (f"fills?symbol={BTC}", 2, ["t-3"]),
        (f"fills?symbol={BTC}", 3, ["t-5"]),
    ]
    second.subscribe(reader, "fills", since=("j1", 4))
    second.flush()
    assert again.blobs[0] in before


def test_fills_out_of_the_journal_have_the_asof_they_were_published_with() -> None:
    def at(n: int, ts: int) -> Json:
        return fill(n) | {"ts": ts}

    first = Rig()
    wire, _ = first.reader("fills")
    # The third was found late.
    fills = [at(n, ts) for n, ts in ((1, 10), (2, 30), (3, 20), (4, 40), (5, 35))]
    for entry in fills:
        first.hub.append("fills", entry, asof=int(str(entry["ts"])))
    first.flush()
    live = wire.take()
    second = Rig(boot="b2", journaled=2, older=3)
    old = [(n, first.clock.ms, entry) for n, entry in enumerate(fills, 1)]
    second.hub.count_filtered("fills", fills[:3])
    second.hub.seed("fills", 5, old[3:])
    again, reader = second.reader()
    since = Since(epoch="j1", seq=1)
    wanted = [Wanted(channel=second.hub.channel("fills"), since=since)]
    second.hub.subscribe(reader, wanted, older={"fills": old[1:3]})
    second.flush()
    updates = again.take()
    (entry,) = second.subscribe(reader, "fills")
    second.flush()

    assert updates == live[1:]
    assert [message["asof"] for message in updates] == [30, 20, 40, 35]
    assert entry["asof"] == 40, "the newest time that the content reflects"
    assert [message["asof"] for message in again.take()] == [40]


def test_a_filtered_log_that_was_dropped_keeps_its_epoch_and_its_count() -> None:
    rig = Rig(linger=0)
    name = f"fills?symbol={BTC}"
    wire, reader = rig.reader(name)
    rig.hub.append("fills", fill(1))
    rig.flush()
    wire.take()
    rig.hub.unsubscribe(reader, None)
    rig.tick(1000)
    assert rig.hub.position(name) is None
    rig.hub.append("fills", fill(2, ETH))
    rig.hub.append("fills", fill(3))
    (entry,) = rig.subscribe(reader, name, since=("j1", 1))
    rig.flush()

    (message,) = wire.take()

    assert (entry["resumed"], entry["seq"]) == (True, 2)
    assert (message["seq"], ids(message)) == (2, ["t-3"])


def test_the_snapshot_of_a_log_with_long_entries_has_as_many_as_a_message_takes() -> None:
    """Found by a drive: twelve updates of a calendar of blackouts made `events` a snapshot of 1.2 MB."""
    rig = Rig()
    for n in range(1, 21):
        rig.hub.append("events", {"id": f"t-{n}", "text": "x" * 100_000})
    wire, reader = rig.reader()
    rig.subscribe(reader, "events")
    rig.flush()

    (blob,) = wire.blobs
    (message,) = wire.take()

    assert len(blob) < 1_048_576
    assert ids(message) == [f"t-{n}" for n in range(14, 21)]
    assert message["seq"] == 20


def test_a_filtered_log_does_not_ask_every_entry_whether_it_belongs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Found by a drive: one frame with 256 names that are nobody's stopped the whole server for seconds."""
    rig = Rig()
    for n in range(500):
        rig.hub.append("fills", fill(n, ETH if n else BTC))
    asked = 0
    belongs = Filter.__call__

    def count(self: Filter, tags: Tags) -> bool:
        nonlocal asked
        asked += 1
        return belongs(self, tags)

    monkeypatch.setattr(Filter, "__call__", count)
    wire, reader = rig.reader()
    rig.subscribe(reader, f"fills?symbol={BTC}")
    rig.flush()

    assert [ids(message) for message in wire.take()] == [["t-0"]]
    assert asked == 2


def test_what_only_the_journal_holds_is_named_and_sent_before_the_ring() -> None:
    rig = Rig(journaled=2, older=3)
    for n in range(1, 9):
        rig.hub.append("fills", fill(n))
    channel = rig.hub.channel("fills")

    def missing(seq: int, epoch: str = "j1") -> tuple[int, int] | None:
        return rig.hub.missing(channel, Since(epoch=epoch, seq=seq))

    assert [missing(1), missing(4), missing(6), missing(9)] == [(2, 4), (5, 6), None, None]
    assert missing(1, "j0") is None
    assert rig.hub.missing(rig.hub.channel("orders"), Since(epoch="b1", seq=0)) is None
    wire, reader = rig.reader()
    older = [(n, 9, fill(n)) for n in range(2, 7)]
    since = Since(epoch="j1", seq=1)
    wanted = [Wanted(channel=channel, since=since)]
    (entry,) = rig.hub.subscribe(reader, wanted, older={"fills": older})
    rig.flush()
    got = wire.take()
    assert entry["resumed"] is True
    assert [(m["seq"], ids(m)) for m in got] == [(n, [f"t-{n}"]) for n in range(2, 9)]
    assert reader.cohort is not None
    for gap in ([], older[1:], [*older[:2], *older[3:]]):
        (entry,) = rig.hub.subscribe(reader, wanted, older={"fills": gap})
        rig.flush()

        (message,) = wire.take()
        assert entry["resumed"] is False
        assert (message["reason"], message["lost"]) == ("resume_failed", 7)


def test_entries_of_the_journal_go_on_where_a_full_wire_stopped_them() -> None:
    rig = Rig(journaled=2, piece=150)
    for n in range(1, 9):
        rig.hub.append("fills", fill(n))
    wire, reader = rig.reader()
    wanted = [Wanted(channel=rig.hub.channel("fills"), since=Since(epoch="j1", seq=1))]
    rig.hub.subscribe(reader, wanted, older={"fills": [(n, 9, fill(n)) for n in range(2, 7)]})
    wire.full = True
    rig.flush()
    first = [m["seq"] for m in wire.take()]
    wire.full = False
    rig.hub.resume(wire)

    assert first == [2]
    assert [m["seq"] for m in wire.take()] == [3, 4, 5, 6, 7, 8]


def test_whoever_fetched_too_little_gets_it_and_is_closed_to_come_back_for_the_rest() -> None:
    rig = Rig(journaled=2)
    for n in range(1, 9):
        rig.hub.append("fills", fill(n))
    wire, reader = rig.reader()
    wanted = [Wanted(channel=rig.hub.channel("fills"), since=Since(epoch="j1", seq=1))]
    rig.hub.subscribe(reader, wanted, older={"fills": [(n, 9, fill(n)) for n in (2, 3)]})
    rig.flush()

    assert [m["seq"] for m in wire.take()] == [2, 3]
    assert wire.closed == (4508, "slow_consumer")
    assert reader.closed
    assert list(rig.hub.readers) == []


class Journal:
    """Answers what a reader is fetched when it is told to.

    Attributes:
        asked: First and last seq of each question, as they came.
    """

    def __init__(self, rig: Rig, reader: Reader) -> None:
        self.asked: list[tuple[int, int]] = []
        self._rig = rig
        self._reader = reader
        reader.fetch = lambda _channel, first, last: self.asked.append((first, last))

    def resume(self, since: int, *names: str) -> None:
        """Subscribe as a client that is far behind."""
        at = Since(epoch="j1", seq=since)
        channels = [self._rig.hub.channel(name) for name in ("fills", *names)]
        wanted = [Wanted(channel=c, since=at if c.name == "fills" else None) for c in channels]
        first = since + 1
        self._rig.hub.subscribe(self._reader, wanted, older={"fills": [(first, 9, fill(first))]})
        self._rig.flush()

    def bring(self, *, lost: bool = False) -> None:
        """Answer the last question."""
        first, last = self.asked[-1]
        page = [] if lost else [(n, 9, fill(n)) for n in range(first, last + 1)]
        self._rig.hub.bring(self._reader, page)
        self._rig.flush()


def far_behind(piece: int = 65_536) -> tuple[Rig, FakeWire, Reader, Journal]:
    """A reader of a log with twelve entries, of which the ring has two."""
    rig = Rig(journaled=2, older=3, piece=piece)
    for n in range(1, 13):
        rig.hub.append("fills", fill(n))
    wire, reader = rig.reader()
    return rig, wire, reader, Journal(rig, reader)


def test_a_log_is_fetched_from_the_journal_a_page_at_a_time_as_the_reader_takes_it() -> None:
    """Found by a sum: a client that came back after a day cost 32,000 entries of 1.7 kB, whether it read them or not."""
    rig, wire, reader, journal = far_behind(piece=150)
    journal.resume(1)
    assert [m["seq"] for m in wire.take()] == [2]
    wire.full = True
    journal.bring()
    assert [m["seq"] for m in wire.take()] == [3]
    for _ in range(3):
        rig.flush()
    rig.hub.append("fills", fill(13))
    assert journal.asked == [(3, 5)], "nobody reads the next page yet"
    assert len(reader.older[next(iter(reader.older))]) == 2
    wire.full = False
    rig.hub.resume(wire)
    journal.bring()
    journal.bring()

    assert journal.asked == [(3, 5), (6, 8), (9, 11)]
    assert [(m["seq"], ids(m)) for m in wire.take()] == [(n, [f"t-{n}"]) for n in range(4, 14)]
    assert reader.cohort is not None
    assert not reader.older


@pytest.mark.parametrize("every", [0, 50])
def test_whoever_waits_for_the_journal_hears_of_all_else_at_once(every: int) -> None:
    rig = Rig(journaled=2, older=3)
    for n in range(1, 13):
        rig.hub.append("fills", fill(n))
    wire, reader = rig.reader(batch=True, every=every)
    journal = Journal(rig, reader)

    def come() -> list[Any]:
        rig.hub.due(every)
        rig.flush()
        return [m.get("reason", m["type"]) for m in wire.take(batch=True)]

    journal.resume(1)
    if every:
        assert come() == ["update"]
    else:
        assert [m["seq"] for m in wire.take(batch=True)] == [2]
    rig.subscribe(reader, "orders")
    assert come() == ["subscribe"]
    rig.hub.table("orders", rows=[{"id": "a"}])
    assert come() == ["update"]
    rig.hub.set_stale("orders", True, cause="silent", venue="paper", asof=1)
    assert come() == ["notice"]
    assert come() == []
    assert journal.asked == [(3, 5)]


def test_a_page_that_the_journal_has_lost_closes_and_one_that_nobody_waits_for_is_left() -> None:
    rig, wire, reader, journal = far_behind()
    journal.resume(1)
    journal.resume(7)  # anew, before the answer
    assert journal.asked == [(3, 5)]
    journal.bring()
    assert journal.asked == [(3, 5), (9, 10)]
    rig.hub.unsubscribe(reader, None)
    journal.bring()
    assert [m["seq"] for m in wire.take()] == [2, 8]
    assert not reader.closed

    rig, wire, reader, journal = far_behind()
    journal.resume(1)
    journal.bring(lost=True)
    assert wire.closed == (4508, "slow_consumer")
    assert reader.closed

    rig, wire, reader, journal = far_behind()
    journal.resume(1)
    rig.hub.remove(reader)
    journal.bring()
    assert [m["seq"] for m in wire.take()] == [2]


def test_a_journaled_log_beyond_the_ring_closes_a_slow_reader_and_a_paced_one() -> None:
    rig = Rig(journaled=2)
    slow, _ = rig.reader("fills")
    paced, _ = rig.reader("fills", batch=True, every=1000)
    slow.full = True
    for n in range(4):
        rig.hub.append("fills", fill(n))
        rig.flush()
    slow.full = False
    rig.hub.resume(slow)
    rig.hub.due(1000)
    rig.flush()

    assert (slow.closed, paced.closed) == ((4508, "slow_consumer"),) * 2
    assert ([m["seq"] for m in slow.take()], paced.take()) == ([1], [])


def test_the_snapshot_of_alerts_has_those_that_nobody_acknowledged() -> None:
    rig = Rig()

    def alert(key: str, level: str, acked_by: str | None = None) -> Json:
        return {"id": key, "level": level, "acked_by": acked_by}

    rig.hub.seed("alerts", 1, [(1, 1, alert("a", "warning"))])
    rig.hub.append("alerts", alert("b", "error"))
    rig.hub.append("alerts", alert("c", "critical"))
    rig.hub.append("alerts", alert("b", "error", "alice"))
    rig.hub.append("alerts", alert("d", "strange"))
    wire, reader = rig.reader()
    rig.subscribe(reader, "alerts", "alerts?level=error", "alerts?level=critical")
    rig.flush()

    assert [(m["seq"], ids(m)) for m in wire.take()] == [
        (5, ["a", "c", "d"]),
        (3, ["c"]),
        (1, ["c"]),
    ]


def test_open_alerts_are_no_longer_than_a_message_may_be() -> None:
    """Found by an audit: an alarm that names 50 orders each ten seconds made a snapshot of 2 MB within three hours."""
    rig = Rig()
    for n in range(1_000):
        data = {"orders": [f"o-{number:030}" for number in range(50)]}
        entry = {"id": f"a-{n}", "level": "critical", "acked_by": None, "data": data}
        rig.hub.append("alerts", entry)
        if n % 4 == 3:
            rig.hub.append("alerts", entry | {"acked_by": "alice"})
    wire, reader = rig.reader()
    rig.subscribe(reader, "alerts")
    rig.flush()
    assert 700_000 < len(wire.blobs[-1]) < 1_048_576

    (snapshot,) = wire.take()

    shown = len(snapshot["data"])
    assert ids(snapshot) == [f"a-{n}" for n in range(1_000) if n % 4 != 3][-shown:]


def test_open_alerts_are_bounded() -> None:
    rig = Rig()
    for n in range(1002):
        rig.hub.append("alerts", {"id": str(n), "level": "info"})
    wire, reader = rig.reader()
    rig.subscribe(reader, "alerts")
    rig.flush()

    (message,) = wire.take()
    assert (len(ids(message)), ids(message)[0]) == (1000, "2")


def test_an_entry_is_counted_for_every_selection_it_belongs_to() -> None:
    rig = Rig()
    rig.hub.ids = {"bot_id": {"x", "y"}}
    rig.hub.append("events", {"id": "e-1", "bot_id": "x", "type": "halt"})
    rig.hub.append("events", {"id": "e-2", "bot_id": None, "type": "halt"})
    rig.hub.append("events", {"id": "e-3", "bot_id": "x", "type": "start"})
    for n, level in enumerate(("info", "warning", "error", "other")):
        rig.hub.append("alerts", {"id": f"a-{n}", "level": level})

    def count(name: str) -> int:
        (entry,) = rig.subscribe(rig.reader()[1], name)
        seq = entry["seq"]
        assert isinstance(seq, int)
        return seq

    events = ("", "?bot_id=x", "?type=halt", "?bot_id=x&type=halt", "?bot_id=y")
    assert [count("events" + options) for options in events] == [3, 2, 2, 1, 0]
    alerts = ("", "?level=warning", "?level=error")
    assert [count("alerts" + options) for options in alerts] == [4, 2, 1]


def test_an_entry_of_the_journal_goes_out_as_its_bytes_are() -> None:
    rig = Rig()
    wire, _ = rig.reader("fills")
    rig.hub.enter("fills", Written(fill(1), b'{"id":"t-1","of":"the journal"}'), asof=5)
    rig.flush()

    (message,) = wire.take()

    assert (message["data"], message["asof"]) == ([{"id": "t-1", "of": "the journal"}], 5)
    assert rig.hub.counts.encodings == 0


def test_a_wire_is_only_a_protocol() -> None:
    wire = FakeWire()
    wire.abort()

    assert (wire.closed, wire.buffered()) == ((1006, ""), 0)
