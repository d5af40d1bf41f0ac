"""Entries of `events` and `alerts`: their ids, their form, and their place in the journal.

Each is written once: its row, the fact that it stands beside and the readers of its channel get the same bytes.
"""

from typing import Final

from realtime.desk.codec import dumps
from realtime.hub.stream import Written
from realtime.model.events import Alert, Note
from realtime.model.market import MS
from realtime.store.rows import Projection


Entry = dict[str, object]

TYPES: Final = (
    "api_error",
    "auth_failed",
    "backtest_completed",
    "backtest_started",
    "bot_attached",
    "bot_deleted",
    "bot_error",
    "bot_halted",
    "bot_lapsed",
    "bot_metrics_reset",
    "bot_paused",
    "bot_rearmed",
    "bot_resumed",
    "bot_run_once",
    "bot_started",
    "bot_stopped",
    "cost_basis_set",
    "currency_changed",
    "day_rolled",
    "deadman_fired",
    "exchange_error",
    "halt",
    "order_adopted",
    "order_amended",
    "order_canceled",
    "order_created",
    "order_resolved",
    "order_resolved_by_operator",
    "parameter_changed",
    "rebalance",
    "resume",
    "strategies_reloaded",
    "strategy_changed",
    "token_created",
    "token_revoked",
    "trade_placed",
    "trading_state",
    "transfer",
)
"""What entries of `events` are of; `trading_state` is what `halt` and `resume` were before."""

NOTE: Final = "note"
"""Kind of a journal row that holds entries and no fact."""
ACK: Final = "Ack"
"""Kind of an acknowledged alert."""


class Entries:
    """Numbers the entries of the journaled logs as they are handed to the journal.

    Attributes:
        events, alerts: How many there are so far.
    """

    def __init__(self, *, events: int = 0, alerts: int = 0) -> None:
        self.events = events
        self.alerts = alerts

    def event(self, note: Note, ts: int) -> Written:
        """Make the next entry of `events` [ts: ns]."""
        self.events += 1
        who = note.who
        made: Entry = {
            "id": f"e-{self.events}",
            "ts": ts // MS,
            "type": note.type,
            "subject": None if who is None else who.subject,
            "token_id": None if who is None else who.token_id,
            "client": None if who is None else who.client,
            "bot_id": note.data.get("bot_id"),
            "data": dict(note.data),
        }
        return Written(made, dumps(made))

    def alert(self, alert: Alert, ts: int) -> Written:
        """Make the next entry of `alerts` [ts: ns]."""
        self.alerts += 1
        made: Entry = {
            "id": f"a-{self.alerts}",
            "ts": ts // MS,
            "level": alert.level,
            "code": alert.code,
            "text": alert.text,
            "data": dict(alert.data),
            "acked_by": None,
        }
        return Written(made, dumps(made))


def event_projection(entry: Written, ts: int) -> Projection:
    """Make the row of `events` of an entry [ts: ns]."""
    data, json = entry
    bot = data["bot_id"]
    cols = {"type": str(data["type"]), "bot_id": None if bot is None else str(bot)}
    return Projection("events", str(data["id"]), ts, cols, json)


def alert_projection(entry: Written, ts: int) -> Projection:
    """Make the row of `alerts` of an entry [ts: ns]."""
    data, json = entry
    cols = {"level": str(data["level"]), "code": str(data["code"])}
    return Projection("alerts", str(data["id"]), ts, cols, json)
