"""What a key may do, where its exchange tells: above all whether whoever steals it can withdraw.

Rules of this file: (1) only endpoints that read are named here; (2) an answer of another shape says nothing: None is
"not told", never "no".
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from realtime.model.errors import Failure, invalid
from realtime.venues.ccxt.account import SHOWN, Account
from realtime.venues.ccxt.calls import reading
from realtime.venues.ccxt.kin import kin
from realtime.venues.ccxt.way import Tell


@dataclass(frozen=True, slots=True, kw_only=True)
class Permissions:
    """What a key may do; None where the exchange does not tell.

    Attributes:
        trade: Place orders.
        withdraw: Send money away.
        bound: Used from certain addresses only.
    """

    trade: bool | None = None
    withdraw: bool | None = None
    bound: bool | None = None


AGAIN_S: Final = 300.0
"""Pause after a question that failed [s]."""
UNTOLD: Final = Permissions()
Reader = Callable[[Any], Permissions]


def _binance(answer: Any) -> Permissions:
    kinds = ("enableSpotAndMarginTrading", "enableFutures", "enableMargin")
    may = [answer[kind] for kind in kinds if isinstance(answer.get(kind), bool)]
    return Permissions(
        trade=any(may) if may else None,
        withdraw=_flag(answer.get("enableWithdrawals")),
        bound=_flag(answer.get("ipRestrict")),
    )


def _bybit(answer: Any) -> Permissions:
    result = answer["result"]
    granted = result["permissions"]
    trading = ("Spot", "ContractTrade", "Derivatives", "Options")
    addresses = result.get("ips")
    return Permissions(
        trade=_number(result.get("readOnly")) == 0 and any(granted.get(kind) for kind in trading),
        withdraw="Withdraw" in granted.get("Wallet", ()),
        bound=addresses != ["*"] if isinstance(addresses, list) and addresses else None,
    )


def _okx(answer: Any) -> Permissions:
    row = answer["data"][0]
    granted = row["perm"].split(",")
    return Permissions(
        trade="trade" in granted,
        withdraw="withdraw" in granted,
        bound=bool(row["ip"]) if "ip" in row else None,
    )


def _bitfinex(answer: Any) -> Permissions:
    writes = {scope: _number(write) == 1 for scope, _read, write, *_ in answer}
    return Permissions(trade=writes.get("orders"), withdraw=writes.get("withdraw"))


def _kucoin(answer: Any) -> Permissions:
    row = answer["data"]
    granted = {part.strip().lower() for part in row["permission"].split(",")}
    return Permissions(
        trade=bool(granted & {"trade", "spot", "futures", "unified"}),
        withdraw=bool(granted & {"withdraw", "withdrawal", "transfer"}),
        bound=bool(row["ipWhitelist"]) if "ipWhitelist" in row else None,
    )


def _kraken(answer: Any) -> Permissions:
    granted = [str(part).lower() for part in answer["result"]["permissions"]]
    return Permissions(
        trade=any("trade" in part or "modify" in part for part in granted),
        withdraw=any("withdraw" in part for part in granted),
    )


READERS: Final[Mapping[str, tuple[str, Reader]]] = {
    "binance": ("sapi_get_account_apirestrictions", _binance),
    "binanceusdm": ("sapi_get_account_apirestrictions", _binance),
    "binancecoinm": ("sapi_get_account_apirestrictions", _binance),
    "bybit": ("private_get_v5_user_query_api", _bybit),
    "okx": ("private_get_account_config", _okx),
    "bitfinex": ("private_post_auth_r_permissions", _bitfinex),
    "kucoin": ("private_get_user_api_key", _kucoin),
    "kraken": ("private_post_getapikeyinfo", _kraken),
}
"""ccxt's name of the endpoint that tells, and how it is read, by exchange."""


async def permissions(exchange: Any, name: str) -> Permissions:
    """Ask what the key may do.

    Args:
        exchange: An instance of ccxt's with the key.
        name: The account, for people.

    Returns:
        What was told; all None where the exchange has no such endpoint, or answered in another shape.

    Raises:
        VenueUnknown: The question failed.
    """
    known = READERS.get(kin(exchange.id))
    if known is None:
        return UNTOLD
    endpoint, read = known
    answer = await reading(getattr(exchange, endpoint), name)
    try:
        return read(answer)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError):
        return UNTOLD


def check(account: Account, found: Permissions) -> None:
    """Refuse to trade for real with a key that can withdraw, unless the operator has named it (reliability document, 5.1).

    Args:
        account: Whose key.
        found: What it may do; what is not told refuses nothing, nor does a key of a test site.

    Raises:
        Refused: `invalid`, with the setting to change.
    """
    if found.withdraw and not account.sandbox and not account.may_withdraw:
        raise invalid(
            "allow_withdrawal_key",
            f"{says_withdraw(account.id, account.key.masked)}; or name it by its last {SHOWN} characters here",
        )


async def vet(
    exchange: Any, account: Account, tell: Tell, sleep: Callable[[float], Awaitable[None]]
) -> None:
    """Ask what the key may do until it is told, and raise alerts.

    Args:
        exchange: An instance of ccxt's with the key.
        account: Whose key.
        tell: Takes alerts.
        sleep: Waits for seconds.
    """
    while True:
        try:
            found = await permissions(exchange, account.id)
        except Failure:
            await sleep(AGAIN_S)
        else:
            warn(account.id, account.key.masked, found, tell)
            return


def warn(name: str, key: str, found: Permissions, tell: Tell) -> None:
    """Raise alerts about a key that may do more, or less, than trading needs.

    Args:
        name: The account.
        key: The key, masked.
        found: What it may do.
        tell: Takes alerts.
    """
    data = {"venue": name, "key": key}
    if found.withdraw:
        tell("warning", "key_can_withdraw", says_withdraw(name, key), data)
    if found.trade is False:
        tell("warning", "key_cannot_trade", f"the key {key} of {name} may not place orders", data)


def says_withdraw(name: str, key: str) -> str:
    """Say that a key may withdraw, and what to do."""
    return (
        f"the key {key} of {name} can withdraw: whoever gets hold of it can take the money; make one without that "
        "permission at the exchange, bound to the address of this machine"
    )


def _flag(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def _number(value: object) -> int | None:
    return int(value) if isinstance(value, int | str | float) else None
