"""The ops of a server: which rows each account has, which the whole server, and what they show of all accounts."""

import asyncio
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Final

from realtime.branch import Branch, RefusedStart
from realtime.commands import (
    alert,
    allocation,
    backtest,
    balance,
    bot,
    config as config_ops,
    connection,
    context,
    event,
    fill,
    help as help_ops,
    indicator,
    log,
    market,
    monitoring,
    naming,
    odds,
    order,
    portfolio,
    position,
    risk,
    signal as signal_ops,
    strategy,
    system as system_ops,
    token,
    trading as trading_ops,
    trading_window,
)
from realtime.commands.accounts import Accounts as OpsAccounts
from realtime.commands.confirm import Policy
from realtime.commands.registry import Op, Refusal, Registry
from realtime.desk.lines import Lines
from realtime.desk.monitor import Monitor
from realtime.desk.status import Status
from realtime.engine.conditions import Bounds as Conditions
from realtime.makers import Upstream, faults_of
from realtime.model.market import Market
from realtime.outside import Clock, Outside
from realtime.places import Brain, Place
from realtime.server.auth import Auth
from realtime.server.limits import LaneBuckets, Rate
from realtime.settings import Settings
from realtime.venues.base import Remote, Venue
from realtime.venues.ccxt.calls import nonce_row


WHOLE: Final = frozenset({"system.health", "system.status"})
"""Ops of the whole server among those that accounts make."""
GRAVE: Final = frozenset(
    {
        "trading.resume",
        "order.resolve",
        "bot.rearm",
        "risk.params.set",
        "config.rollback",
        "position.close_all",
        "portfolio.rebalance",
    }
)
"""Ops that ask back where money is real (protocol document, 8.7)."""


def equip(places: Sequence[Place], brain: Brain, status: Status) -> None:
    """Make the ops of every account as it is now."""
    first = places[0].branch
    first.trading.guard = brain.bots.guard.judge
    for other in places[1:]:
        other.branch.trading.guard = brain.bots.guard.judge_elsewhere
    status.bots = brain.bots.health
    for place in places:
        rows = account_ops(place.branch, brain, status)
        if place is places[0]:
            rows += brain_ops(place.branch, brain)
        place.ops.ops = {row.name: row for row in rows}
        place.ops.touch = place.branch.touch if place.plan.streams else None


def account_ops(branch: Branch, brain: Brain, status: Status) -> list[Op]:
    """Make the ops that every account has."""
    desk, trading, venue, book = branch.desk, branch.trading, branch.venue, brain.book
    bars = indicator.Bars(lambda: desk.engine.markets, venue, desk.now)
    return [
        *system_ops.ops(health=status.health, status=status.row, faults=faults_of(venue)),
        *order.ops(desk, trading),
        *fill.ops(desk),
        *position.ops(desk, trading),
        *balance.ops(desk),
        *market.ops(desk, venue, status.venues, branch.monitor.cache, branch),
        *context.ops(
            desk,
            venue,
            bounds=lambda: Conditions(**book.current.market_checks.model_dump()),
            venue_ok=branch.venue_ok,
        ),
        *risk.ops(desk, trading),
        *indicator.ops(bars),
        *odds.ops(desk, trading, venue),
        *trading_ops.ops(
            desk, trading, branch.deadman, dead_mans_switch_of(venue), branch.house.crew
        ),
        *portfolio.ops(desk, trading, venue, book),
        *allocation.ops(desk, trading, venue, book, branch.plans),
        *event.ops(desk),
        *alert.ops(desk),
    ]


def brain_ops(branch: Branch, brain: Brain) -> list[Op]:
    """Make the ops of what thinks."""
    desk, book, bots = branch.desk, brain.book, brain.bots
    bars = indicator.Bars(lambda: desk.engine.markets, branch.venue, desk.now)
    return [
        *strategy.ops(desk, book, brain.strategies, bars),
        *config_ops.ops(desk, book),
        *trading_window.ops(desk, book, bots),
        *backtest.ops(desk, brain.jobs, brain.strategies),
        *bot.ops(desk, bots),
        *signal_ops.ops(desk),
    ]


def dead_mans_switch_of(venue: Venue) -> trading_ops.Native | None:
    """Give the venue's own dead man's switch; None where it has none."""
    return venue.dead_mans_switch if isinstance(venue, Remote) else None


def table(
    settings: Settings,
    outside: Outside,
    clock: Clock,
    places: Sequence[Place],
    *,
    auth: Auth,
    tokens: token.Keeper,
    status: Status,
    lines: Lines,
) -> Registry:
    """Make the table of ops.

    Raises:
        RefusedStart: A confirmation policy is wrong.
    """
    limits = settings.limits
    first = places[0]
    accounts = OpsAccounts(*[place.ops for place in places])

    def monitor() -> Monitor:
        # The one of now: an account that opens late has another than while it was shut.
        return first.branch.monitor

    whole = [
        *connection.ops(auth, status.facts),
        *token.ops(tokens, lambda: all_markets(places)),
        *[row for row in first.ops.ops.values() if row.name in WHOLE],
        *monitoring.ops(
            connections=lambda: monitor().connected(),
            latency=lambda: delays(monitor(), places),
            metrics=lambda: counted(monitor(), places),
            cache=lambda: monitor().cache.row(),  # noqa: PLW0108 - see above
            nonce=lambda: monitor().nonce(signing(places)),
            hybrid=lambda: streaming(places),
        ),
        *log.ops(lines),
    ]
    own = [accounts.routed(row) for row in first.ops.ops.values() if row.name not in WHOLE]
    try:
        registry = Registry(
            [*whole, *own],
            mode=settings.mode,
            now=clock.ms,
            token=outside.secret,
            lanes=LaneBuckets(
                asyncio.get_running_loop().time,
                {
                    "sub": Rate(per_s=limits.subscribes_per_s, burst=5 * limits.subscribes_per_s),
                    "query": Rate(per_s=limits.commands_per_s, burst=5 * limits.commands_per_s),
                    "orders": Rate(per_s=limits.orders_per_s, burst=2 * limits.orders_per_s),
                    "safety": Rate(per_s=limits.safety_per_s, burst=4 * limits.safety_per_s),
                },
            ),
            policies=policies(settings, [*whole, *own]),
        )
    except ValueError as error:
        raise RefusedStart(f"confirm: {error}") from error
    for row in help_ops.ops(registry):
        registry.add(row)

    def refused(refusal: Refusal) -> None:
        if not first.shut:
            who = naming.who_of(refusal)
            first.branch.desk.refused(refusal.op, who, refusal.error, refusal.raw)

    registry.on_refused = refused
    return registry


def policies(settings: Settings, ops: Sequence[Op]) -> list[Policy]:
    """Say which ops ask back: those of the settings; without any, none on paper and the grave ones on live."""
    if settings.confirm or settings.mode != "live":
        return [
            Policy(
                op=p.op,
                above=p.above_notional,
                scope=p.scope,
                role=p.role,
                token_id=p.token_id,
            )
            for p in settings.confirm
        ]
    return [Policy(op=op.name) for op in ops if op.name in GRAVE and op.effect is not None]


def all_markets(places: Sequence[Place]) -> dict[str, Market]:
    """The markets of all accounts, by symbol; where several have one, the rules of any."""
    return {symbol: m for place in places for symbol, m in place.branch.engine.markets.items()}


def upstreams(places: Sequence[Place]) -> list[Upstream]:
    """Give the clients of exchanges that accounts have, once they are made."""
    found = [upstream for place in places for upstream in place.branch.upstreams]
    return [upstream for upstream in found if upstream.calls.ready]


def signing(places: Sequence[Place]) -> Mapping[str, object]:
    """Show the keys of exchanges that accounts sign with."""
    return nonce_row([upstream.calls for upstream in upstreams(places)])


def counted(monitor: Monitor, places: Sequence[Place]) -> Mapping[str, object]:
    """Make the result of `monitoring.metrics`: the first account's and the server's, then all accounts, all exchanges."""
    return {
        **monitor.metrics(),
        "accounts": [{"id": p.plan.id, **p.branch.monitor.account()} for p in places if not p.shut],
        "exchanges": [upstream.row() for upstream in upstreams(places)],
    }


def delays(monitor: Monitor, places: Sequence[Place]) -> Mapping[str, object]:
    """Make the result of `monitoring.latency`, in the same parts."""
    return {
        **monitor.latency(),
        "accounts": [{"id": p.plan.id, **p.branch.monitor.legs()} for p in places if not p.shut],
        "exchanges": [
            {"venue": one.calls.way.name, "use": one.use, "request": one.calls.answers.row()}
            for one in upstreams(places)
        ],
    }


def streaming(
    places: Sequence[Place],
) -> tuple[Mapping[str, object], Sequence[Sequence[Mapping[str, object]]]]:
    """Make the result of `monitoring.hybrid`: how the streams of all accounts come, and the streams by account."""
    own = [[row | {"venue": p.plan.id} for row in map(dict, p.branch.shown())] for p in places]
    saved = [int(str(p.branch.monitor.cache.row()["requests_saved"])) for p in places]
    figures = {
        "summary": {**shares([*chain.from_iterable(own)]), "rest_calls_saved": sum(saved)},
        "accounts": [
            {
                "id": place.plan.id,
                "feeds": len(feeds),
                **shares(feeds),
                "rest_calls_saved": count,
            }
            for place, feeds, count in zip(places, own, saved, strict=True)
        ],
    }
    return figures, own


def shares(feeds: Sequence[Mapping[str, object]]) -> Mapping[str, float | None]:
    """Say how much of these streams comes by socket, and how much is asked for; None where no exchange sends any."""
    sources = [row["source"] for row in feeds if row["source"] != "paper"]
    if not sources:
        return {"ws_share": None, "poll_share": None}
    asked = sources.count("poll") / len(sources)
    return {"ws_share": 1 - asked, "poll_share": asked}
