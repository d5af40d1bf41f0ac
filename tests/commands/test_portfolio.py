"""Ops of the portfolio: status, performance, spread, signals, allocation, weights."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest

from realtime.commands import allocation, portfolio
from realtime.commands.portfolio import affordable, required
from realtime.desk.codec import dumps
from realtime.engine.bars import TIMEFRAMES
from realtime.engine.combine import Combined, combine
from realtime.model.errors import Code, VenueUnknown
from realtime.model.events import Transferred
from realtime.model.market import MS, SECOND, Bar
from realtime.model.principal import ROLES, Principal, TokenLimits
from realtime.store.rows import Projection
from tests import fakes
from tests.fakes import BTC, ETH, FREE, ScriptedVenue, World


D = Decimal
VIEWER = Principal(subject="vera", scopes=ROLES["viewer"])
TRADER = Principal(subject="tom", scopes=ROLES["trader"])
SURE = {"probability_buy": 0.8, "probability_sell": 0.1, "probability_hold": 0.1}
BACKWARDS: dict[str, Any] = {"from": 5, "to": 5}
GONE = {"probability_buy": 0.1, "probability_sell": 0.8, "probability_hold": 0.1}


class Charted(ScriptedVenue):
    """An exchange with a history.

    Attributes:
        closes: By symbol, of 1 h bars and all others alike, the newest closed bar last.
    """

    def __init__(self, **closes: Sequence[float]) -> None:
        super().__init__()
        self.closes: Mapping[str, Sequence[float]] = closes

    async def ohlcv(
        self, symbol: str, timeframe: str, since: int | None, limit: int
    ) -> Sequence[Bar]:
        length = TIMEFRAMES[timeframe]
        closes = self.closes.get(symbol.partition("/")[0], ())
        newest = self._now() // length * length
        # The last one is forming, and far off.
        known = [*closes, 1.0]
        bars = [
            Bar(newest - (len(known) - 1 - at) * length, *[f"{close:f}"] * 4, "1")  # type: ignore[call-arg]
            for at, close in enumerate(known)
        ]
        return bars[-limit:] if since is None else [b for b in bars if b.ts >= since][:limit]


def waves(count: int, *steps: float) -> list[float]:
    """Prices that move by the steps in turn."""
    found = [100.0]
    for at in range(count):
        found.append(found[-1] * (1 + steps[at % len(steps)]))
    return found


def result(reply: Any) -> dict[str, Any]:
    assert reply.ok, reply.error
    assert isinstance(reply.result, dict)
    return reply.result


def field_of(reply: Any) -> str | None:
    assert reply.error is not None
    faults = reply.error["details"].get("fields", ())
    return next((fault["field"] for fault in faults), None)


async def hold(world: World, symbol: str, amount: str) -> None:
    result(await world.call("order.place", symbol=symbol, side="buy", type="market", amount=amount))


def signal(symbol: str = BTC, source: str = "ema_crossover", **changes: Any) -> dict[str, Any]:
    made: dict[str, Any] = {
        "symbol": symbol,
        "signal_type": "buy",
        "confidence": 0.9,
        "source": source,
        "indicators": SURE,
    }
    return made | changes


# --- one trade ------------------------------------------------------------------------------------


def test_g30_says_what_a_trade_needs_and_what_fits() -> None:
    book = [("36000", "10")]
    taker = D("0.001")

    assert required(book, D("0.5"), taker) == D(18018)
    assert affordable(book, D(25_000), taker, D("0.00001")) == D("0.69375")
    assert affordable(book, D(25_000), taker, D("0.001")) == D("0.693")


def test_a_book_is_walked_level_by_level() -> None:
    book = [("100", "1"), ("110", "1")]

    assert required(book, D("1.5"), D(0)) == D(155)
    assert required(book, D(3), D(0)) is None
    assert affordable(book, D(155), D(0), D("0.1")) == D("1.5")
    assert affordable(book, D(500), D(0), D("0.1")) == D(2)


async def test_a_trade_is_judged_by_balance_and_book() -> None:
    world = World()
    async with world.life():
        await hold(world, BTC, "0.5")
        trade: dict[str, Any] = {"symbol": BTC, "amount": "0.5"}
        buy = result(await world.call("portfolio.validate_trade", trade_type="buy", **trade))
        sell = result(await world.call("portfolio.validate_trade", trade_type="sell", **trade))
        rich = result(
            await world.call("portfolio.validate_trade", symbol=BTC, amount="2", trade_type="buy")
        )
        dust = result(
            await world.call(
                "portfolio.validate_trade", symbol=BTC, amount="0.000001", trade_type="buy"
            )
        )
        thin = result(
            await world.call("portfolio.validate_trade", symbol=BTC, amount="200", trade_type="buy")
        )
        none = result(
            await world.call("portfolio.validate_trade", symbol=ETH, amount="1", trade_type="sell")
        )
        other = await world.call("portfolio.validate_trade", trade_type="short", **trade)
        zero = await world.call(
            "portfolio.validate_trade", symbol=BTC, amount="0", trade_type="buy"
        )

        assert (buy["is_valid"], buy["required_balance"]) == (True, "32032.05005")
        assert (sell["is_valid"], sell["max_trade_size"]) == (True, "0.50000")
        assert rich["message"].startswith("needs 128128.2002 USDT, 67999.95")
        assert dust["is_valid"] is False
        assert "is off the step" in dust["message"]
        assert (thin["is_valid"], thin["required_balance"]) == (False, None)
        assert (none["is_valid"], none["max_trade_size"]) == (False, "0")
        assert other.code is Code.INVALID
        assert field_of(other) == "trade_type"
        assert field_of(zero) == "amount"


async def test_a_trade_on_the_spot_market_needs_a_book() -> None:
    world = World()
    async with world.life() as system:
        trade: dict[str, Any] = {"amount": "1", "trade_type": "buy"}
        system.desk.engine._state.quotes.books.clear()
        blind = await world.call("portfolio.validate_trade", symbol=BTC, **trade)

        assert blind.code is Code.VENUE_UNAVAILABLE


async def test_a_trade_in_a_perpetual_is_judged_by_the_gate_that_decides(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    swap = replace(fakes.MARKETS[BTC], symbol="BTC/USDT:USDT", type="swap", settle="USDT")
    monkeypatch.setitem(fakes.PRICES, swap.symbol, fakes.PRICES[BTC])
    world = World()
    world.venue.markets = {**fakes.MARKETS, swap.symbol: swap}
    async with world.life():
        order: dict[str, Any] = {"symbol": swap.symbol, "type": "market"}

        async def told(side: str, amount: str) -> dict[str, Any]:
            trade: dict[str, Any] = {"symbol": swap.symbol, "amount": amount, "trade_type": side}
            return result(await world.call("portfolio.validate_trade", **trade))

        short, rich, odd = (
            await told("sell", "1"),
            await told("sell", "9"),
            await told("buy", "1.1234567"),
        )
        most = await world.call("order.place", side="sell", amount=short["max_trade_size"], **order)
        closing, flip = await told("buy", "1"), await told("buy", "2")
        result(await world.call("trading.halt", reason="drill", state="reducing"))
        left, stopped = await told("buy", "0.5"), await told("sell", "0.5")

        assert (short["is_valid"], short["reduce_only"], short["currency"]) == (True, False, "USDT")
        # Margin and the taker's fee, at what the gate takes the market for at worst.
        assert float(short["required_balance"]) == pytest.approx(63999.95 * 1.005 * 1.001, rel=1e-4)
        assert most.ok, most.error
        assert (rich["is_valid"], rich["max_trade_size"]) == (False, short["max_trade_size"])
        assert rich["message"].startswith("needs ")
        assert "off the step" in odd["message"]
        assert (closing["is_valid"], closing["reduce_only"]) == (True, True)
        assert closing["required_balance"] == "0"
        assert D(closing["max_trade_size"]) >= D(short["max_trade_size"])
        assert flip["reduce_only"] is False
        assert (left["is_valid"], left["max_trade_size"]) == (True, short["max_trade_size"])
        assert (stopped["is_valid"], stopped["max_trade_size"]) == (False, "0")
        assert "reducing" in stopped["message"]


# --- status and spread ----------------------------------------------------------------------------


async def test_status_tells_all_in_one() -> None:
    world = World()
    async with world.life():
        empty = result(await world.call("portfolio.status"))
        await hold(world, BTC, "0.5")
        await hold(world, ETH, "10")
        row = result(await world.call("portfolio.status"))

        assert empty["diversification"]["hhi"] is None
        assert empty["diversification"]["reason"] == "nothing is held"
        assert row["position_count"] == 2
        assert row["diversification"]["hhi"] == pytest.approx(0.5)
        assert row["diversification"]["diversification"] == pytest.approx(1)
        assert set(row["active_strategies"]) == {"ema_crossover", "rsi", "fvg"}
        assert row["active_strategies"]["rsi"] == {"weight": 0.35, "min_confidence": 0.5}
        assert row["risk_summary"]["position_count"] == 2


@pytest.mark.parametrize("dynamic", [False, True])
async def test_the_channel_has_snapshot_and_status(dynamic: bool) -> None:  # noqa: FBT001 - a case
    """features:F17. Who follows the channel asks for nothing besides."""
    world = World()
    async with world.life() as system:
        if dynamic:
            patch = {"probability": {"enable_dynamic_weights": True}}
            result(await world.call("config.update", patch=patch))
        await hold(world, BTC, "0.5")
        await asyncio.sleep(5)
        status = result(await world.call("portfolio.status"))
        snapshot = result(await world.call("portfolio.snapshot"))
        row = orjson.loads(system.hub.snapshot(system.hub.channel("portfolio")))["data"]

        assert set(row) == set(status) | set(snapshot)
        # Prices do not move here: what differs is the time.
        for told in (status, snapshot):
            apart = [name for name in told if told[name] != row[name]]
            assert set(apart) <= {"ts", "ages", "positions"}


async def test_correlation_needs_thirty_returns() -> None:
    world = World()
    world.venue = Charted(BTC=waves(40, 0.01, -0.02, 0.015), ETH=waves(40, -0.01, 0.02, -0.015))
    async with world.life():
        nothing = result(await world.call("portfolio.diversification"))
        await hold(world, BTC, "0.5")
        await hold(world, ETH, "10")
        row = result(await world.call("portfolio.diversification"))
        short = result(await world.call("portfolio.diversification", days=1))
        wrong = await world.call("portfolio.diversification", days=0)

        assert nothing["correlation"]["reason"] == "nothing is held"
        assert row["correlation"]["symbols"] == [BTC, ETH]
        assert row["average_correlation"] == pytest.approx(-1)
        assert row["effective_positions"] == pytest.approx(2)
        assert short["correlation"] == {
            "symbols": [BTC, ETH],
            "matrix": None,
            "samples": 24,
            "reason": "insufficient_samples",
        }
        assert field_of(wrong) == "days"


async def test_what_stands_still_is_correlated_with_nothing() -> None:
    """Found by a drive: one holding nobody trades refused the spread of all, by the name of an argument nobody gave."""
    world = World()
    world.venue = Charted(BTC=waves(40, 0.01, -0.02), ETH=[100.0] * 40)
    async with world.life():
        await hold(world, BTC, "0.5")
        await hold(world, ETH, "10")
        row = result(await world.call("portfolio.diversification"))

        assert row["effective_positions"] == pytest.approx(2)
        assert row["average_correlation"] is None
        assert (row["correlation"]["matrix"], row["correlation"]["samples"]) == (None, 39)
        assert row["correlation"]["reason"] == "no_deviation"


async def test_a_price_that_is_none_is_named() -> None:
    world = World()
    world.venue = Charted(BTC=[*waves(40, 0.01), 0.0])
    async with world.life():
        await hold(world, BTC, "0.5")
        zero = await world.call("portfolio.diversification")

        assert zero.code is Code.INVALID
        assert field_of(zero) == "closes.BTC/USDT[41]"


# --- performance ----------------------------------------------------------------------------------


def figures(reply: Any) -> dict[str, dict[str, Any]]:
    return {figure["name"]: figure for figure in result(reply)["performance"]}


async def test_performance_is_null_with_a_reason_until_there_are_samples() -> None:
    world = World()
    world.venue = Charted(BTC=waves(70, 0.001))
    async with world.life():
        none = figures(await world.call("portfolio.performance", timeframe="24h"))
        await asyncio.sleep(185)
        few = figures(
            await world.call("portfolio.performance", timeframe="1h", benchmark="btcusdt")
        )
        wrong = await world.call("portfolio.performance", timeframe="2h")
        unknown = await world.call("portfolio.performance", timeframe="1h", benchmark="NO/NO")

        assert none["return"]["value"] is None
        assert none["return"]["reason"] == "insufficient_samples"
        assert few["return"]["value"] == 0
        assert "reason" not in few["return"]
        assert few["sharpe"]["reason"] == "insufficient_samples"
        assert few["benchmark_return"]["value"] == pytest.approx(
            64000.05 / world.venue.closes["BTC"][-60] - 1,
            rel=1e-3,
        )
        assert field_of(wrong) == "timeframe"
        assert unknown.code is Code.NOT_FOUND


async def test_a_history_that_begins_in_the_window_is_no_benchmark() -> None:
    world = World()
    world.venue = Charted(BTC=waves(20, 0.001))
    async with world.life():
        row = figures(await world.call("portfolio.performance", timeframe="7d", benchmark=BTC))

        assert row["benchmark_return"]["value"] is None
        assert row["benchmark_return"]["reason"] == "insufficient_samples"


async def test_a_deposit_is_no_return() -> None:
    world = World()
    world.venue = Charted(ETH=waves(5, 0.0))
    async with world.life() as system:
        await asyncio.sleep(125)
        for number, (currency, amount) in enumerate((("USDT", "5000"), ("ETH", "2"))):
            system.desk.post(
                Transferred(
                    venue="paper",
                    currency=currency,
                    amount=D(amount),
                    kind="deposit",
                    id=f"d-{number}",
                    ts=system.desk.now(),
                )
            )
        await asyncio.sleep(125)
        row = figures(await world.call("portfolio.performance", timeframe="1h"))
        history = result(await world.call("portfolio.equity_history"))["equity"]

        assert D(history[-1][1]) - D(history[0][1]) > 11_000
        # The bars say what a coin was worth when it came; the book says 3200.05.
        assert row["return"]["value"] == pytest.approx(0, abs=0.07)

        system.desk.post(
            Transferred(
                venue="paper",
                currency="DOGE",
                amount=D(1),
                kind="deposit",
                id="d-9",
                ts=system.desk.now(),
            )
        )
        await system.desk.settled()
        unpriced = figures(await world.call("portfolio.performance", timeframe="1h"))
        assert unpriced["return"]["reason"] == "unpriced_transfer"


async def test_a_fee_that_is_told_by_itself_is_a_loss_and_no_withdrawal() -> None:
    world = World()
    async with world.life() as system:
        await asyncio.sleep(125)
        system.desk.post(
            Transferred(
                venue="paper",
                currency="USDT",
                amount=D(-500),
                kind="fee",
                id="f-1",
                ts=system.desk.now(),
            )
        )
        await asyncio.sleep(125)
        row = figures(await world.call("portfolio.performance", timeframe="1h"))
        history = result(await world.call("portfolio.equity_history"))["equity"]

        lost = float(D(history[-1][1]) / D(history[0][1])) - 1
        assert lost < -0.004
        assert row["return"]["value"] == pytest.approx(lost)


async def test_the_first_trade_counts_in_the_performance(tmp_path: Path) -> None:
    """features:F18. What was there before it is known from the moment orders are taken, also after a restart."""
    world = World(tmp_path / "j.db")
    async with world.life():
        for side in ("buy", "sell"):
            trade: dict[str, Any] = {"symbol": BTC, "side": side, "type": "market", "amount": "0.5"}
            result(await world.call("order.place", **trade))
            await asyncio.sleep(2)
        day = result(await world.call("risk.daily_pnl"))
        row = figures(await world.call("portfolio.performance", timeframe="1h"))
        history = result(await world.call("portfolio.equity_history"))["equity"]

        assert D(day["daily_pnl"]) < 0
        lost = float(D(day["daily_pnl"]) / D(day["equity_start"]))
        assert row["return"]["value"] == pytest.approx(lost, rel=1e-9)
        assert D(history[0][1]) == D(day["equity_start"])

    async with world.life():
        await asyncio.sleep(30)
        later = result(await world.call("portfolio.equity_history"))["equity"]

        assert later[: len(history)] == history
        assert [D(equity) for _, equity, _ in later[len(history) :]] == [D(history[-1][1])]


async def test_equity_is_thinned_out_to_a_picture() -> None:
    world = World()
    async with world.life() as system:
        store = system.store
        now = system.desk.now()
        for at in range(2500):
            ts = now + (at - 2500) * 60 * SECOND
            fall = 0.2 if at == 1000 else 0.0
            body = dumps({"sample": [ts // MS, f"{at}.123456789012345678", fall]})
            store.append(
                "Equity", str(ts), body, None, [Projection("equity", str(ts), ts, body=body)]
            )
        await system.desk.durable(store.seq, 5)
        whole = result(await world.call("portfolio.equity_history"))
        hours = result(await world.call("portfolio.equity_history", step=3600))
        backwards = await world.call("portfolio.equity_history", **BACKWARDS)

        assert 500 < len(whole["equity"]) <= 1000
        assert whole["step"] > 60
        assert max(row[2] for row in whole["equity"]) == 0.2
        assert whole["equity"][0][1].endswith(".123456789012345678")
        assert 42 <= len(hours["equity"]) <= 43
        assert hours["step"] == 3600
        assert field_of(backwards) == "to"


async def test_no_number_of_samples_makes_the_time_shorter_that_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Found by a drive: a sample a second is 50,000 in 14 hours, and those were given as 30 days."""
    monkeypatch.setattr(portfolio, "READ", 500)
    world = World()
    async with world.life() as system:
        now = system.desk.now()
        for at in range(2400):
            ts = now + (at - 2400) * 15 * SECOND
            fall = 0.25 if at == 700 else 0.0
            body = dumps({"sample": [ts // MS, str(5000 + at), fall]})
            project = [Projection("equity", str(ts // MS), ts, body=body)]
            system.store.append("Equity", str(ts), body, None, project)
        await system.desk.durable(system.store.seq, 30)
        day = figures(await world.call("portfolio.performance", timeframe="24h"))
        whole = result(await world.call("portfolio.equity_history"))["equity"]
        since: dict[str, Any] = {"from": (now - 9 * 3600 * SECOND) // MS, "step": 600}
        steps = result(await world.call("portfolio.equity_history", **since))

        # The first minute that was pared is known by its last sample.
        first = 5000 + 4
        assert day["return"]["value"] == pytest.approx(100_000 / first - 1, rel=1e-3)
        assert whole[0][0] < (now - 9.9 * 3600 * SECOND) / MS
        assert 500 < len(whole) <= 1000
        assert max(row[2] for row in whole) == 0.25
        assert [row[0] for row in whole] == sorted({row[0] for row in whole})
        assert (steps["step"], len(steps["equity"])) in {(600, 54), (600, 55), (600, 56)}


async def test_an_account_that_was_empty_has_a_performance_once_it_is_funded() -> None:
    """Found by a drive: of an account without money `invalid` was said, of a field that nobody had sent."""
    world = World()
    async with world.life() as system:
        for at, equity in enumerate((0, 0, 1000, 1100)):
            ts = system.desk.now() + (at - 60) * 60 * SECOND
            body = dumps({"sample": [ts // MS, str(equity), None]})
            project = [Projection("equity", str(ts // MS), ts, body=body)]
            system.store.append("Equity", str(ts), body, None, project)
        await system.desk.durable(system.store.seq, 30)
        row = figures(await world.call("portfolio.performance", timeframe="24h"))

        # To the 1100, and from there to what the world has at its beginning.
        assert row["return"]["value"] == pytest.approx(100_000 / 1000 - 1, rel=1e-9)


# --- signals --------------------------------------------------------------------------------------


async def test_g18_signals_are_combined_by_symbol() -> None:
    world = World()
    async with world.life():
        told = [
            signal(
                confidence=0.8,
                indicators={
                    "probability_buy": 0.7,
                    "probability_sell": 0.1,
                    "probability_hold": 0.2,
                },
            ),
            signal(
                source="rsi",
                confidence=0.6,
                indicators={
                    "probability_buy": 0.3,
                    "probability_sell": 0.4,
                    "probability_hold": 0.3,
                },
            ),
            signal(source="fvg", confidence=0.4),
            signal(source="stranger"),
            signal(ETH, signal_type="hold", confidence=0.9, indicators={}),
        ]
        reply = result(await world.call("portfolio.process_signals", signals=told))

        said = reply["combined"][BTC]
        assert said["probabilities"] == pytest.approx(
            {"buy": 0.525, "sell": 0.23125, "hold": 0.24375}
        )
        assert said["confidence"] == pytest.approx(0.7125)
        assert said["risk_score"] == pytest.approx(0.6259375)
        assert said["metadata"]["symbol"] == BTC
        assert said["metadata"]["strategies_used"] == ["ema_crossover", "rsi"]
        assert {left["strategy"] for left in said["metadata"]["skipped"]} == {"fvg", "stranger"}
        btc, eth = reply["actions"]
        assert (btc["action"], btc["should_execute"]) == ("buy", True)
        assert D(btc["position_size"]["amount"]) > 0
        assert (eth["action"], eth["should_execute"]) == ("hold", False)
        assert world.venue.submitted == []


async def test_bars_that_cannot_be_read_are_the_reason_of_their_symbol_alone() -> None:
    """Nothing had been sent, and the outcome of all of it was told to be unknown."""

    class HalfDeaf(Charted):
        async def ohlcv(
            self, symbol: str, timeframe: str, since: int | None, limit: int
        ) -> Sequence[Bar]:
            if symbol == BTC:
                raise VenueUnknown("no answer")
            return await super().ohlcv(symbol, timeframe, since, limit)

    world = World(risk={"limits": dict(FREE) | {"sizing_method": "volatility_target"}})
    world.venue = HalfDeaf(ETH=waves(200, 0.01, -0.02))
    async with world.life():
        signals = [signal(), signal(ETH)]
        reply = result(await world.call("portfolio.process_signals", signals=signals, execute=True))

        btc, eth = reply["actions"]
        assert btc["reason"] == "the bars are not known: no answer"
        assert "order" not in btc
        assert eth["order"]["status"] == "filled"


@pytest.mark.parametrize("stop", ["fraction", "atr", "swing"])
@pytest.mark.parametrize(
    "method", ["confidence", "fixed_fractional", "min", "volatility_target", "kelly"]
)
async def test_signals_are_sized_as_the_method_in_force_has_it(method: str, stop: str) -> None:
    """Found by a drive: by Kelly or to a volatility no signal was ever worth an order, for want of what nobody read."""
    own = {"sizing_method": method, "stop_method": stop, "lookback": 20}
    # So little that the gate cuts none of them.
    own |= {"risk_per_trade": "0.001", "kelly_fraction": "0.001", "volatility_target": "0.05"}
    world = World(risk={"limits": dict(FREE) | {"max_position_size": "0.5"} | own})
    rising = [56_500 + 30 * at + 300 * (at % 3) - 250 * (at % 2) for at in range(250)]
    world.venue = Charted(BTC=rising)
    async with world.life():
        told = result(await world.call("portfolio.process_signals", signals=[signal()]))
        sized = result(
            await world.call(
                "risk.position_size",
                symbol=BTC,
                side="buy",
                confidence=0.9,
                probabilities={"buy": 0.8, "sell": 0.1, "hold": 0.1},
                timeframe="1h",
            )
        )
        (action,) = told["actions"]

        assert action["reason"] is None
        assert sized["method"] == method
        assert D(sized["amount"]) > 0
        assert action["position_size"] == {n: sized[n] for n in ("notional", "amount")}


async def test_signals_are_carried_out_once() -> None:
    world = World()
    async with world.life() as system:
        args: dict[str, Any] = {"signals": [signal()], "execute": True, "request_id": "r-1"}
        looked = result(
            await world.call(
                "portfolio.process_signals", dry_run=True, **args | {"request_id": "r-0"}
            )
        )
        first = result(await world.call("portfolio.process_signals", **args))
        again = result(await world.call("portfolio.process_signals", **args))
        viewer = await world.call(
            "portfolio.process_signals", who=VIEWER, **args | {"request_id": "r"}
        )
        seen = await world.call("portfolio.process_signals", who=VIEWER, signals=[signal()])
        sold = result(
            await world.call(
                "portfolio.process_signals",
                signals=[signal(indicators=GONE), signal(ETH, indicators=GONE)],
                execute=True,
            )
        )

        assert "order" not in looked["actions"][0]
        assert first["actions"][0]["order"]["status"] == "filled"
        assert again["duplicate"] is True
        assert viewer.code is Code.FORBIDDEN
        assert seen.ok
        assert sold["actions"][0]["order"]["status"] == "filled"
        assert sold["actions"][1]["reason"] == "available leaves nothing"
        assert len(world.venue.submitted) == 2
        bought = D(first["actions"][0]["order"]["filled"])
        assert system.desk.engine.positions[BTC].amount < bought


async def test_the_largest_position_is_cut_to_what_the_gate_lets_pass() -> None:
    world = World(risk={"limits": {**FREE, "max_position_size": "0.2"}})
    sure = {"probability_buy": 1, "probability_sell": 0, "probability_hold": 0}
    async with world.life():
        told = [signal(confidence=1.0, indicators=sure)]
        reply = result(await world.call("portfolio.process_signals", signals=told, execute=True))
        again = result(await world.call("portfolio.process_signals", signals=told))

        (action,) = reply["actions"]
        assert action["order"]["status"] == "filled"
        assert action["position_size"] == {"notional": "19900.175547", "amount": "0.31094"}
        assert again["actions"][0]["should_execute"] is False
        assert "max_position_size" in again["actions"][0]["reason"]


async def test_signals_are_carried_out_as_far_as_the_token_may() -> None:
    world = World()
    limited = replace(
        TRADER, limits=TokenLimits(symbols=(BTC,), max_order_notional=D(1000)), token_id="t-1"
    )
    async with world.life():
        told = [signal(), signal(ETH)]
        reply = result(
            await world.call("portfolio.process_signals", who=limited, signals=told, execute=True)
        )

        btc, eth = reply["actions"]
        order = btc["order"]
        assert order["status"] == "filled"
        assert D(order["filled"]) * D(order["average"]) <= D(1000)
        assert eth["should_execute"] is False
        assert eth["reason"] == "this token may not trade ETH/USDT"
        assert len(world.venue.submitted) == 1


async def test_what_the_gate_refuses_is_not_carried_out() -> None:
    world = World()
    async with world.life():
        unsure = [
            signal(
                confidence=0.6, indicators=SURE | {"probability_buy": 0.5, "probability_hold": 0.4}
            )
        ]
        world.venue.script.append("reject")
        refused = result(
            await world.call("portfolio.process_signals", signals=[signal()], execute=True)
        )
        result(await world.call("trading.halt", reason="drill", state="reducing"))
        reply = result(await world.call("portfolio.process_signals", signals=unsure, execute=True))

        assert refused["actions"][0]["order"]["error"]["code"] == "venue_rejected"
        assert reply["actions"][0]["should_execute"] is False
        assert "reducing" in reply["actions"][0]["reason"]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"confidence": 1.2}, "signals.0.confidence"),
        ({"signal_type": "short"}, "signals.0.signal_type"),
        ({"price": "0"}, "signals.0.price"),
        ({"indicators": {"probability_buy": 0.5}}, "signals.0.indicators.probability_sell"),
        ({"indicators": SURE | {"probability_buy": 0.9}}, "signals.0.indicators"),
        ({"indicators": SURE | {"probability_buy": -0.1}}, "signals.0.indicators.buy"),
        ({"indicators": SURE | {"probability_hold": "1"}}, "signals.0.indicators.probability_hold"),
        (
            {"indicators": SURE | {"probability_hold": True}},
            "signals.0.indicators.probability_hold",
        ),
    ],
    ids=str,
)
async def test_a_signal_that_makes_no_sense_is_refused_by_name(
    changes: dict[str, Any], field: str
) -> None:
    world = World()
    async with world.life():
        reply = await world.call("portfolio.process_signals", signals=[signal(**changes)])

        assert reply.code is Code.INVALID
        assert field_of(reply) == field


# --- allocation -----------------------------------------------------------------------------------


async def test_g20_allocates_what_signals_buy() -> None:
    world = World(risk={"limits": {**FREE, "max_position_size": "0.2"}})
    async with world.life():
        told = [signal(), signal(ETH, confidence=0.6)]
        row = result(await world.call("portfolio.allocate", signals=told, max_allocation=0.8))
        hold_ = result(await world.call("portfolio.allocate", signals=[signal(indicators=GONE)]))
        made = [{"symbol": a["symbol"], "amount": a["amount"]} for a in row["allocations"]]
        placed = [await world.call("order.place", side="buy", type="market", **one) for one in made]

        assert row["left_out"] == []
        assert [a["share"] for a in row["allocations"]] == pytest.approx([0.6, 0.4])
        assert [a["weight"] for a in row["allocations"]] == [0.2, 0.2]
        assert row["cash_weight"] == 0.6
        assert [a["action"] for a in row["allocations"]] == ["buy", "buy"]
        assert row["allocations"][0]["notional"] == "20000"
        # The gate takes a market order for half a percent dearer, and prices move until one is made of this.
        assert row["allocations"][0]["amount"] == "0.31031"
        assert row["allocations"][0]["note"] == "cut from 0.31249 to 0.31031: max_position_size"
        assert [reply.error for reply in placed] == [None, None]
        assert hold_["allocations"] == []
        assert hold_["left_out"][0]["symbol"] == BTC
        assert hold_["cash_weight"] == 1


async def test_capital_goes_to_a_holding_off_the_step_in_whole_steps() -> None:
    """What a fee paid in coins leaves is off the step; a sale of what is not held is left out as a sale."""
    world = World(risk={"limits": {**FREE, "max_position_size": "0.2"}})
    world.venue.coins = {"BTC": D("0.1000049")}
    async with world.life():
        told = [signal(), signal(ETH, indicators=GONE)]
        row = result(await world.call("portfolio.allocate", signals=told))
        [made] = row["allocations"]

        assert "max_position_size" in made["note"]
        assert D(made["amount"]) % D("0.00001") == 0
        assert D(made["amount"]) > D("0.1")
        assert row["left_out"] == [{"symbol": ETH, "reason": "the action is sell"}]


@pytest.mark.parametrize("method", ["inverse_volatility", "min_variance", "risk_parity", "hrp"])
async def test_symbols_are_weighed_by_their_history(method: str) -> None:
    world = World()
    world.venue = Charted(BTC=waves(60, 0.01, -0.01), ETH=waves(60, 0.03, 0.02, -0.04))
    async with world.life():
        await hold(world, BTC, "1")
        row = result(
            await world.call(
                "portfolio.allocate", symbols=[BTC, ETH], method=method, risk_profile="aggressive"
            )
        )
        calm, wild = row["allocations"]

        assert calm["share"] > wild["share"]
        assert calm["share"] + wild["share"] == pytest.approx(1)
        assert calm["weight"] + wild["weight"] == pytest.approx(0.8)
        assert row["convention"]
        assert calm["current_weight"] == pytest.approx(0.64, abs=0.01)
        targets = [{"symbol": a["symbol"], "weight": a["weight"]} for a in row["allocations"]]
        assert (await world.call("portfolio.rebalance", targets=targets)).ok


async def test_an_allocation_that_the_gate_would_refuse_says_so() -> None:
    world = World(risk={"limits": {**FREE, "max_open_positions": 1}})
    async with world.life():
        await hold(world, ETH, "1")
        row = result(await world.call("portfolio.allocate", symbols=[BTC, ETH], method="equal"))

        assert [a["note"] for a in row["allocations"]] == [
            "the gate would refuse it now: max_open_positions",
            None,
        ]


async def test_hrp_names_its_convention() -> None:
    world = World()
    world.venue = Charted(BTC=waves(60, 0.01, -0.01), ETH=waves(60, 0.03, 0.02, -0.04))
    async with world.life():
        row = result(await world.call("portfolio.allocate", symbols=[BTC, ETH], method="hrp"))

        assert row["convention"].startswith("Lopez de Prado (2016): distance sqrt((1 - rho) / 2)")


@pytest.mark.parametrize(
    ("args", "field"),
    [
        ({}, "symbols"),
        ({"symbols": [BTC], "signals": []}, "symbols"),
        ({"symbols": [BTC]}, "method"),
        ({"symbols": [BTC, "btcusdt"], "method": "equal"}, "symbols.1"),
        ({"symbols": [BTC], "method": "equal", "max_allocation": 1.5}, "max_allocation"),
        ({"symbols": [BTC], "method": "luck"}, "method"),
        ({"symbols": [BTC, ETH], "method": "hrp"}, "symbols.1"),
        ({"symbols": []}, "symbols"),
    ],
    ids=str,
)
async def test_what_cannot_be_allocated_is_refused_by_name(
    args: dict[str, Any], field: str
) -> None:
    world = World()
    world.venue = Charted(BTC=waves(60, 0.01, -0.01))
    async with world.life():
        reply = await world.call("portfolio.allocate", **args)

        assert reply.code is Code.INVALID
        assert field_of(reply) == field


async def test_an_unknown_symbol_is_not_found() -> None:
    world = World()
    async with world.life():
        reply = await world.call("portfolio.allocate", symbols=["NO/NO"], method="equal")

        assert reply.code is Code.NOT_FOUND


async def test_flat_prices_and_other_hours_cannot_be_weighed() -> None:
    world = World()
    world.venue = Charted(BTC=[100.0] * 60, ETH=waves(60, 0.01, -0.01))
    async with world.life():
        flat = await world.call("portfolio.allocate", symbols=[ETH, BTC], method="min_variance")

        assert field_of(flat) == "symbols[1]"


# --- weights --------------------------------------------------------------------------------------


async def test_weights_are_shown_and_changed_by_version() -> None:
    world = World()
    async with world.life():
        known = result(await world.call("portfolio.weights.get"))
        new = {"ema_crossover": 0.5, "rsi": 0.3, "fvg": 0.2}
        changed = result(
            await world.call("portfolio.weights.set", weights=new, version=known["version"])
        )
        same = result(await world.call("portfolio.weights.set", weights=new))
        stale = await world.call("portfolio.weights.set", weights=new, version=known["version"])
        off = await world.call("portfolio.weights.set", weights={"rsi": 0.9})
        nobody = await world.call("portfolio.weights.set", weights={"nobody": 0.9})
        negative = await world.call("portfolio.weights.set", weights={"rsi": -0.1})
        trader = await world.call("portfolio.weights.set", who=TRADER, weights=new)
        auto = result(await world.call("portfolio.weights.auto"))

        by_name = {row["strategy_name"]: row for row in known["weights"]}
        assert by_name["rsi"] == {
            "strategy_name": "rsi",
            "weight": 0.35,
            "effective_weight": pytest.approx(0.35),
            "min_confidence": 0.5,
            "enabled": True,
        }
        assert by_name["sample"]["effective_weight"] == 0
        assert changed["changed"] is True
        assert same["changed"] is False
        assert stale.code is Code.CONFLICT
        assert off.code is Code.INVALID
        assert nobody.code is Code.NOT_FOUND
        assert negative.code is Code.INVALID
        assert trader.code is Code.FORBIDDEN
        assert auto["dynamic"] is True


async def test_strategies_that_earn_count_more() -> None:
    world = World()
    async with world.life():
        for number in range(5):
            await world.call(
                "order.place",
                symbol=BTC,
                side="buy",
                type="market",
                amount="0.01",
                strategy_id="rsi",
                client_order_id=f"in-{number}",
            )
            await world.call(
                "order.place",
                symbol=BTC,
                side="sell",
                type="market",
                amount="0.01",
                strategy_id="rsi",
                reduce_only=True,
                client_order_id=f"out-{number}",
            )
        rows = {
            row["strategy_name"]: row
            for row in result(await world.call("portfolio.weights.auto"))["weights"]
        }
        await world.call("config.update", patch={"probability": {"enable_dynamic_weights": False}})
        fixed = result(await world.call("portfolio.weights.auto"))

        # Bought at the ask and sold at the bid: every trade lost, so rsi counts half.
        assert rows["rsi"]["effective_weight"] == pytest.approx(0.175 / 0.825)
        assert rows["rsi"]["weight"] == 0.35
        assert sum(row["effective_weight"] for row in rows.values()) == pytest.approx(1)
        assert fixed["dynamic"] is False
        assert {r["strategy_name"]: r["effective_weight"] for r in fixed["weights"]}[
            "rsi"
        ] == pytest.approx(0.35)


# --- the account's state --------------------------------------------------------------------------


async def test_equal_shares_need_no_history() -> None:
    world = World()
    async with world.life():
        row = result(await world.call("portfolio.allocate", symbols=[BTC, ETH], method="equal"))

        assert [a["weight"] for a in row["allocations"]] == [0.3, 0.3]
        assert row["risk_profile"] == "moderate"


async def test_a_risky_signal_is_left_alone_while_the_account_is_at_risk() -> None:
    world = World(risk={"limits": {**FREE, "max_open_positions": 3}})
    async with world.life():
        await hold(world, BTC, "1")
        await hold(world, ETH, "1")
        doubtful = signal(
            confidence=0.62,
            indicators={"probability_buy": 0.6, "probability_sell": 0.2, "probability_hold": 0.2},
        )
        one = result(await world.call("portfolio.process_signals", signals=[doubtful]))

        (action,) = one["actions"]
        assert action["should_execute"] is False
        assert action["reason"] == "the account's risk is high, the signal's score 0.628"


async def test_without_prices_nothing_is_decided() -> None:
    world = World()
    async with world.life() as system:
        await hold(world, ETH, "1")
        quotes = system.desk.engine._state.quotes
        quotes._marks_now[BTC] = None
        priceless = result(await world.call("portfolio.process_signals", signals=[signal()]))
        quotes._marks_now[ETH] = None
        system.desk.engine._state.forget_equity()
        targets = [{"symbol": BTC, "weight": "0.1"}]
        unvalued = await world.call("portfolio.rebalance", targets=targets)
        spread = result(await world.call("portfolio.status"))["diversification"]

        assert priceless["actions"][0]["reason"] == "the price is not known"
        assert unvalued.code is Code.VENUE_UNAVAILABLE
        assert unvalued.error is not None
        assert unvalued.error["details"] == {"field": "portfolio_value"}
        assert spread["reason"] == "ETH/USDT has no price"


async def test_a_rebalance_asks_back_where_a_policy_says_so() -> None:
    world = World(confirm=[{"op": "portfolio.rebalance"}])
    async with world.life():
        args: dict[str, Any] = {
            "targets": [{"symbol": BTC, "weight": "0.1"}],
            "dry_run": False,
            "plan_id": "p",
        }
        asked = await world.call("portfolio.rebalance", **args)
        assert asked.error is not None
        details: Any = asked.error["details"]
        done = await world.call("portfolio.rebalance", **args, confirm=details["confirm"])
        await asyncio.sleep(2)
        again = await world.call("portfolio.rebalance", **args, expires_at=1)
        looked = await world.call("portfolio.rebalance", targets=args["targets"])

        assert asked.code is Code.CONFIRM_REQUIRED
        (sent,) = result(done)["actions"]
        notional = D(details["effect"].pop("notional"))
        assert details["effect"] == {"orders": 1, "symbols": [BTC], "sides": {BTC: "buy"}}
        # The fee is paid out of the 10,000 as well.
        assert 9_980 < notional == D(sent["amount"]) * D(sent["price"]) < 10_000
        assert done.ok
        assert result(again)["status"] == "done"
        assert looked.ok
        viewer = await world.call("portfolio.rebalance", who=VIEWER, **args)
        assert viewer.code is Code.FORBIDDEN


async def test_two_symbols_need_hours_in_common() -> None:
    class Shifted(Charted):
        async def ohlcv(
            self, symbol: str, timeframe: str, since: int | None, limit: int
        ) -> Sequence[Bar]:
            bars = await super().ohlcv(symbol, timeframe, since, limit)
            return bars[:40] if symbol == BTC else bars[-40:]

    world = World()
    world.venue = Shifted(BTC=waves(60, 0.01, -0.01), ETH=waves(60, 0.02, -0.01))
    async with world.life():
        reply = await world.call("portfolio.allocate", symbols=[BTC, ETH], method="hrp")

        assert field_of(reply) == "symbols"


async def test_signals_repeated_after_a_restart_place_nothing_twice(tmp_path: Path) -> None:
    world = World(tmp_path / "journal.db")
    args: dict[str, Any] = {"signals": [signal()], "execute": True, "request_id": "r-1"}
    async with world.life():
        first = result(await world.call("portfolio.process_signals", **args))["actions"][0]
    async with world.life():
        again = result(await world.call("portfolio.process_signals", **args))["actions"][0]

        assert again["order"]["client_order_id"] == first["order"]["client_order_id"]
        assert again["order"]["duplicate"] is True
        assert len(world.venue.submitted) == 1


async def test_signals_of_many_symbols_let_others_have_their_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()
    combined: list[object] = []

    def counted(*args: Any) -> Combined:
        combined.append(args)
        return combine(*args)

    monkeypatch.setattr(allocation, "combine", counted)
    async with world.life():
        told = [signal(), signal(ETH)]
        turns: list[int] = []
        asked = world.start("portfolio.process_signals", signals=told)
        while not asked.done():
            turns.append(len(combined))
            await asyncio.sleep(0)

        assert (await asked).ok
        assert 1 in turns
