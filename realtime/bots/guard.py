"""What orders that name a bot must hold to beside the gate: who may act as the bot, its trading window, its budget."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from realtime.bots import holdings
from realtime.bots.bot import Bot
from realtime.bots.budgets import Budgets
from realtime.bots.leases import Leases
from realtime.desk.desk import Desk
from realtime.engine import window
from realtime.engine.window import Schedule
from realtime.model.bots import BotSpec, BotState, Kind
from realtime.model.errors import Code, Refused
from realtime.model.events import Who
from realtime.model.market import MS
from realtime.model.orders import Order


class Guard:
    """Judges orders before the gate does.

    Args:
        desk: The account that bots trade at.
        bots: All bots, by id.
        budgets: What they may use.
        leases: Who acts as remote bots.
        schedule_of: Reads the trading window of a bot.
    """

    def __init__(
        self,
        *,
        desk: Desk,
        bots: Mapping[str, Bot],
        budgets: Budgets,
        leases: Leases,
        schedule_of: Callable[[BotSpec], Schedule],
    ) -> None:
        self._desk = desk
        self._bots = bots
        self._budgets = budgets
        self._leases = leases
        self._schedule_of = schedule_of

    def judge(self, order: Order, who: Who) -> None:
        """Judge an order that names a bot, before the gate does.

        Raises:
            Refused: `conflict` for one who may not act as this remote bot; `risk_rejected` by a trading window or a
                budget.
        """
        bot = None if order.bot_id is None else self._bots.get(order.bot_id)
        if bot is None:
            return  # a tag, no bot of this server
        # Who names a bot of this server gives it the order: it counts in its budget and is its to close.
        old = self._desk.engine.orders.get(order.id) if order.id else None
        # An amend is judged as the order it makes (R5), but one that only makes it smaller is as good as a cancel.
        smaller = (
            old is not None
            and order.amount <= old.amount
            and (order.price, order.stop_price) == (old.price, old.stop_price)
        )
        entry = not (smaller or order.exit or self._budgets.reduces(bot.id, order))
        if bot.spec.kind is Kind.REMOTE and (old is None or order.amount > old.amount):
            self._leases.check(bot.id, who.subject, who.client)
            if bot.state is BotState.PAUSED and entry:
                raise Refused(Code.CONFLICT, f"bot {bot.id} is paused: only exits are allowed")
        if entry:
            self._check_window(bot, order, again=old is not None)
        self._budgets.check(order)

    def judge_elsewhere(self, order: Order, _who: Who) -> None:
        """Judge an order that names a bot at an account where no bot trades: what it has is counted at its own alone.

        Raises:
            Refused: `conflict` for an entry of a bot of this server: neither its budget nor its window would know of it.
        """
        if order.bot_id in self._bots and not order.exit:
            raise Refused(
                Code.CONFLICT,
                f"bot {order.bot_id} trades at {self._desk.engine.venue} only: leave bot_id out",
                {"bot_id": order.bot_id},
            )

    def _check_window(self, bot: Bot, order: Order, *, again: bool) -> None:
        """Hold an entry to the trading window of its bot, whoever sends it; one that is amended is counted `again`."""
        now, schedule = self._desk.now(), self._schedule_of(bot.spec)
        used = holdings.claimed(self._desk.engine, bot.id, schedule, now)
        if again:
            used = replace(used, trades=max(used.trades - 1, 0))
        found = window.shut(schedule, used, order.symbol, now)
        if found is not None:
            until = None if found.until is None else found.until // MS
            told: dict[str, object] = {"rule": found.rule, "until_ts": until, "bot_id": bot.id}
            told["failed"] = [found.rule]
            if found.rule == "max_trades_per_day":
                # As of the gate's rules that count: what this one would make.
                trades = used.on(schedule.day(now)).trades + 1
                told |= {"limit": str(schedule.max_trades_per_day), "value": str(trades)}
            raise Refused(Code.RISK_REJECTED, f"bot {bot.id}: {found.text}", told)
