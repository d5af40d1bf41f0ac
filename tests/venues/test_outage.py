"""A server on the embedded market that was dead for a while: whole, twice on one journal (trading X6.5, B7)."""

from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from realtime.app import Outside
from realtime.engine.bars import HOUR
from realtime.makers import paper
from realtime.model.market import MS, SECOND
from realtime.model.orders import Status
from tests.fakes import World, until
from tests.prices import price


D = Decimal
BTC, PERP = "BTC/USDT", "BTC/USDT:USDT"
EIGHT = 8 * HOUR


class Living(World):
    """It trades at our own exchange."""

    def outside(self) -> Outside:
        return replace(super().outside(), venue=paper)

    async def told(self, op: str, **args: Any) -> dict[str, Any]:
        reply = await self.call(op, **args)
        assert reply.ok, reply.error
        assert isinstance(reply.result, dict)
        return reply.result

    async def fundings(self) -> list[Decimal]:
        rows = [row["data"] for row in await self.events("transfer")]
        return [D(row["amount"]) for row in rows if row["kind"] == "funding"]

    async def cash(self) -> Decimal:
        (row,) = (await self.told("balance.list"))["balances"]
        return D(row["total"])


async def test_what_was_held_pays_what_fell_due_and_an_order_ends_at_its_date(
    tmp_path: Path,
) -> None:
    """Its stop is where the price did not come; killed again and again it is all told once."""
    made = Living(tmp_path / "j.db", paper={"symbols": [BTC, PERP], "latency_ms": 0})
    async with made.life() as system:
        ticker = await made.told("market.ticker", symbol=PERP)
        bought: dict[str, Any] = {"symbol": PERP, "side": "buy", "type": "market", "amount": "0.1"}
        legs = {"stop_loss": price(ticker, "-0.2")}
        await made.told("order.place", **bought, leverage=5, **legs)
        until_ms = system.desk.now() // MS + 60_000
        spot = price(await made.told("market.ticker", symbol=BTC))
        dated = {"time_in_force": "GTD", "good_till_ts": until_ms, "client_order_id": "dated"}
        resting = {"symbol": BTC, "side": "buy", "type": "limit", "amount": "0.01", "price": spot}
        await made.told("order.place", **resting, **dated)
        cash, opened = await made.cash(), system.desk.now()
        await system.desk.settled()

    made.wall += 30 * HOUR
    due = (opened + 30 * HOUR) // EIGHT - opened // EIGHT
    for life in range(3):
        async with made.life() as system:
            await until(lambda: made.order("dated").status is Status.EXPIRED)
            assert made.order("dated").updated_ts // MS == until_ms
            paid = await made.fundings()
            assert len(paid) == due >= 3
            assert await made.cash() == cash + sum(paid)
            (held,) = (await made.told("position.list"))["positions"]
            assert (held["symbol"], D(held["amount"])) == (PERP, D("0.1"))
            assert D(held["realized_pnl"]) <= sum(paid) < 0
            working = (await made.told("order.list", status="open"))["orders"]
            assert sorted(order["type"] for order in working) == ["stop"]
            assert (await made.told("alert.list", limit=500))["alerts"] == []
            await system.desk.settled()
        made.wall += life * 600 * SECOND
