"""What kind of account it is: the real ccxt clients against a server that answers all in one way."""

from collections.abc import Sequence
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from realtime.emulate.serving import serving
from realtime.venues.ccxt.exchange import Hooks, make, sending
from realtime.venues.ccxt.kinds import QUESTIONS, learn


KEYS = {
    "apiKey": "canary-key",
    "secret": "canary-secret",
    "password": "canary-word",
    "walletAddress": "0x" + "12" * 20,
    "privateKey": "0x" + "34" * 32,
}
REFUSED = {"code": "40084", "msg": "Account is not a unified one", "retCode": 0, "result": {}}


async def asked(
    exchange_id: str, answers: Sequence[Response], option: object = None
) -> tuple[list[Exception | None], Any, int]:
    """What each question came to, what ccxt has kept, and how many requests there were."""
    left, count = list(answers), 0

    async def answer(_: Request) -> Response:
        nonlocal count
        count += 1
        return left.pop(0) if len(left) > 1 else left[0]

    app = Starlette(routes=[Route("/{rest:path}", answer, methods=["GET", "POST"])])
    name = QUESTIONS[exchange_id].option
    came: list[Exception | None] = []
    async with serving(app) as endpoint:
        exchange = make(exchange_id, hooks=Hooks(), config=dict(KEYS), endpoint=endpoint)
        if option is not None:
            exchange.options[name] = option
        for _ in range(2):
            with sending() as sent:
                try:
                    await learn(exchange, sent)
                except Exception as error:  # noqa: BLE001 - ccxt is imported lazily
                    came.append(error)
                else:
                    came.append(None)
        await exchange.close()
    return came, exchange.options.get(name), count


def page() -> Response:
    return HTMLResponse("<html>Please wait</html>")


YES = {
    "bitget": JSONResponse({"code": "00000", "data": {}}),
    "bybit": JSONResponse(
        {"retCode": 0, "result": {"unifiedMarginStatus": 5, "uta": 1}, "time": 1}
    ),
    "gate": JSONResponse({"key": {"mode": 2}}),
    "hyperliquid": JSONResponse("unifiedAccount"),
    "kucoin": JSONResponse({"code": "200000", "data": {"selfAccountMode": "UNIFIED"}}),
}


@pytest.mark.parametrize("exchange_id", list(QUESTIONS))
async def test_a_failure_is_not_kept_for_a_no(exchange_id: str) -> None:
    pages = 1 if exchange_id != "bybit" else 2  # it asks two questions at a time
    came, kept, _ = await asked(exchange_id, [*(page() for _ in range(pages)), YES[exchange_id]])

    assert [type(error).__name__ for error in came] == ["BadResponse", "NoneType"]
    assert kept is True


async def test_a_refusal_is_a_no_where_the_exchange_says_it_so() -> None:
    came, kept, _ = await asked("bitget", [JSONResponse(REFUSED, 400)])
    assert (came, kept) == ([None, None], False)

    denied = JSONResponse({"code": "40006", "msg": "Invalid ACCESS_KEY"}, 400)
    came, kept, _ = await asked("bitget", [denied])
    assert [type(error).__name__ for error in came] == ["AuthenticationError"] * 2
    assert kept is None


async def test_what_is_known_is_not_asked() -> None:
    assert await asked("gate", [page()], option=False) == ([None, None], False, 0)
