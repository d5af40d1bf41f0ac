"""Which account an op is for, and what several accounts say as one."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest

from realtime.commands.accounts import (
    Account,
    Accounts,
    merged,
    with_venue,
    without_venue,
    written,
)
from realtime.commands.params import CommandParams, Name
from realtime.commands.registry import ANONYMOUS, Answer, Call, Op
from realtime.commands.trading import HaltParams
from realtime.model.errors import Code, Refused


class Params(CommandParams):
    """Of the ops here."""

    symbol: Name | None = None
    order_id: Name | None = None


class Office:
    """An account that remembers what it was asked."""

    def __init__(self, name: str, **more: Any) -> None:
        self.asked: list[Call[Any]] = []
        self.touched: list[str] = []
        self.refusal: Refused | None = None
        self.late: Refused | None = None
        self.account = Account(name, touch=self.touched.append)
        self.account.ops = {
            op: Op(
                name=op,
                params=Params,
                scope="trade",
                lane="orders",
                handler=self.handle,
                effect=self.effect if op == "trading.halt" else None,
                judge=self.judge if op == "order.place" else None,
                repeated=lambda _call: name == "two",
                summary="",
            )
            for op in ("order.place", "trading.halt", "trading.resume", "deadman", "market.status")
        }

    def handle(self, call: Call[Any]) -> Answer | Awaitable[Answer]:
        self.asked.append(call)
        if self.refusal is not None:
            raise self.refusal
        return self.answer()

    async def answer(self) -> Answer:
        await asyncio.sleep(0)
        if self.late is not None:
            raise self.late
        name = self.account.id
        return Answer(
            result={
                "who": name,
                "canceled": [name],
                "orders": 1,
                "changed": name == "two",
                "flat": True,
            },
            at={f"orders@{name}": 1},
        )

    def judge(self, call: Call[Any]) -> None:
        self.asked.append(call)
        if self.refusal is not None:
            raise self.refusal

    def effect(self, _call: Call[Any]) -> Mapping[str, object] | None:
        return {"orders": 2} if self.account.id == "two" else None


class Firm:
    """Two accounts, or one."""

    def __init__(self, *names: str) -> None:
        self.offices = [Office(name) for name in names]
        self.accounts = Accounts(*[office.account for office in self.offices])

    def op(self, name: str) -> Op:
        return self.accounts.routed(self.offices[0].account.ops[name])

    def call(self, name: str, **raw: Any) -> Call[Any]:
        params = self.op(name).params.model_validate(raw)
        return Call(
            params=params,
            principal=ANONYMOUS,
            client="",
            source="socket",
            session=None,
            received=0,
            raw=raw,
        )

    async def ask(self, name: str, **raw: Any) -> Answer:
        got = self.op(name).handler(self.call(name, **raw))
        return got if isinstance(got, Answer) else await got

    @property
    def asked(self) -> list[int]:
        return [len(office.asked) for office in self.offices]


@pytest.fixture
def firm() -> Firm:
    return Firm("one", "two")


@pytest.mark.parametrize(
    ("raw", "who"),
    [
        ({}, "one"),
        ({"venue": "one"}, "one"),
        ({"venue": "two"}, "two"),
        ({"order_id": "o-two-7"}, "two"),
        ({"order_id": "o-7"}, "one"),
        ({"order_id": "o-three-7"}, "one"),
        ({"order_id": "o-two-7", "venue": "one"}, "one"),
    ],
    ids=str,
)
async def test_an_op_goes_to_the_account_it_names(
    firm: Firm, raw: dict[str, Any], who: str
) -> None:
    assert (await firm.ask("order.place", **raw)).result["who"] == who


async def test_an_account_is_asked_as_if_it_were_alone(firm: Firm) -> None:
    await firm.ask("order.place", symbol="BTC/USDT", venue="two")

    (call,) = firm.offices[1].asked
    assert type(call.params) is Params
    assert (call.raw, call.params.model_fields_set) == ({"symbol": "BTC/USDT"}, {"symbol"})
    assert firm.offices[1].touched == ["BTC/USDT"]


async def test_an_order_is_judged_by_the_account_it_is_for_which_then_finds_its_prices(
    firm: Firm,
) -> None:
    """Else a server that asks back would refuse for want of a price, again and again, and nobody would look for one."""
    row, call = firm.op("order.place"), firm.call("order.place", symbol="BTC/USDT", venue="two")
    assert row.judge is not None
    row.judge(call)
    firm.offices[1].refusal = Refused(Code.RISK_REJECTED, "no price")
    with pytest.raises(Refused, match="no price"):
        row.judge(call)

    assert firm.asked == [0, 2]
    assert type(firm.offices[1].asked[0].params) is Params
    assert firm.offices[1].touched == ["BTC/USDT", "BTC/USDT"]
    assert firm.op("trading.halt").judge is None


async def test_an_account_that_is_not_there_is_named_with_those_that_are(firm: Firm) -> None:
    with pytest.raises(Refused, match="one, two") as caught:
        await firm.ask("order.place", venue="three")
    assert caught.value.code is Code.NOT_FOUND


async def test_with_one_account_nothing_is_added() -> None:
    alone = Firm("one")

    assert alone.op("order.place").params is Params
    assert (await alone.ask("trading.halt")).result["who"] == "one"


async def test_what_stops_trading_goes_to_all(firm: Firm) -> None:
    answer = await firm.ask("trading.halt")

    assert firm.asked == [1, 1]
    assert answer.result == {
        "who": "one",
        "canceled": ["one", "two"],
        "orders": 2,
        "changed": True,
        "flat": True,
    }
    assert answer.at == {"orders@one": 1, "orders@two": 1}
    assert (await firm.ask("trading.halt", venue="two")).result["canceled"] == ["two"]
    assert (await firm.ask("deadman")).result["orders"] == 1  # times are not sums


async def test_what_one_does_not_know_is_for_the_other(firm: Firm) -> None:
    unknown = Refused(Code.NOT_FOUND, "no such market")
    firm.offices[0].refusal = unknown
    assert (await firm.ask("trading.halt")).result["canceled"] == ["two"]

    firm.offices[1].refusal = unknown
    with pytest.raises(Refused, match="no such market"):
        await firm.ask("trading.halt")


@pytest.mark.parametrize("late", [False, True])
async def test_a_failure_of_one_is_told_when_all_have_been_heard(firm: Firm, *, late: bool) -> None:
    error = Refused(Code.CONFLICT, "not now")
    if late:
        firm.offices[0].late = error
    else:
        firm.offices[0].refusal = error

    with pytest.raises(Refused, match="not now"):
        await firm.ask("trading.halt")
    assert firm.asked == [1, 1]


async def test_a_shut_account_answers_why_and_others_go_on(firm: Firm) -> None:
    shut = Refused(Code.VENUE_UNAVAILABLE, "two is away")
    firm.offices[1].account.shut = lambda: shut

    with pytest.raises(Refused, match="away"):
        await firm.ask("order.place", venue="two")
    assert (await firm.ask("market.status", venue="two")).result["who"] == "two"
    assert (await firm.ask("trading.halt")).result["canceled"] == ["one"]
    assert not firm.op("order.place").repeated(firm.call("order.place", venue="two"))  # type: ignore[misc]

    firm.offices[0].account.shut = lambda: shut
    with pytest.raises(Refused, match="away"):
        await firm.ask("trading.halt")


async def test_a_halt_that_a_shut_account_forgets_is_no_secret(firm: Firm) -> None:
    two = firm.offices[1].account
    two.shut = lambda: Refused(Code.VENUE_UNAVAILABLE, "two is away")
    two.journal = keep

    with pytest.raises(Refused, match="will open halted"):
        await firm.ask("trading.halt", venue="two")
    with pytest.raises(Refused, match="will not open halted by this"):
        await firm.ask("trading.resume", venue="two")
    assert not two.kept


async def keep(_scope: str, _body: bytes) -> object:
    return None


def hang(_scope: str, _body: bytes) -> Awaitable[object]:
    return asyncio.get_running_loop().create_future()


def refuse(_scope: str, _body: bytes) -> Awaitable[object]:
    raise Refused(Code.BUSY, "the journal is closed")


@pytest.mark.parametrize("journal", [hang, refuse])
async def test_a_journal_that_fails_keeps_nobody_from_the_answer_to_a_halt(
    firm: Firm, journal: Callable[[str, bytes], Awaitable[object]]
) -> None:
    """P3: a halt does not wait for the disk; it was never answered, or did not reach the others."""
    two = firm.offices[1].account
    two.shut = lambda: Refused(Code.VENUE_UNAVAILABLE, "two is away")
    two.journal = journal

    assert (await firm.ask("trading.halt")).result["canceled"] == ["one"]
    with pytest.raises(Refused, match="will open halted"):
        await firm.ask("trading.halt", venue="two")


def test_a_kept_halt_is_not_judged_by_the_rules_of_later() -> None:
    """A journal of before had names that are none today: the server did not start with it."""
    params = HaltParams(state="reducing", symbol="X", expires_at=5)
    of_old = params.model_copy(update={"bot_id": "a\0", "reason": "\0"})
    call = Call(params=of_old, principal=ANONYMOUS, client="", source="socket", session=None, received=0)  # fmt: skip
    account = Account("one")

    account.remember({"": written(call)})

    assert account.kept == {("X", "a\0"): call}


def test_effects_of_all_are_added_up(firm: Firm) -> None:
    halt = firm.op("trading.halt")
    assert halt.effect is not None

    assert halt.effect(firm.call("trading.halt")) == {"orders": 2}
    assert halt.effect(firm.call("trading.halt", venue="one")) is None
    assert halt.repeated is not None
    assert halt.repeated(firm.call("trading.halt", venue="two"))
    firm.offices[1].account.shut = lambda: Refused(Code.VENUE_UNAVAILABLE, "")
    assert halt.effect(firm.call("trading.halt")) is None


def test_words_of_several_become_one() -> None:
    assert merged([{"a": None, "b": {"n": 1}}, {"a": "x", "b": {"n": 2}, "c": "new"}]) == {
        "a": "x",
        "b": {"n": 3},
        "c": "new",
    }


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [("100", "0.5", "100.5"), ("0", "0", "0"), ("100", None, None), (None, "100", None)],
)
def test_the_notional_of_several_adds_up(
    one: str | None, other: str | None, both: str | None
) -> None:
    """A threshold for what is confirmed counts all accounts, not the first."""
    effects = [{"orders": 1, "notional": one}, {"orders": 1, "notional": other}]

    assert merged(effects) == {"orders": 2, "notional": both}
    assert merged([{"orders": 1}, {"notional": one}]) == {"orders": 1, "notional": one}


def test_a_venue_goes_in_and_out_of_arguments() -> None:
    wide = with_venue(Params)
    given = wide.model_validate({"symbol": "X", "venue": "two"})

    assert wide.__doc__ == Params.__doc__
    assert without_venue(Params, given) == Params(symbol="X")
