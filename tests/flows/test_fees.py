"""Fees of the paper exchange that fall with the volume, over a restart."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from realtime import settings as read
from realtime.app import Outside, System, open_system
from realtime.settings import Settings
from tests.fakes import BTC, FREE, LOCAL, WatchedStore, finished, no_page, until


D = Decimal
SMALL, LARGE = "0.001", "0.1"
"""Below the step of the test at any price the market may have, and above it."""


def settings(path: Path, *tiers: dict[str, str]) -> Settings:
    given: dict[str, Any] = {
        "store": {"path": str(path), "backup_hours": 0},
        "paper": {
            "latency_ms": 0,
            "symbols": (BTC,),
            "balances": {"USDT": "1000000", "BTC": "1"},
            "fees": {"tiers": tiers},
        },
        "risk": {"limits": dict(FREE)},
    }
    return Settings(**given)


async def rate(system: System, side: str, amount: str = SMALL) -> Decimal:
    """Trade once at the market; give the rate that was paid [share of what was received]."""

    async def call(op: str, **args: Any) -> Any:
        reply = await finished(
            system.registry.dispatch(op, args, principal=LOCAL, client="c", source="socket")
        )
        assert reply.ok, reply
        return reply.result

    placed = await call("order.place", symbol=BTC, side=side, type="market", amount=amount)
    filled = (await call("order.get", order_id=placed["id"]))["fills"]
    assert filled
    fees = sum((D(fill["fee"]["cost"]) for fill in filled), D(0))
    gross = sum((D(fill["amount" if side == "buy" else "cost"]) for fill in filled), D(0))
    return (fees / gross).quantize(D("0.00001"))


async def test_fees_fall_with_what_was_traded_and_go_on_falling_after_a_restart(
    tmp_path: Path,
) -> None:
    path, outside = tmp_path / "j.db", Outside(store=WatchedStore, page=no_page)
    steps = ({"volume": "1000", "share": "0.5"}, {"volume": "1000000000", "share": "0"})
    async with open_system(settings(path, *steps), outside) as system:
        await until(system.branch.ready.is_set)
        first = await rate(system, "buy")
        await rate(system, "buy", LARGE)
        second = await rate(system, "sell")
    async with open_system(settings(path, *steps), outside) as system:
        await until(system.branch.ready.is_set)
        third = await rate(system, "buy")
    async with open_system(settings(path), outside) as system:
        await until(system.branch.ready.is_set)
        without = await rate(system, "sell")

    assert (first, second, third) == (D("0.00100"), D("0.00050"), D("0.00050"))
    assert without == D("0.00100")


@pytest.mark.parametrize(
    ("tiers", "says"),
    [
        ([("0", "1")], "greater than 0"),
        ([("10", "1.1")], "less than or equal to 1"),
        ([("10", "-0.1")], "greater than or equal to 0"),
        ([("10", "0.9"), ("10", "0.8")], "the lowest comes first"),
        ([("10", "0.8"), ("20", "0.9")], "who trades more pays no more"),
    ],
    ids=str,
)
def test_steps_of_fees_that_cannot_be_name_the_place(
    tiers: list[tuple[str, str]], says: str
) -> None:
    rows = [{"volume": volume, "share": share} for volume, share in tiers]
    with pytest.raises(ValidationError, match=says) as error:
        Settings(paper={"fees": {"tiers": rows}})

    assert error.value.errors()[0]["loc"][:3] == ("paper", "fees", "tiers")


def test_steps_of_fees_stand_in_the_file(tmp_path: Path) -> None:
    file = tmp_path / "realtime.toml"
    file.write_text("[[paper.fees.tiers]]\nvolume = 100_000\nshare = 0.8\n")
    (tier,) = read.load(file).paper.fees.tiers

    assert (tier.volume, tier.share) == (D(100_000), D("0.8"))
