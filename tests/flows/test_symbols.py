"""A journal that is about markets which the paper exchange does not list any more."""

from pathlib import Path
from typing import Any

from realtime.app import Outside, System, open_system
from realtime.commands.registry import Reply
from realtime.settings import Settings
from tests.fakes import LOCAL, WatchedStore, finished, no_page, until
from tests.prices import price


ETH: Any = "ETH/USDT"


def settings(path: Path, *symbols: str) -> Settings:
    given: dict[str, Any] = {
        "store": {"path": str(path), "backup_hours": 0},
        "paper": {"symbols": symbols, "latency_ms": 0},
    }
    return Settings(**given)


async def call(system: System, op: str, **args: Any) -> Reply:
    return await finished(
        system.registry.dispatch(op, args, principal=LOCAL, client="c", source="socket")
    )


async def test_a_market_taken_off_the_list_keeps_its_position_and_its_orders(
    tmp_path: Path,
) -> None:
    path = tmp_path / "j.db"
    order = {"symbol": ETH, "side": "buy", "amount": "0.01"}
    async with open_system(
        settings(path, "BTC/USDT", ETH), Outside(store=WatchedStore, page=no_page)
    ) as system:
        await until(system.branch.ready.is_set)
        bought = await call(system, "order.place", type="market", client_order_id="b", **order)
        assert bought.ok, bought
        ticker = (await call(system, "market.ticker", symbol=ETH)).result
        assert isinstance(ticker, dict)
        far = {"type": "limit", "price": price(ticker)}
        rests = await call(system, "order.place", client_order_id="r", **far, **order)
        assert rests.ok, rests

    async with open_system(
        settings(path, "BTC/USDT"), Outside(store=WatchedStore, page=no_page)
    ) as system:
        await until(system.branch.ready.is_set)
        assert system.branch.engine.markets[ETH].active is False
        assert system.branch.engine.positions[ETH].amount > 0
        assert list(await system.branch.venue.ohlcv(ETH, "1h", None, 5)) == []
        assert list(await system.branch.venue.trades(ETH, 5)) == []
        refused = await call(system, "order.place", type="market", client_order_id="c", **order)
        assert refused.error is not None
        assert ETH in str(refused.error["message"])
        ended = await call(system, "order.cancel", client_order_id="r")
        assert ended.ok, ended

    async with open_system(
        settings(path, "BTC/USDT", ETH), Outside(store=WatchedStore, page=no_page)
    ) as system:
        await until(system.branch.ready.is_set)
        assert system.branch.engine.markets[ETH].active is True
        sold = await call(
            system,
            "order.place",
            type="market",
            client_order_id="d",
            **order | {"side": "sell", "amount": "0.005"},
        )
        assert sold.ok, sold
