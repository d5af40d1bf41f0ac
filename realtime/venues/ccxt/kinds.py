"""What kind of account a key has, where ccxt asks the exchange: unified or not.

ccxt asks before the first question that depends on it, takes a failure for a no and keeps the no: one page in place of an
answer, and the account is asked for the wrong wallets until the process ends. So we ask first, and keep only answers.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from realtime.venues.ccxt.exchange import Sent


class Question(NamedTuple):
    """How ccxt asks.

    Attributes:
        method: Of the exchange.
        args: Its arguments.
        option: Where ccxt keeps the answer, or what a user has set.
        refused: Whether the exchange says no by refusing the question.
    """

    method: str
    args: tuple[object, ...]
    option: str
    refused: bool = False


# Source: ccxt 4.5.90, the methods named here.
QUESTIONS: Final[Mapping[str, Question]] = {
    "bitget": Question("handle_uta_and_params", ({}, "fetchBalance"), "uta", refused=True),
    "bybit": Question("is_unified_enabled", (), "enableUnifiedAccount"),
    "gate": Question("load_unified_status", (), "unifiedAccount"),
    "hyperliquid": Question("is_unified_enabled", ("fetchBalance",), "enableUnifiedMargin"),
    "kucoin": Question("is_uta_enabled", (), "uta"),
}


async def learn(exchange: Any, sent: Sent) -> None:
    """Ask what kind of account it is, unless it is known; raises what the question has failed with.

    Args:
        exchange: As of `make`, with a key.
        sent: Of the `sending` around it.
    """
    question = QUESTIONS.get(exchange.id)
    if question is None or exchange.options.get(question.option) is not None:
        return
    # `errors` is there: `make` has imported it.
    from ccxt.base.errors import (  # noqa: PLC0415
        AuthenticationError,
        ExchangeError,
        OperationFailed,
    )

    before = sent.error
    await getattr(exchange, question.method)(*question.args)
    error = None if sent.error is before else sent.error
    said_no = isinstance(error, ExchangeError) and not isinstance(
        error, (AuthenticationError, OperationFailed)
    )
    if error is not None and not (question.refused and said_no):
        exchange.options[question.option] = None
        raise error
