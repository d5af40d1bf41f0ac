"""Amounts of our own, cut down to what the gate passes.

Rules of this file: (1) only what this server worked out is cut, a share of equity at a price of now; what a client asks
for is refused and never changed; (2) how much passes is said by the gate, and by nobody else; (3) what a smaller amount
would not mend is left as it is, for the gate to refuse.
"""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Final

from realtime.engine.engine import Engine
from realtime.engine.orders import evolve
from realtime.model.events import Place
from realtime.model.market import ZERO


SIZES: Final = frozenset(
    {
        "max_amount",
        "max_market_amount",
        "max_order_amount",
        "max_order_notional",
        "token_notional",
        "max_position_size",
        "max_position_notional",
        "high_risk_size",
    }
)
"""Rules that hold one order's amount down, whatever is traded before it."""
MEANS: Final = SIZES | {"insufficient_funds", "max_slippage", "max_leverage"}
"""The same, and those that what is traded before it may still change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """A draft that the gate passes, as far as a smaller amount can make it.

    Attributes:
        rules: Those that held its amount down; empty where it is as it was.
        refused: Those by which the gate would still refuse it, whatever its amount.
    """

    placing: Place
    rules: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()


def fit(engine: Engine, placing: Place, ts: int, rules: AbstractSet[str] = MEANS) -> Fitted:
    """Cut the amount of a draft down to the largest one that the gate passes now.

    Args:
        engine: Its gate judges; nothing changes.
        placing: The draft, of an amount that we worked out.
        ts: Now [ns].
        rules: Which rules may hold it down; where another one refuses, nothing is cut.
    """
    place = replace(placing, ts=ts)
    failed = engine.refusing(place)
    most = engine.largest(place) if failed and rules >= set(failed) else ZERO
    if not ZERO < most < placing.order.amount:
        return Fitted(placing=placing, refused=failed)
    return Fitted(placing=replace(placing, order=evolve(placing.order, amount=most)), rules=failed)
