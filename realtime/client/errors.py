"""How a client hears "no"."""

from collections.abc import Mapping
from typing import Any


class CommandError(Exception):
    """A reply with `ok:false`, or a command whose answer the connection took with it.

    Attributes:
        code: One of the protocol's codes; treat unknown ones by `outcome`.
        message: For people.
        outcome: `not_done`, or `unknown`: then it may have been done.
        details: For programs.
        retry_after: Seconds after which repeating makes sense, or None.
        at: Positions of streams that changed all the same, or None.
    """

    def __init__(
        self,
        code: str,
        message: str,
        outcome: str = "not_done",
        details: Mapping[str, Any] | None = None,
        *,
        retry_after: float | None = None,
        at: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.outcome = outcome
        self.details: Mapping[str, Any] = details or {}
        self.retry_after = retry_after
        self.at = at


class Closed(Exception):
    """The connection ended for good: change something before coming back.

    Attributes:
        code: Close code of the WebSocket, or the HTTP status where the upgrade was refused.
        reason: The server's word.
        outcome: `unknown` where it ended a command that was sent already: that may have been done.
    """

    def __init__(self, code: int, reason: str, outcome: str = "not_done") -> None:
        super().__init__(f"closed {code} {reason}".rstrip())
        self.code = code
        self.reason = reason
        self.outcome = outcome
