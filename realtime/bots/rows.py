"""What bots are shown as: the rows of `bots` and the value of `bot:ID`."""

from collections.abc import Callable
from decimal import Decimal

from realtime.bots import holdings
from realtime.bots.bot import Bot, spec_row
from realtime.bots.budgets import Budgets
from realtime.bots.leases import Leases
from realtime.bots.runner import Row, Rules
from realtime.desk.desk import Desk
from realtime.desk.trading import Trading
from realtime.engine import window
from realtime.engine.market import plain
from realtime.engine.rows import rounded
from realtime.model.bots import BotSpec, Earned, Kind
from realtime.model.errors import Refused
from realtime.model.market import MS, SECOND


class Rows:
    """Makes rows of bots.

    Args:
        rules: Reads the configuration for a bot; raises `Refused` where a strategy is gone.
    """

    def __init__(
        self,
        *,
        desk: Desk,
        trading: Trading,
        budgets: Budgets,
        leases: Leases,
        rules: Callable[[BotSpec], Rules],
    ) -> None:
        self._desk = desk
        self._trading = trading
        self._budgets = budgets
        self._leases = leases
        self._rules_of = rules

    def row(self, bot: Bot) -> Row:
        """Make the row of `bots`."""
        rules = self._rules(bot)
        return {
            "id": bot.id,
            "kind": bot.spec.kind,
            "state": bot.state,
            "mode": self._desk.engine.mode,
            "dry_run": bot.spec.dry_run,
            "symbols": list(rules.symbols) if rules else list(bot.spec.symbols or ()),
            "timeframe": rules.timeframe if rules else bot.spec.timeframe,
            "uptime_s": self._uptime(bot),
            "cycle_count": bot.counters.cycles,
            "realized_pnl": plain(self.earned(bot).realized),
            "last_decision": None if bot.last is None else _short(bot.last),
            "error": bot.error,
            "last_update_ts": bot.updated_ts // MS,
        }

    def _rules(self, bot: Bot) -> Rules | None:
        try:
            return self._rules_of(bot.spec)
        except Refused:
            return None  # a strategy is gone; the row says what it can

    def _uptime(self, bot: Bot) -> int:
        return (self._desk.now() - bot.started_ts) // SECOND if bot.state.alive else 0

    def earned(self, bot: Bot) -> Earned:
        """Tell what a bot has earned since its metrics were reset."""
        return self._desk.engine.shares.earned(bot.id).since(bot.counters.base)

    def state_row(self, bot: Bot) -> Row:
        """Make the value of `bot:ID`."""
        rules, counters, earned = self._rules(bot), bot.counters, self.earned(bot)
        lease = self._leases.get(bot.id)
        runner = bot.runner
        next_ts = None if runner is None else runner.looks_ts
        outlet = self._desk.outlet
        return self.row(bot) | {
            "desired_state": bot.desired,
            "was_running": bot.was_running,
            "paused_until_ts": None if bot.paused_until is None else bot.paused_until // MS,
            "strategy_weights": {}
            if rules is None
            else {name: weight.weight for name, weight in rules.weights.items()},
            "started_ts": bot.started_ts // MS or None,
            "task_alive": self.alive(bot),
            "last_cycle_ts": counters.last_cycle_ts // MS or None,
            "next_cycle_ts": None if next_ts is None else next_ts // MS,
            "performance": {
                "total_cycles": counters.cycles,
                "successful_cycles": counters.succeeded,
                "failed_cycles": counters.failed,
                "success_rate": counters.success_rate,
                "average_cycle_ms": counters.average_ms,
                "last_cycle_ms": counters.last_cycle_ms if counters.cycles else None,
                "trades": earned.trades,
                "win_rate": earned.win_rate,
                "profit_factor": earned.profit_factor,
                "realized_pnl": plain(earned.realized),
                "fees": plain(earned.fees),
            },
            "configuration": spec_row(bot.spec),
            "budget": self.budget_row(bot.id),
            "lease": None
            if lease is None
            else {
                "subject": lease.subject,
                "client": lease.client,
                "lease_s": lease.seconds,
                "expires_ts": lease.expires_ts // MS,
            },
            "last_decision": bot.last,
            "last_signal": None if bot.last is None else bot.last.get("combined"),
            "trading_window": None if rules is None else self.window_row(bot, rules),
            "trading_state": self._desk.engine.state(None, bot.id),
            "open_orders": [
                dict(outlet.order_row(order)) for order in self._trading.working(bot_id=bot.id)
            ],
            "positions": self._positions(bot.id),
            "version": bot.spec.version,
        }

    def alive(self, bot: Bot) -> bool:
        """Whether what makes a bot's decisions is there."""
        if bot.spec.kind is Kind.REMOTE:
            return self._leases.get(bot.id) is not None
        return bot.task is not None and not bot.task.done()

    def window_row(self, bot: Bot, rules: Rules) -> Row:
        """Tell how the trading window of a bot stands."""
        now = self._desk.now()
        used = holdings.usage(self._desk.engine, bot.id, rules.schedule, now)
        return window.state(rules.schedule, used, now).row()

    def budget_row(self, bot_id: str) -> Row:
        """Tell what a bot may use and does."""
        room = self._budgets.room(bot_id)
        return {
            "currency": self._desk.engine.valuation_currency,
            "limit": _money(room.limit),
            "capital": _money(room.capital),
            "used": _money(room.used),
            "left": _money(room.left),
        }

    def _positions(self, bot_id: str) -> list[Row]:
        engine = self._desk.engine
        found: list[Row] = []
        for symbol, share in engine.shares.by_symbol(bot_id).items():
            amount = holdings.held(engine, bot_id, symbol)
            if not amount or not share.amount:
                continue  # a fill is still to come
            whole = amount == share.amount
            cost = share.cost if whole else rounded(share.cost * amount / share.amount, 12)
            market = engine.markets.get(symbol)
            size = Decimal(1) if market is None else market.contract_size
            mark = None if market is None else engine.mark(symbol)
            value = None if mark is None else amount * mark[0] * size
            found.append(
                {
                    "symbol": symbol,
                    "side": "long" if amount > 0 else "short",
                    "amount": plain(abs(amount)),
                    "entry_price": plain(rounded(share.cost / (share.amount * size), 12)),
                    "mark_price": None if mark is None else plain(mark[0]),
                    "unrealized_pnl": None if value is None else plain(value - cost),
                    "realized_pnl": plain(share.realized),
                }
            )
        return found


def _money(value: Decimal | None) -> str | None:
    return None if value is None else plain(rounded(value, 12))


def _short(decision: Row) -> Row:
    names = ("id", "symbol", "skipped_reason", "order_id", "ts")
    said = decision.get("combined")
    action = said.get("action") if isinstance(said, dict) else None
    return {name: decision.get(name) for name in names} | {"action": action}
