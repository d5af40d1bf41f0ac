"""Risk over real HTTP, at the embedded exchange with its own history."""

import os
import signal
import threading
from pathlib import Path
from typing import Any

import httpx

from realtime.app import Outside
from realtime.serving import run
from realtime.settings import Settings
from tests.fakes import no_page


FLAT: dict[str, Any] = {"probability_buy": 0.8, "probability_sell": 0.1, "probability_hold": 0.1}
TRADE = {"symbol": "BTC/USDT", "side": "buy"}


def test_risk_is_asked_over_http(tmp_path: Path) -> None:
    seen: list[Any] = []

    def ask(told: dict[str, str]) -> None:
        def work() -> None:
            with httpx.Client(base_url=told["page"]) as http:
                score = FLAT | {"symbol": "BTCUSDT", "confidence": 0.9}
                seen.append(http.get("/api/risk/score", params=score).json())
                off = score | {"probability_hold": 0.2}
                seen.append(http.get("/api/risk/score", params=off).json())
                order = TRADE | {"type": "market", "amount": "0.001"}
                backed = order | {"probabilities": {"buy": 0.8, "sell": 0.1, "hold": 0.1}}
                seen.append(http.post("/api/risk/validate/order", json=backed).json())
                sized = TRADE | {"confidence": 0.9, "method": "kelly"}
                seen.append(http.post("/api/risk.position_size", json=sized).json())
                seen.append(http.post("/api/risk.probability", json=TRADE).json())
                levels = TRADE | {"method": "atr"}
                seen.append(http.post("/api/risk.stop_levels", json=levels).json())
                seen.append(http.get("/api/risk/assessment").json())
            os.kill(os.getpid(), signal.SIGTERM)

        threading.Thread(target=work).start()

    wanted = Settings(
        server={"port": 0},
        store={"path": str(tmp_path / "j.db"), "backup_hours": 0},
        log={"level": "critical"},
        paper={"latency_ms": 0, "symbols": ("BTC/USDT",), "flow_per_s": 5},
    )
    code, reason = run(wanted, Outside(page=no_page), ask)
    score, off, judged, sized, chances, levels, assessed = seen

    assert (code, reason) == (0, "")
    assert score["result"]["risk_level"] == "low"
    assert off["error"]["code"] == "invalid"
    assert off["error"]["details"]["fields"][0]["field"] == "probabilities"
    # The likeliest action's probability is the confidence where none is told.
    assert judged["result"]["probability_risk"] == 0.36
    assert judged["result"]["confidence_level"] == "high"
    assert judged["result"]["recommended_stop_loss"] is not None
    assert sized["result"]["factors"]["kelly"] >= 0
    assert chances["result"]["samples"] == 200
    assert 0 < chances["result"]["target_before_stop"] < 1
    assert levels["result"]["stop_loss"]["price"] is not None
    assert assessed["result"]["var_reason"] == "nothing is held"
