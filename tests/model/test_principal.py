"""What a token may: its limits as they are written and read."""

from decimal import Decimal

import pytest

from realtime.model.principal import Principal, TokenLimits, limits_of, role_of


@pytest.mark.parametrize(
    ("limits", "row"),
    [
        (TokenLimits(symbols=("BTC/USDT",)), {"symbols": ["BTC/USDT"]}),
        (TokenLimits(max_order_notional=Decimal("250.5")), {"max_order_notional": "250.5"}),
        (
            TokenLimits(symbols=("A/B", "C/B"), max_order_notional=Decimal("1E+3")),
            {"symbols": ["A/B", "C/B"], "max_order_notional": "1000"},
        ),
    ],
)
def test_limits_are_read_as_they_were_written_and_show_what_is_set_alone(
    limits: TokenLimits, row: dict[str, object]
) -> None:
    assert limits.row() == row
    assert limits_of({"subject": "alice", **row}) == limits


def test_of_nothing_come_no_limits() -> None:
    assert limits_of({"subject": "alice"}) is None
    assert Principal(subject="alice", scopes=frozenset({"read"})).limits is None
    assert TokenLimits().row() == {}
    assert role_of(frozenset({"read", "trade"})) == "trader"


def test_without_symbols_all_are_allowed() -> None:
    assert TokenLimits(max_order_notional=Decimal(1)).allow("ETH/USDT")
    assert TokenLimits(symbols=("ETH/USDT",)).allow("ETH/USDT")
    assert not TokenLimits(symbols=("ETH/USDT",)).allow("ETH/USDT:USDT")
