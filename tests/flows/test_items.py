"""The trading brain as a client sees it: items of the checklist over one real server and one plain WebSocket."""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.flows.plain import Plain, plainly
from tests.flows.process import Process, within_one_hour


D = Decimal
BTC, ETH = "BTC/USDT", "ETH/USDT"
HOUR_MS = 3_600_000
LAST_PLACES = D("0.00000003")
"""What a sum of worths may be off, each shown to eight places."""
BUILT_IN = {"ema_crossover", "rsi", "fvg", "sample", "donchian", "momentum"}
CLEAR = {"buy": 0.8, "sell": 0.1, "hold": 0.1}
"""What a strategy says that is sure: R = 1 - 0.9·0.8 with confidence 0.9, 1 - 0.8·0.8 with its own."""
FILE = """
timezone = "UTC"

[portfolio]
max_allocation = 0.7
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the operator."""
    folder = tmp_path_factory.mktemp("items")
    (folder / "config.toml").write_text(FILE)
    return folder


@pytest.fixture(scope="module")
def server(files: Path) -> Iterator[Process]:
    within_one_hour(45)
    with Process.serve(
        "",
        REALTIME_CONFIG__PATH=str(files / "config.toml"),
        REALTIME_BACKTESTS__PATH=str(files / "backtests"),
        REALTIME_BACKTESTS__WORKERS="1",
        REALTIME_STRATEGIES__PATH="",
    ) as made:
        yield made


@pytest.fixture(scope="module")
def plain(server: Process) -> Iterator[Plain]:
    with plainly(f"{server.socket}?client=items") as made:
        yield made


def week(plain: Plain) -> dict[str, Any]:
    """A backtest over a week of hours of the venue."""
    end = plain.welcome["ts"] // HOUR_MS * HOUR_MS
    return {
        "strategy": "ema_crossover",
        "parameters": {"fast_period": 3, "slow_period": 8},
        "symbol": BTC,
        "timeframe": "1h",
        "start": end - 7 * 24 * HOUR_MS,
        "end": end,
    }


def ended(plain: Plain, row: dict[str, Any]) -> dict[str, Any]:
    """Watch a backtest on its channel to its end."""
    channel = f"backtest:{row['id']}"
    plain.subscribe(channel)
    last: dict[str, Any] = plain.until(channel, lambda data: data["finished_ts"] is not None)
    assert last["status"] == "done", last["error"]
    return last


# --- the system -----------------------------------------------------------------------------------


def test_s1_s2_health_and_status_are_told_and_pushed(plain: Plain) -> None:
    plain.subscribe("status")
    shown = plain.until("status", bool)
    status = plain.ask("system.status")

    assert plain.ask("system.health")["ready"] is status["ready"] is True
    assert (status["status"], status["mode"], status["reasons"]) == ("ok", "paper", [])
    assert set(status["components"]) >= {"store", "journal", "engine", "hub", "venue:paper"}
    assert set(shown) == set(status)
    assert shown["started_ts"] == status["started_ts"]


# --- backtests ------------------------------------------------------------------------------------


def test_s13_strategies_that_can_be_tested(plain: Plain) -> None:
    tested = plain.ask("backtest.strategies")["strategies"]
    listed = plain.ask("strategy.list")["strategies"]

    assert {row["id"] for row in tested} == {row["id"] for row in listed} == BUILT_IN
    for row in tested:
        assert set(row["defaults"]) == set(row["parameters"]["properties"])
    weights = {row["id"]: row["weight"] for row in listed if row["enabled"]}
    assert sum(weights.values()) == pytest.approx(1)


def test_s14_s15_a_backtest_is_run_watched_and_read(plain: Plain) -> None:
    asked = plain.ask("backtest.run", **week(plain), request_id="s14")
    again = plain.ask("backtest.run", **week(plain), request_id="s14")
    seen = ended(plain, asked)
    row = plain.ask("backtest.get", backtest_id=asked["id"])
    rows = plain.ask("backtest.list")["backtests"]
    trades = plain.ask("backtest.trades", backtest_id=asked["id"], limit=500)["trades"]
    curve = plain.ask("backtest.equity", backtest_id=asked["id"])["equity"]

    assert (asked["status"], again["id"]) == ("queued", asked["id"])
    metrics = row["results"]["metrics"]
    assert seen["results"]["metrics"] == metrics
    assert len(trades) == metrics["total_trades"] > 0
    assert sum(trade["pnl"] for trade in trades) == pytest.approx(metrics["net_profit"])
    assert curve[-1][1] == pytest.approx(10_000 + metrics["net_profit"])
    assert asked["id"] in {one["id"] for one in rows}
    assert plain.refused("backtest.get", backtest_id="bt-none").startswith("not_found")
    wrong = week(plain) | {"strategy": "rsy", "parameters": {}}
    assert "did you mean rsi?" in plain.refused("backtest.run", **wrong)


def test_s16_a_search_shows_what_its_best_made_outside(plain: Plain) -> None:
    grid = {"fast_period": [3, 5], "slow_period": [10]}

    asked = plain.ask("backtest.optimize", **week(plain) | {"parameters": {}}, param_grid=grid)
    results = ended(plain, asked)["results"]

    assert results["tried"] == 2
    made = [one["in_sample_objective"] for one in results["ranking"]]
    known = [one for one in made if one is not None]
    assert known == sorted(known, reverse=True)
    for one in results["ranking"]:
        assert set(one["parameters"]) >= set(grid)
        assert set(one["in_sample"]) == set(one["out_of_sample"])


# --- configuration --------------------------------------------------------------------------------


def test_s17_s18_configuration_is_read_summed_up_and_changed(plain: Plain) -> None:
    plain.subscribe("config")
    before = plain.ask("config.get")
    patch = {"portfolio": {"max_allocation": 0.75}}

    changed = plain.ask("config.update", patch=patch, version=before["version"])
    stale = plain.refused("config.update", patch=patch, version=before["version"])
    shown = plain.until("config", lambda data: data["version"] == changed["version"])
    summary = plain.ask("config.summary")
    history = plain.ask("config.history")["versions"]

    assert before["config"]["portfolio"]["max_allocation"] == 0.7
    assert changed["changes"] == [{"path": "portfolio.max_allocation", "old": 0.7, "new": 0.75}]
    assert stale.startswith("conflict")
    assert shown["changed"] == ["portfolio.max_allocation"]
    assert shown["config"]["portfolio"]["max_allocation"] == 0.75
    assert summary["config_file"].endswith("config.toml")
    assert (summary["config_valid"], summary["validation_errors"]) == (True, [])
    assert summary["risk_management"]["max_position_size"] == 0.1
    assert (history[0]["by"], history[0]["changes"]) == ("local", changed["changes"])


def test_s19_s20_strategies_have_parameters_and_weights_that_sum_to_one(plain: Plain) -> None:
    table = plain.ask("config.strategies")
    set_ = plain.ask("config.strategy.set", name="rsi", params={"oversold": 25})
    got = plain.ask("config.strategy.get", name="rsi")
    weighed = plain.ask("config.strategy.set_weight", name="rsi", weight=0.5)
    alone = plain.refused("config.strategy.set_weight", name="rsi", weight=0.9, renormalize=False)
    back = plain.ask("config.rollback", version=table["version"])

    assert table["enabled_strategies"] == 3
    assert sum(
        row["weight"] for row in table["strategy_weights"] if row["enabled"]
    ) == pytest.approx(1)
    assert {"path": "strategies.rsi.oversold", "old": None, "new": 25} in set_["changes"]
    assert got["parameters"]["oversold"] == 25
    assert weighed["weights"]["rsi"] == 0.5
    assert sum(weighed["weights"].values()) == pytest.approx(1)
    assert alone.startswith("invalid")
    assert back["version"] > table["version"]
    assert plain.ask("config.strategies")["strategy_weights"] == table["strategy_weights"]
    assert plain.refused("config.strategy.get", name="rsy").startswith("not_found")


def test_s21_s22_thresholds_are_set_and_mistakes_named_by_their_path(plain: Plain) -> None:
    set_ = plain.ask("config.probability.set", patch={"risk_score_threshold": 0.7})
    got = plain.ask("config.probability.get")
    good = plain.ask("config.validate")
    bad = plain.ask(
        "config.validate",
        candidate={"risk": {"max_leverage": 0}, "probability": {"confidence_threshold_buy": 2}},
    )
    plain.ask("config.probability.set", patch={"risk_score_threshold": 0.8})

    assert set_["probability_settings"] == got["probability_settings"]
    assert got["probability_settings"]["risk_score_threshold"] == 0.7
    assert got["risk_config"] == {"min_signal_confidence": 0.6, "probability_weight": 0.5}
    assert good == {"valid": True, "errors": [], "error_count": 0}
    assert {error["path"] for error in bad["errors"]} == {
        "risk.max_leverage",
        "probability.confidence_threshold_buy",
    }


def test_s23_the_file_is_read_again_and_a_broken_one_changes_nothing(
    plain: Plain, files: Path
) -> None:
    file = files / "config.toml"
    file.write_text(FILE.replace("0.7", "0.6"))
    read = plain.ask("config.reload")
    file.write_text(FILE.replace("0.7", "70"))
    broken = plain.call("config.reload")
    now = plain.ask("config.get", section="portfolio")
    file.write_text(FILE)

    assert (read["changed"], read["config_valid"]) == (True, True)
    assert now["version"] == read["version"]
    assert now["config"]["portfolio"]["max_allocation"] == 0.6
    assert "portfolio.max_allocation" in str(broken)


# --- bots -----------------------------------------------------------------------------------------


def test_s26_to_s30_a_bot_trades_and_is_controlled(plain: Plain) -> None:
    uses = {"sample": {"params": {"indicator_value": 1}}}
    patch = {"timeframe": "1h", "symbols": [BTC], "strategies": uses}
    plain.ask("bot.configure", bot_id="b", patch=patch)
    plain.subscribe("bots", "bot:b", "signals?bot_id=b", "orders", "fills")

    valid = plain.ask("bot.validate", bot_id="b")
    started = plain.ask("bot.start", bot_id="b")
    (row,) = plain.ask("bot.run_once", bot_id="b", request_id="s30")["decisions"]
    (signal,) = plain.until("signals?bot_id=b", bool)
    entry = plain.ask("order.get", order_id=row["order_id"])
    legs = [leg for leg in plain.ask("order.list", bot_id="b")["orders"] if leg["parent_id"]]
    status = plain.ask("bot.status", bot_id="b")
    listed = {bot["id"]: bot for bot in plain.ask("bot.list")["bots"]}
    health = plain.ask("bot.health", bot_id="b")
    paused = plain.ask("bot.pause", bot_id="b")
    resumed = plain.ask("bot.resume", bot_id="b")
    told = plain.ask("bot.decisions", bot_id="b")["decisions"]
    reset = plain.ask("bot.reset_metrics", bot_id="b")
    halted = plain.ask("bot.emergency_stop", bot_id="b", flatten=True, reason="drill")
    barred = plain.refused("bot.start", bot_id="b")
    rearmed = plain.ask("bot.rearm", bot_id="b")
    plain.ask("bot.start", bot_id="b")
    stopped = plain.ask("bot.stop", bot_id="b")
    gone = plain.until("bots", lambda data: "halted" in {r["state"] for r in data.get("set", [])})

    assert (valid["status"], valid["errors"]) == ("valid", [])
    assert started["state"] in {"starting", "running"}
    assert (row["skipped_reason"], row["market_ok"]) == (None, True)
    assert row["combined"]["probabilities"] == {"buy": 0.7, "sell": 0.1, "hold": 0.2}
    assert signal["id"] == row["id"]
    assert signal["order_id"] == entry["id"]
    assert (entry["status"], entry["source"], entry["bot_id"]) == ("filled", "bot", "b")
    assert D(entry["amount"]) == D(row["size"]["amount"])
    assert {leg["role"] for leg in legs} == {"stop_loss", "take_profit"}
    assert status["cycle_count"] == listed["b"]["cycle_count"] == 1
    assert status["positions"][0]["symbol"] == BTC
    assert status["trading_window"]["trades_today"] == 1
    assert health["status"] == "healthy"
    assert (paused["state"], resumed["state"]) == ("paused", "running")
    assert [one["id"] for one in told] == [row["id"]]
    assert (reset["cycle_count"], reset["performance"]["total_cycles"]) == (0, 0)
    assert (halted["state"], halted["bots"]) == ("halted", ["b"])
    assert barred.startswith(("halted", "conflict"))
    assert rearmed["state"] == stopped["state"] == "stopped"
    assert gone["set"][0]["id"] == "b"
    fills = plain.ask("fill.list", symbol=BTC)["fills"]
    assert {fill["side"] for fill in fills if fill["bot_id"] == "b"} >= {"buy"}


def test_s61_a_window_closes_a_bot_and_is_shown_with_it(plain: Plain) -> None:
    uses = {"sample": {"params": {"indicator_value": 1}}}
    plain.ask("bot.configure", bot_id="w", patch={"timeframe": "1h", "strategies": uses})
    now = plain.welcome["ts"]
    black = {"from_ts": now - HOUR_MS, "to_ts": now + HOUR_MS, "reason": "maintenance"}

    set_ = plain.ask("trading_window.set", bot_id="w", patch={"blackouts": [black]})
    got = plain.ask("trading_window.get", bot_id="w")
    plain.subscribe("bot:w")
    shown = plain.until("bot:w", lambda data: not data["trading_window"]["can_trade"])
    (row,) = plain.ask("bot.run_once", bot_id="w")["decisions"]
    ours = plain.ask("trading_window.get")

    assert set_["state"] == got["state"]
    assert (got["state"]["within_window"], got["state"]["next_open_ts"]) == (
        False,
        black["to_ts"],
    )
    assert shown["trading_window"]["max_trades_per_day"] == 5
    assert (row["skipped_reason"], row["order_id"]) == ("window", None)
    assert ours["state"]["can_trade"] is True


# --- indicators and monitoring --------------------------------------------------------------------


def test_s38_a_market_is_looked_at_as_a_whole_and_checked(plain: Plain) -> None:
    row = plain.ask("market.context", symbol=BTC, timeframe="1m", limit=50)
    assert len(row["ohlcv"]) == row["quality"]["ohlcv_rows"] == 50
    assert row["price"] == row["ohlcv"][-1][4]
    assert D(row["best_ask"]) - D(row["best_bid"]) == D(row["spread"]) > 0
    assert row["spread_fraction"] == pytest.approx(float(D(row["spread"]) / D(row["best_ask"])))
    assert row["volatility_annual"] == pytest.approx(row["volatility"] * 525_600**0.5)
    assert row["market_cap"] is None
    assert 0 <= row["quality"]["ohlcv_age_ms"] < 120_000

    told = plain.ask("market.check", symbol=BTC, timeframe="1m")
    assert (told["valid"], told["reasons"]) == (True, [])
    assert [check["name"] for check in told["checks"]] == [
        "max_spread",
        "max_volatility",
        "min_depth_quote",
        "min_volume_24h_quote",
        "max_staleness_ms",
        "market_active",
        "exchange_status",
    ]
    narrow = {"market_checks": {"max_spread": 0}}
    version = plain.ask("config.get")["version"]
    plain.ask("config.update", patch=narrow, version=version)
    told = plain.ask("market.check", symbol=BTC)
    assert (told["valid"], told["reasons"]) == (False, ["max_spread"])
    plain.ask("config.rollback", version=version)


def test_s39_gaps_are_found_and_told_live(plain: Plain) -> None:
    bars = [
        {"open": 10, "high": 11, "low": 9, "close": 10.5},
        {"open": 11, "high": 14, "low": 10.5, "close": 13.5},
        {"open": 13.5, "high": 15, "low": 12, "close": 14},
    ]
    channel = f"indicators:{BTC}?name=fvg&timeframe=1m"

    (zone,) = plain.ask("indicator.fvg", data=bars)["zones"]
    found = plain.ask("indicator.fvg", symbol=BTC, timeframe="1m", limit=200)
    plain.subscribe(channel)
    live = plain.until(channel, lambda data: data["zones"])

    assert (zone["direction"], zone["gap_low"], zone["gap_high"]) == ("bullish", 11.0, 12.0)
    assert zone["status"] == "open"
    assert found["bars"] == 200
    assert all(one["gap_high"] > one["gap_low"] for one in found["zones"] + live["zones"])
    assert (live["symbol"], live["timeframe"]) == (BTC, "1m")


def test_s41_s76_the_server_counts_what_it_does(plain: Plain, server: Process) -> None:
    plain.subscribe("monitoring")
    shown = plain.until("monitoring", bool)
    metrics = plain.ask("monitoring.metrics")
    plain.ask("order.place", symbol=ETH, side="buy", type="market", amount="0.02")
    after = plain.ask("monitoring.metrics")
    cache = plain.ask("monitoring.cache")
    latency = plain.ask("monitoring.latency")
    with httpx.Client(base_url=server.http) as http:
        ready, health = http.get("/readyz"), http.get("/healthz")

    assert set(shown) == {"ts", "latency", "metrics", "cache", "connections"}
    assert after["orders"]["fills"] > metrics["orders"]["fills"]
    assert after["orders"]["calls"] > metrics["orders"]["calls"]
    assert cache["strategies"]["markets"] == 7200
    assert latency["order_to_ack"]["samples"] >= 1
    assert (ready.status_code, health.status_code) == (200, 200)


# --- risk -----------------------------------------------------------------------------------------


def test_s43_s49_the_account_is_assessed(plain: Plain) -> None:
    plain.ask("order.place", symbol=ETH, side="buy", type="market", amount="0.02")
    plain.subscribe("risk")
    shown = plain.until("risk", lambda data: ETH in {row["symbol"] for row in data["positions"]})
    found = plain.ask("risk.assessment")

    assert found["risk_level"] == shown["risk_level"] == "low"
    gross = sum(D(row["notional"]) for row in found["positions"])
    assert abs(D(found["gross_exposure"]) - gross) <= LAST_PLACES
    assert found["leverage"] == pytest.approx(float(gross / D(found["equity"])))
    parts = [found[f"{name}_risk"] for name in ("positions", "orders", "exposure", "loss")]
    assert found["total_risk_score"] == pytest.approx(max(parts) / 2 + sum(parts) / 8)
    assert all(0 <= row["risk_score"] <= 1 for row in found["positions"])


def test_s44_an_order_is_judged_with_and_without_probabilities_and_the_gate_agrees(
    plain: Plain,
) -> None:
    order = {"symbol": ETH, "side": "buy", "type": "market", "amount": "0.01"}
    doubtful = order | {"probabilities": {"buy": 0.3, "sell": 0.4, "hold": 0.3}}

    bare = plain.ask("risk.validate_order", **order)
    backed = plain.ask("risk.validate_order", **order, probabilities=CLEAR)
    judged = plain.ask("risk.validate_order", **doubtful)
    refused = plain.call("order.place", **doubtful)
    placed = plain.ask("order.place", **order, probabilities=CLEAR)

    assert (bare["valid"], bare["probability_risk"]) == (True, None)
    assert backed["probability_risk"] == pytest.approx(1 - 0.8 * 0.8)
    assert backed["confidence_level"] == "high"
    assert D(backed["recommended_stop_loss"]) < D(backed["recommended_take_profit"])
    assert judged["valid"] is False
    assert refused["error"]["code"] == "risk_rejected"
    assert refused["error"]["details"]["rule"] in judged["failed"]
    assert placed["status"] == "filled"


def test_s45_s47_a_signal_is_scored_and_its_chances_told(plain: Plain) -> None:
    said = {f"probability_{name}": value for name, value in CLEAR.items()}

    score = plain.ask("risk.score", symbol=BTC, confidence=0.9, **said)
    off = plain.refused("risk.score", symbol=BTC, confidence=0.9, **said | {"probability_buy": 1})
    chances = plain.ask("risk.probability", symbol=BTC, side="buy")

    assert score["risk_score"] == pytest.approx(1 - 0.9 * 0.8)
    assert score["risk_level"] == "low"
    assert off.startswith("invalid")
    assert chances["samples"] == 200
    assert 0 < chances["target_before_stop"] < 1
    assert 0 < chances["p_up"] < 1
    assert [bucket["hit_rate"] for bucket in chances["calibration"]] == [None] * 10


def test_s46_s50_stops_and_sizes_follow_the_probabilities(plain: Plain) -> None:
    levels = plain.ask("risk.stop_levels", symbol=BTC, side="buy", probabilities=CLEAR)
    bare = plain.ask("risk.stop_levels", symbol=BTC, side="buy")
    size = plain.ask(
        "risk.position_size", symbol=ETH, side="buy", confidence=0.8, probabilities=CLEAR
    )
    assessed = plain.ask("risk.assessment")

    risk = 1 - 0.8 * 0.8
    assert levels["stop_loss"]["adjusted"] == pytest.approx(0.02 * (1 - 0.3 * risk))
    assert levels["take_profit"]["adjusted"] == pytest.approx(0.04 * (1 + 0.5 * 0.8))
    assert (bare["stop_loss"]["adjusted"], bare["take_profit"]["adjusted"]) == (0.02, 0.04)
    assert D(levels["stop_loss"]["price"]) > D(bare["stop_loss"]["price"])
    # max_position_size · c · (c·(1 - w) + |p_buy - p_sell|·w), then loss and room.
    factors = size["factors"]
    assert factors["probability"] == pytest.approx(0.8 * 0.5 + 0.7 * 0.5)
    share = 0.1 * 0.8 * factors["probability"] * factors["loss"] * factors["room"]
    assert float(size["notional"]) <= share * float(assessed["equity"]) * 1.001
    assert size["gate"]["valid"] is True


def test_s51_s52_parameters_change_by_version_and_the_day_is_told(plain: Plain) -> None:
    before = plain.ask("risk.params.get")

    tighter = plain.ask(
        "risk.params.set", patch={"max_open_positions": 4}, version=before["version"]
    )
    stale = plain.refused(
        "risk.params.set", patch={"max_open_positions": 3}, version=before["version"]
    )
    wrong = plain.refused("risk.params.set", patch={"min_signal_confidence": 2})
    section = plain.ask("config.get", section="risk")["config"]["risk"]
    plain.ask("risk.params.set", patch={"max_open_positions": 5}, version=tighter["version"])
    day = plain.ask("risk.daily_pnl")

    assert (before["max_open_positions"], before["min_signal_confidence"]) == (5, "0.6")
    assert tighter["max_open_positions"] == section["max_open_positions"] == 4
    assert stale.startswith("conflict")
    assert "min_signal_confidence" in wrong
    assert (day["equity_start"], day["tz"]) == ("10000", "UTC")


# --- portfolio ------------------------------------------------------------------------------------


def opinion(source: str, buy: float, sell: float, confidence: float) -> dict[str, Any]:
    said = {"buy": buy, "sell": sell, "hold": round(1 - buy - sell, 9)}
    return {
        "symbol": BTC,
        "signal_type": max(said, key=lambda name: said[name]),
        "strength": 0.8,
        "confidence": confidence,
        "source": source,
        "indicators": {f"probability_{name}": value for name, value in said.items()},
    }


def test_s48_s54_opinions_are_combined_by_their_weights(plain: Plain) -> None:
    weights = {
        row["strategy_name"]: row["effective_weight"]
        for row in plain.ask("portfolio.weights.get")["weights"]
    }
    told = [opinion("ema_crossover", 0.8, 0.1, 0.9), opinion("rsi", 0.2, 0.5, 0.7)]

    found = plain.ask("portfolio.process_signals", signals=told)

    one, two = weights["ema_crossover"], weights["rsi"]
    combined = found["combined"][BTC]
    assert combined["probabilities"]["buy"] == pytest.approx((0.8 * one + 0.2 * two) / (one + two))
    assert combined["confidence"] == pytest.approx((0.9 * one + 0.7 * two) / (one + two))
    assert set(combined["metadata"]["strategies_used"]) == {"ema_crossover", "rsi"}
    (action,) = found["actions"]
    assert (action["symbol"], action["action"]) == (BTC, combined["action"])
    assert {"should_execute", "reason", "position_size", "price"} <= set(action)
    analyzed = plain.ask("strategy.analyze", symbol=BTC, timeframe="1m")
    assert set(analyzed["individual_signals"]) == {"ema_crossover", "rsi", "fvg"}
    assert sum(analyzed["combined_signal"]["probabilities"].values()) == pytest.approx(1)


def test_s53_capital_is_allocated_by_risk_profile(plain: Plain) -> None:
    def shared(profile: str) -> dict[str, Any]:
        return plain.ask(
            "portfolio.allocate",
            symbols=[BTC, ETH],
            method="equal",
            risk_profile=profile,
            max_allocation=0.2,
        )

    careful, bold = shared("conservative"), shared("aggressive")

    for found, factor in ((careful, 0.5), (bold, 1.0)):
        assert sum(row["share"] for row in found["allocations"]) == pytest.approx(1)
        for row in found["allocations"]:
            assert row["weight"] == pytest.approx(min(row["share"] * 0.2 * factor, 0.1))
        weights = sum(row["weight"] for row in found["allocations"])
        assert found["cash_weight"] == pytest.approx(1 - weights)


def test_s55_the_portfolio_has_a_status_and_a_spread(plain: Plain) -> None:
    for symbol, amount in ((BTC, "0.001"), (ETH, "0.02")):
        plain.ask("order.place", symbol=symbol, side="buy", type="market", amount=amount)
    plain.subscribe("portfolio")
    shown = plain.until("portfolio", lambda data: data["position_count"] >= 2)
    status = plain.ask("portfolio.status")
    spread = plain.ask("portfolio.diversification", days=2)

    held = {row["symbol"] for row in status["positions"]}
    assert held == {row["symbol"] for row in shown["positions"]} == {BTC, ETH}
    worth = sum(D(row["market_value"]) for row in status["positions"])
    assert abs(D(status["total_value"]) - D(status["cash"]) - worth) <= LAST_PLACES
    weights = [float(D(row["market_value"]) / worth) for row in status["positions"]]
    hhi = sum(weight * weight for weight in weights)
    assert spread["hhi"] == pytest.approx(hhi, rel=0.01)
    assert spread["effective_positions"] == pytest.approx(1 / spread["hhi"])
    matrix = spread["correlation"]["matrix"]
    assert matrix[0][0] == matrix[1][1] == 1
    assert -1 <= matrix[0][1] == matrix[1][0] <= 1


def test_s56_a_rebalance_is_planned_carried_out_and_not_repeated(plain: Plain) -> None:
    wanted = {"targets": [{"symbol": ETH, "weight": 0.05}], "plan_id": "s56"}

    planned = plain.ask("portfolio.rebalance", targets=wanted["targets"])
    begun = plain.ask("portfolio.rebalance", **wanted, dry_run=False)
    (sent,) = (row["client_order_id"] for row in begun["actions"] if row["action"] != "hold")
    plain.subscribe("orders")
    plain.until(
        "orders",
        lambda data: (
            (sent, "filled")
            in {(row["client_order_id"], row["status"]) for row in data.get("set", [])}
        ),
    )
    again = plain.ask("portfolio.rebalance", **wanted, dry_run=False)
    (position,) = (
        row for row in plain.ask("portfolio.status")["positions"] if row["symbol"] == ETH
    )

    (action,) = (row for row in planned["actions"] if row["symbol"] == ETH)
    assert (planned["status"], planned["dry_run"], action["action"]) == ("planned", True, "buy")
    assert action["difference"] == pytest.approx(0.05 - action["current_weight"])
    assert again["duplicate"] is True
    assert again["progress"]["orders"] == begun["progress"]["orders"] == 1
    total = D(plain.ask("portfolio.status")["total_value"])
    assert float(D(position["market_value"]) / total) == pytest.approx(0.05, abs=0.002)


def test_s57_arguments_are_models_that_name_the_field(plain: Plain) -> None:
    wrong: dict[str, dict[str, Any]] = {
        "portfolio.allocate": {"symbols": [BTC], "risk_profile": "bold"},
        "portfolio.process_signals": {"signals": [opinion("rsi", 0.8, 0.1, 1.5)]},
        "portfolio.rebalance": {"targets": [{"symbol": BTC, "weight": 2}]},
        "risk.position_size": {"symbol": BTC, "side": "buy", "confidence": 2},
        "risk.stop_levels": {"symbol": BTC, "side": "up"},
    }

    fields = {
        op: plain.call(op, **args)["error"]["details"]["fields"] for op, args in wrong.items()
    }

    assert {op: found[0]["field"] for op, found in fields.items()} == {
        "portfolio.allocate": "risk_profile",
        "portfolio.process_signals": "signals.0.confidence",
        "portfolio.rebalance": "targets.0.weight",
        "risk.position_size": "confidence",
        "risk.stop_levels": "side",
    }


def test_s58_s59_s60_the_portfolio_is_valued_its_past_judged_and_a_trade_checked(
    plain: Plain,
) -> None:
    plain.ask("order.place", symbol=BTC, side="buy", type="market", amount="0.001")
    snapshot = plain.ask("portfolio.snapshot")
    performance = plain.ask("portfolio.performance", timeframe="24h")["performance"]
    history = plain.ask("portfolio.equity_history")["equity"]
    small = plain.ask("portfolio.validate_trade", symbol=BTC, amount="0.01", trade_type="buy")
    large = plain.ask("portfolio.validate_trade", symbol=BTC, amount="1", trade_type="buy")
    other = plain.refused("portfolio.validate_trade", symbol=BTC, amount="1", trade_type="short")

    worth = sum(D(row["market_value"]) for row in snapshot["positions"])
    assert abs(D(snapshot["total_value"]) - D(snapshot["cash"]) - worth) <= LAST_PLACES
    assert snapshot["market_data_quality"] == "high"
    assert [figure["name"] for figure in performance] == [
        "return",
        "volatility",
        "sharpe",
        "max_drawdown",
    ]
    assert [figure["reason"] for figure in performance if figure["value"] is None].count(
        "insufficient_samples"
    ) >= 2
    assert all(drawdown >= 0 for _ts, _equity, drawdown in history)
    assert (small["is_valid"], large["is_valid"]) == (True, False)
    assert D(small["required_balance"]) < D(small["available_balance"])
    assert D(small["max_trade_size"]) < 1
    assert other.startswith("invalid")
