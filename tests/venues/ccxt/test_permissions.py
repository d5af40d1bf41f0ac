"""What a key may do, read from what exchanges answer."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from realtime.model.errors import Refused
from realtime.venues.ccxt.account import Account, Secret
from realtime.venues.ccxt.permissions import (
    AGAIN_S,
    READERS,
    UNTOLD,
    Permissions,
    check,
    vet,
    warn,
)


ANSWERS: list[tuple[str, Any, Permissions]] = [
    (
        "binance",
        {
            "ipRestrict": True,
            "enableReading": True,
            "enableSpotAndMarginTrading": True,
            "enableWithdrawals": False,
        },
        Permissions(trade=True, withdraw=False, bound=True),
    ),
    (
        "bybit",
        {
            "retCode": 0,
            "result": {
                "readOnly": 0,
                "permissions": {"Spot": ["SpotTrade"], "Wallet": ["AccountTransfer", "Withdraw"]},
                "ips": ["*"],
            },
        },
        Permissions(trade=True, withdraw=True, bound=False),
    ),
    (
        "bybit",
        {
            "result": {
                "readOnly": 1,
                "permissions": {"Spot": ["SpotTrade"], "Wallet": []},
                "ips": ["10.0.0.1"],
            }
        },
        Permissions(trade=False, withdraw=False, bound=True),
    ),
    (
        "okx",
        {"data": [{"perm": "read_only,trade", "ip": ""}]},
        Permissions(trade=True, withdraw=False, bound=False),
    ),
    (
        "bitfinex",
        [["account", 1, 0], ["orders", 1, 1], ["withdraw", 0, 0]],
        Permissions(trade=True, withdraw=False),
    ),
    (
        "kucoin",
        {"data": {"permission": "General,Spot,Withdrawal", "ipWhitelist": "10.0.0.1"}},
        Permissions(trade=True, withdraw=True, bound=True),
    ),
    (
        "kraken",
        {"result": {"permissions": ["query-funds", "modify-trades", "withdraw-funds"]}},
        Permissions(trade=True, withdraw=True),
    ),
]


@pytest.mark.parametrize(("exchange", "answer", "expected"), ANSWERS)
def test_permissions_are_read_as_the_exchange_writes_them(
    exchange: str, answer: Any, expected: Permissions
) -> None:
    assert READERS[exchange][1](answer) == expected


def test_a_key_that_can_withdraw_raises_an_alert() -> None:
    told: list[tuple[str, str, str]] = []

    def tell(level: str, code: str, text: str, _data: Mapping[str, object]) -> None:
        told.append((level, code, text))

    warn("kraken", "***6789", Permissions(trade=False, withdraw=True), tell)
    warn("kraken", "***6789", Permissions(trade=True, withdraw=False), tell)
    warn("kraken", "***6789", UNTOLD, tell)

    assert [(level, code) for level, code, _ in told] == [
        ("warning", "key_can_withdraw"),
        ("warning", "key_cannot_trade"),
    ]
    assert "make one without that permission" in told[0][2]


def test_every_named_endpoint_is_one_of_ccxts_and_reads() -> None:
    import ccxt  # noqa: PLC0415 - half a second, by those who need it

    for exchange, (endpoint, _) in READERS.items():
        assert hasattr(getattr(ccxt, exchange)(), endpoint)


class Bybit:
    """As much of ccxt's Bybit as asks for permissions: twice without an answer, then with one."""

    id = "bybit"

    def __init__(self) -> None:
        self.asked = 0

    async def private_get_v5_user_query_api(self) -> Any:
        import ccxt  # noqa: PLC0415 - as below

        self.asked += 1
        if self.asked == 1:
            raise ccxt.RequestTimeout("late")
        if self.asked == 2:
            raise KeyError("result")  # ccxt's parsers raise so at a row of another shape
        return ANSWERS[1][1]


@pytest.mark.parametrize(
    ("account", "withdraw", "refused"),
    [
        ({}, True, True),
        ({}, False, False),
        ({}, None, False),  # the exchange does not tell
        ({"sandbox": True}, True, False),
        ({"allow_withdrawal_key": "1234"}, True, False),
        ({"allow_withdrawal_key": "***1234"}, True, False),
        ({"allow_withdrawal_key": "4321"}, True, True),
        ({"allow_withdrawal_key": "4"}, True, True),  # that is no name of a key
    ],
)
def test_a_key_that_can_withdraw_does_not_trade_unless_it_is_named(
    account: dict[str, Any],
    withdraw: bool | None,  # noqa: FBT001 - of a table
    refused: bool,  # noqa: FBT001 - of a table
) -> None:
    made = Account(id="bybit", exchange="bybit", key=Secret("a-long-enough-key-1234"), **account)
    found = Permissions(trade=True, withdraw=withdraw)
    if refused:
        with pytest.raises(Refused, match=r"allow_withdrawal_key: the key .*1234 .*can withdraw"):
            check(made, found)
    else:
        check(made, found)


async def test_a_key_is_asked_about_until_it_is_told_and_once() -> None:
    exchange, told = Bybit(), list[str]()

    def tell(_level: str, code: str, _text: str, _data: Mapping[str, object]) -> None:
        told.append(code)

    account = Account(id="bybit", exchange="bybit", key=Secret("a-long-enough-key-1234"))
    await vet(exchange, account, tell, asyncio.sleep)

    assert exchange.asked == 3
    assert told == ["key_can_withdraw"]
    assert asyncio.get_running_loop().time() == 2 * AGAIN_S
