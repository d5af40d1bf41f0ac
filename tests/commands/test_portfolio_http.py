"""The portfolio over real HTTP, at the embedded exchange with its own history."""

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from realtime.app import Outside
from realtime.serving import run
from realtime.settings import Settings
from tests.fakes import no_page


BOTH = ["BTC/USDT", "ETH/USDT"]


@pytest.mark.slow
def test_a_portfolio_is_allocated_and_rebalanced_over_http(tmp_path: Path) -> None:
    seen: dict[str, Any] = {}

    def ask(told: dict[str, str]) -> None:
        def work() -> None:
            with httpx.Client(base_url=told["page"], timeout=30) as http:

                def post(name: str, path: str, **args: Any) -> dict[str, Any]:
                    seen[name] = http.post(path, json=args).json()
                    return seen[name]["result"]  # type: ignore[no-any-return]

                spread = post("allocate", "/api/portfolio/allocate", symbols=BOTH, method="hrp")
                targets = [{"symbol": a["symbol"], "weight": 0.04} for a in spread["allocations"]]
                post("look", "/api/portfolio/rebalance", targets=targets)
                go: dict[str, Any] = {"targets": targets, "plan_id": "p1", "dry_run": False}
                plan = post("go", "/api/portfolio/rebalance", **go)
                for _ in range(100):
                    if plan["status"] != "running":
                        break
                    time.sleep(0.1)
                    plan = post("again", "/api/portfolio/rebalance", **go)
                trade = {"symbol": "BTC/USDT", "amount": "0.01", "trade_type": "buy"}
                post("trade", "/api/portfolio/live/validate-trade", **trade)
                seen["status"] = http.get("/api/portfolio/status").json()
                window = {"timeframe": "24h"}
                path = "/api/portfolio/live/performance"
                seen["performance"] = http.get(path, params=window).json()
                post("spread", "/api/portfolio.diversification")
            os.kill(os.getpid(), signal.SIGTERM)

        threading.Thread(target=work).start()

    wanted = Settings(
        server={"port": 0},
        store={"path": str(tmp_path / "j.db"), "backup_hours": 0},
        log={"level": "critical"},
        paper={"latency_ms": 0, "symbols": tuple(BOTH), "flow_per_s": 5},
    )
    code, reason = run(wanted, Outside(page=no_page), ask)

    assert (code, reason) == (0, "")
    shares = [a["share"] for a in seen["allocate"]["result"]["allocations"]]
    assert abs(sum(shares) - 1) < 1e-9
    assert seen["look"]["result"]["status"] == "planned"
    assert seen["again"]["result"]["status"] == "done"
    assert [a["status"] for a in seen["again"]["result"]["actions"]] == ["filled", "filled"]
    assert seen["again"]["result"]["duplicate"] is True
    assert seen["trade"]["result"]["is_valid"] is True
    assert seen["status"]["result"]["position_count"] == 2
    names = [figure["name"] for figure in seen["performance"]["result"]["performance"]]
    assert names == ["return", "volatility", "sharpe", "max_drawdown"]
    matrix = seen["spread"]["result"]["correlation"]["matrix"]
    assert matrix[0][0] == 1
    assert -1 <= matrix[0][1] == matrix[1][0] <= 1
