"""What a script learns from how a command ends; the table for people is in docs/operations.md."""

from collections.abc import Mapping
from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of every command.

    Attributes:
        DONE: It is done.
        NO: The server said no and nothing was done; or what was looked at is not as it should be.
        USAGE: The command, a file or a setting is wrong; nothing was sent, nothing started.
        REJECTED: The venue said no.
        UNKNOWN: It was sent and may have been done: look, do not send it as a new one.
        AWAY: There is no connection, or no answer to a question; nothing was done.
        PARTLY: A part of it was not done; the answer says which.
        DIED: A part of a server died.
    """

    DONE = 0
    NO = 1
    USAGE = 2
    REJECTED = 3
    UNKNOWN = 4
    AWAY = 5
    PARTLY = 6
    DIED = 70


_REJECTED = frozenset({"venue_rejected", "absent"})
_PLACING = frozenset({"order.place", "position.close"})
# Of an order that was placed before under the same id: it is not sent again, and ended like this.
_OF_STATUS: Mapping[object, Exit] = {"rejected": Exit.REJECTED, "unknown": Exit.UNKNOWN}
_WHOLE = frozenset(
    {
        *("order.cancel_all", "position.close_all"),
        *("trading.halt", "risk.halt"),
        *("bot.stop", "bot.emergency_stop"),
    }
)
"""Ops whose answer names what of it was not done."""
# Closed with one of these, the server has said no to who asks; anything else is no server of ours, or none.
_SAID_NO = frozenset({401, 403, *range(4400, 4500)})


def of_error(code: str, outcome: str) -> Exit:
    """Say how a command ends that got an error as its answer."""
    if outcome == "unknown":
        return Exit.UNKNOWN
    return Exit.REJECTED if code in _REJECTED else Exit.NO


def of_close(code: int) -> Exit:
    """Say how a command ends whose connection ended before it was sent."""
    return Exit.NO if code in _SAID_NO else Exit.AWAY


def of_result(op: str, args: Mapping[str, object], result: Mapping[str, object]) -> Exit:
    """Say how a command ends that got a result; of most ops that is what was asked for."""
    if op in _PLACING:
        return _OF_STATUS.get(result.get("status"), Exit.DONE)
    if op not in _WHOLE:
        return Exit.DONE
    if result.get("unknown"):
        return Exit.UNKNOWN
    open_still = args.get("flatten") is True and result.get("flat") is False
    return Exit.PARTLY if result.get("failed") or open_still else Exit.DONE
