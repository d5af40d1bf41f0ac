"""What the journal holds beyond memory: what hub and engine are seeded with at start, what a late reader is given."""

from collections.abc import Mapping, Sequence
from typing import Final

import orjson

from realtime.engine.engine import Engine
from realtime.hub.channels import LEVELS, Channel
from realtime.hub.hub import Hub, Old
from realtime.store.queries import Filters
from realtime.store.rows import LOGS, Log
from realtime.store.store import Store


PAGE: Final = 2_000
SIGNALS: Final = 1_000
"""Newest decisions of bots that are looked at for the last one of every symbol."""


async def seed(store: Store, hub: Hub, mark: str = "") -> None:
    """Give the hub the newest entries of every journaled log, and the count of the older ones.

    Args:
        store: The journal.
        hub: The hub.
        mark: Stands behind the names of the account's channels.
    """
    for log in LOGS:
        total, newest = await store.tail(log, hub.sizes.journaled)
        hub.seed(log + mark, total, newest)
        first = total - len(newest)
        for start in range(1, first + 1, PAGE):
            page = await store.logs(log, start, min(start + PAGE - 1, first))
            hub.count_filtered(log + mark, [entry for _, _, entry in page])


def stands(engine: Engine, fill: Mapping[str, object]) -> bool:
    """Whether no real fill has taken a journaled one's place; an order that still lacks one is not forgotten."""
    if not fill["inferred"]:
        return True
    booked = engine.fills_of(str(fill["order_id"]))
    return any(fill["id"] == one.id for one in booked)


async def seed_scores(store: Store, engine: Engine) -> None:
    """Give the engine the risk score of the last signal of every symbol, as it was before the restart."""
    for entry in await store.rows("signals", limit=SIGNALS):
        row = orjson.loads(entry.body)
        said = row.get("combined")
        if isinstance(said, dict) and isinstance(said.get("risk_score"), float):
            engine.score(row["symbol"], said["risk_score"])


async def older(store: Store, channel: Channel, first: int, last: int) -> Sequence[Old]:
    """Read entries that only the journal holds, numbered as the channel numbers them.

    Args:
        store: The journal.
        channel: A journaled log.
        first: First sequence number wanted, in that channel.
        last: Last one.
    """
    log: Log = channel.topic  # type: ignore[assignment]  # journaled topics are the logs
    filters: Filters = {
        name: LEVELS[LEVELS.index(value) :] if name == "level" else value
        for name, value in dict(channel.options).items()
    }
    return await store.logs(log, first, min(last, first + PAGE - 1), filters)
