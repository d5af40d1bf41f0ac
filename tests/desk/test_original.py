"""The original's configuration, read into ours."""

from decimal import Decimal
from typing import Any

from realtime.desk.config.original import read
from tests.fakes import World


ORIGINAL: dict[str, Any] = {
    "strategy": {"symbol": "BTC/USDT", "timeframe": "5m", "ema_fast": 10, "color": "red"},
    "trading_window": {"start_hour": 7, "end_hour": 22, "max_trades_per_day": 4},
    "risk": {
        "stop_loss_percent": 2.1,
        "take_profit_percent": 4,
        "max_daily_loss": 2.5,
        "max_leverage": 3.0,
        "lookback": 7,
        "bogus": 1,
    },
    "notifications": {"email_enabled": False, "receiver": "a@b.c", "password": "hush"},
    "portfolio_strategies": {
        "ema_crossover": {"enabled": True, "weight": 0.5},
        "rsi": {"enabled": True, "weight": 0.3, "overbought": 75},
        "fvg": {"enabled": True, "weight": 0.2, "lookback": 5},
        "odd": 7,
    },
    "fvg_strategy": {"lookback": 9, "min_gap_size": 0.5},
    "probability_settings": {"confidence_threshold_buy": 0.75, "unknown": 1},
    "metadata": {"author": "x"},
    "version": 3,
}


def test_percentages_become_fractions_and_sections_find_their_place() -> None:
    made = read(ORIGINAL)

    assert made.patch["risk"] == {
        "stop_loss_fraction": "0.021",
        "take_profit_fraction": "0.04",
        "max_daily_loss": "0.025",
        "max_leverage": 3.0,
        "lookback": 7,
    }
    assert made.patch["strategies"]["fvg"] == {
        "enabled": True,
        "weight": 0.2,
        "lookback": 5,
        "min_gap_size": 0.5,
    }
    assert made.patch["probability"] == {"confidence_threshold_buy": 0.75}
    assert made.dropped == {
        "strategy.color": "has no place here",
        "risk.bogus": "has no place here",
        "notifications.password": "is a secret: give it in the environment",
        "portfolio_strategies.odd": "is no section",
        "probability_settings.unknown": "has no place here",
        "metadata": "has no place here",
        "version": "has no place here",
    }


def test_upper_case_keys_mean_the_same_and_give_way_to_sections() -> None:
    made = read(
        {
            "SYMBOL": "ETH/USDT",
            "EMA_FAST": 9,
            "TRADING_START_HOUR": 3,
            "STOP_LOSS_PERCENT": "2",
            "MAX_DAILY_LOSS": 3,
            "EMAIL_PASSWORD": "hush",
            "strategy": {"symbol": "BTC/USDT"},
            "risk": {"max_trades_per_day": 2},
            "probability": {"risk_score_threshold": None},
        }
    )

    assert made.patch == {
        "strategy": {"symbol": "BTC/USDT", "ema_fast": 9},
        "trading_window": {"start_hour": 3, "max_trades_per_day": 2},
        "risk": {"max_daily_loss": "0.03"},
    }
    assert made.dropped["risk.stop_loss_percent"] == "is no number"
    assert "secret" in made.dropped["notifications.password"]


async def test_what_was_imported_is_a_patch_the_server_takes() -> None:
    world = World()
    async with world.life() as system:
        reply = await world.call("config.update", patch=read(ORIGINAL).patch)

        assert reply.ok, reply.error
        assert system.desk.engine.limits.stop_loss_fraction == Decimal("0.021")
        assert system.book.current.trading_window.max_trades_per_day == 4
        assert system.book.parameters("rsi")["overbought"] == 75
