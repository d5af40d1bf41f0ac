"""The configuration over HTTP: paths of the original, and the channel's snapshot."""

import httpx

from tests.fakes import World


async def test_paths_of_the_original_read_and_change() -> None:
    world = World()
    async with world.life() as system:
        transport = httpx.ASGITransport(app=system.front)
        base = "http://127.0.0.1:8000"
        async with httpx.AsyncClient(transport=transport, base_url=base) as http:
            whole = await http.get("/api/config")
            changed = await http.post("/api/config", json={"patch": {"timezone": "Asia/Tokyo"}})
            weight = await http.put("/api/config/strategy/rsi/weight", json={"weight": 0.5})
            one = await http.get("/api/config/strategy/rsi")
            likely = await http.put(
                "/api/config/probability", json={"patch": {"confidence_threshold_buy": 2}}
            )
            snapshot = await http.get("/api/snapshot", params={"channel": "config"})
            cache = await http.get("/api/monitoring/cache")
            monitoring = await http.get("/api/snapshot", params={"channel": "monitoring"})

        assert whole.json()["result"]["version"] == 1
        assert changed.json()["result"]["version"] == 2
        assert weight.json()["result"]["weights"]["rsi"] == 0.5
        assert one.json()["result"]["parameters"]["weight"] == 0.5
        assert likely.status_code == 422
        assert likely.json()["error"]["details"]["fields"][0]["field"] == (
            "probability.confidence_threshold_buy"
        )
        data = snapshot.json()["data"]
        assert (data["version"], data["by"]) == (3, "local")
        assert "strategies.rsi.weight" in data["changed"]
        assert data["config"]["timezone"] == "Asia/Tokyo"
        assert next(iter(data["config"])) == "strategy"
        assert [bot["id"] for bot in data["config"]["bots"]] == ["main"]
        assert cache.json()["result"]["total_entries"] == 0
        assert monitoring.json()["data"]["latency"]["loop_lag"]["samples"] >= 0
