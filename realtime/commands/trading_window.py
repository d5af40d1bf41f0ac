"""Ops of the trading window: when bots may enter."""

from dataclasses import replace
from typing import Annotated, Any

from pydantic import Field

from realtime.bots.bot import Bot
from realtime.bots.holdings import usage
from realtime.bots.supervisor import Supervisor
from realtime.commands import naming
from realtime.commands.params import ChangeParams, Name, Params
from realtime.commands.registry import Answer, Call, Op
from realtime.desk.config.book import ConfigBook, shown
from realtime.desk.config.changes import changes as diff, merge
from realtime.desk.desk import Desk
from realtime.engine import window
from realtime.engine.window import Usage
from realtime.model.errors import Code, Refused
from realtime.model.events import Who


class GetParams(Params):
    """Whose window; without a bot that of everybody."""

    bot_id: Name | None = None


class SetParams(ChangeParams):
    """Keys of the window to change, as a JSON merge patch; null gives a key its default."""

    bot_id: Name | None = None
    patch: Annotated[dict[str, Any], Field(min_length=1, max_length=32)]
    version: Annotated[int, Field(ge=1)] | None = None


class Windows:
    """The handlers."""

    def __init__(self, desk: Desk, book: ConfigBook, bots: Supervisor) -> None:
        self._desk = desk
        self._book = book
        self._bots = bots

    def get(self, call: Call[GetParams]) -> Answer:
        """Tell how a window stands."""
        bot_id = call.params.bot_id
        return Answer(result=self._row() if bot_id is None else self._of(self._bots.get(bot_id)))

    def _row(self) -> dict[str, object]:
        """Describe the window of everybody."""
        config = self._book.current
        state = window.state(config.schedule(), Usage(), self._desk.now())
        # Entries are counted by bot; of everybody together nobody counts them.
        counts = dict.fromkeys(("trades_today", "remaining_trades", "last_trade_date"))
        return {
            "bot_id": None,
            "version": self._book.version,
            "config": config.trading_window.model_dump(mode="json"),
            "state": state.row() | counts,
        }

    def _of(self, bot: Bot) -> dict[str, object]:
        """Describe the window of a bot."""
        config = self._book.current
        schedule = config.schedule(bot.spec.window)
        now = self._desk.now()
        state = window.state(schedule, usage(self._desk.engine, bot.id, schedule, now), now)
        return {
            "bot_id": bot.id,
            "version": bot.spec.version,
            "config": config.window(bot.spec.window).model_dump(mode="json"),
            "own": dict(bot.spec.window),
            "state": state.row(),
        }

    async def set(self, call: Call[SetParams]) -> Answer:
        """Change a window."""
        params, who = call.params, naming.who_of(call)
        if params.bot_id is not None:
            return await self._set_of(params.bot_id, params, who)
        patch = {"trading_window": params.patch}
        changes = self._book.update(patch, params.version, who)
        await self._desk.settled()
        result = self._row() | {
            "changed": bool(changes),
            "changes": [shown(change) for change in changes],
        }
        return Answer(result=result, at=self._desk.outlet.named(("config",)) if changes else None)

    async def _set_of(self, bot_id: str, params: SetParams, who: Who) -> Answer:
        """Change the keys of a bot's window that are its own."""
        bot = self._bots.get(bot_id)
        old = bot.spec
        if params.version is not None and params.version != old.version:
            raise Refused(
                Code.CONFLICT,
                f"bot {bot_id} is at version {old.version}, the change was made for {params.version}",
                {"version": old.version},
            )
        own = merge(old.window, params.patch)
        changes = diff(dict(old.window), own, "trading_window.")
        if changes:
            self._desk.check_room()
            bot = self._bots.configure(replace(old, window=own, version=old.version + 1), who)
        await self._desk.settled()
        result = self._of(bot) | {
            "changed": bool(changes),
            "changes": [shown(change) for change in changes],
        }
        at = self._desk.outlet.named(("bots", f"bot:{bot_id}", "config")) if changes else None
        return Answer(result=result, at=at)


def ops(desk: Desk, book: ConfigBook, bots: Supervisor) -> list[Op]:
    """Make the rows of the table."""
    windows = Windows(desk, book, bots)
    return [
        Op(
            name="trading_window.get",
            params=GetParams,
            scope="read",
            lane="query",
            handler=windows.get,
            summary="Show when bots may open positions, whether they may now, and until when",
            errors=(Code.NOT_FOUND,),
            example={},
        ),
        Op(
            name="trading_window.set",
            params=SetParams,
            scope="bots",
            lane="query",
            handler=windows.set,
            summary="Change when bots may open positions; exits are never blocked",
            errors=(Code.INVALID, Code.CONFLICT, Code.NOT_FOUND),
            example={"patch": {"start_hour": 8, "end_hour": 17}},
            command=True,
        ),
    ]
