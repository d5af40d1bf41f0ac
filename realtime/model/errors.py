"""The words for "no": codes that clients see, and the three families of errors.

Rules of this file: (1) a code is never removed, renamed or given another outcome; (2) a refusal is ours,
a rejection the venue's, and unknown stays unknown until there is evidence.
"""

from collections.abc import Mapping
from enum import StrEnum


class Outcome(StrEnum):
    """What a client may conclude from an error."""

    NOT_DONE = "not_done"
    UNKNOWN = "unknown"


class Code(StrEnum):
    """Every error code of the wire, with its HTTP status and outcome."""

    BAD_REQUEST = "bad_request"
    INVALID = "invalid"
    UNKNOWN_OP = "unknown_op"
    UNKNOWN_CHANNEL = "unknown_channel"
    NOT_FOUND = "not_found"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    CONFLICT = "conflict"
    MODE_MISMATCH = "mode_mismatch"
    EXPIRED = "expired"
    CONFIRM_REQUIRED = "confirm_required"
    RATE_LIMITED = "rate_limited"
    BUSY = "busy"
    HALTED = "halted"
    RISK_REJECTED = "risk_rejected"
    INSUFFICIENT_FUNDS = "insufficient_funds"
    VENUE_REJECTED = "venue_rejected"
    NOT_SUPPORTED = "not_supported"
    VENUE_UNAVAILABLE = "venue_unavailable"
    OUTCOME_UNKNOWN = "outcome_unknown"
    INTERNAL = "internal"
    # Codes of order rows: how an order without an answer ended, proven.
    ABSENT = "absent"

    @property
    def http(self) -> int:
        """The HTTP status of this code (protocol document, section 9.1)."""
        return HTTP_STATUS[self]

    @property
    def outcome(self) -> Outcome:
        """What is certain after this code; for `internal`, of a command."""
        unknown = self in {Code.OUTCOME_UNKNOWN, Code.INTERNAL}
        return Outcome.UNKNOWN if unknown else Outcome.NOT_DONE


HTTP_STATUS: Mapping[Code, int] = {
    Code.BAD_REQUEST: 400,
    Code.INVALID: 422,
    Code.UNKNOWN_OP: 404,
    Code.UNKNOWN_CHANNEL: 404,
    Code.NOT_FOUND: 404,
    Code.UNAUTHORIZED: 401,
    Code.FORBIDDEN: 403,
    Code.CONFLICT: 409,
    Code.MODE_MISMATCH: 409,
    Code.EXPIRED: 408,
    Code.CONFIRM_REQUIRED: 428,
    Code.RATE_LIMITED: 429,
    Code.BUSY: 503,
    Code.HALTED: 423,
    Code.RISK_REJECTED: 422,
    Code.INSUFFICIENT_FUNDS: 422,
    Code.VENUE_REJECTED: 422,
    Code.NOT_SUPPORTED: 501,
    Code.VENUE_UNAVAILABLE: 502,
    Code.OUTCOME_UNKNOWN: 504,
    Code.INTERNAL: 500,
    Code.ABSENT: 422,
}

Details = Mapping[str, object]


class Failure(Exception):
    """What the three families share: a code, a sentence for people, and details for programs.

    Args:
        code: What the client sees.
        message: Names value, limit and unit; for people, may change.
        details: Machine-readable facts, or None.
        retry_after: Seconds after which repeating makes sense; None when it does not.
    """

    def __init__(
        self,
        code: Code,
        message: str,
        details: Details | None = None,
        *,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details
        self.retry_after = retry_after


class Refused(Failure):
    """We said no; nothing left this process."""


class VenueRejected(Failure):
    """The venue said no; nothing happened there, and we know it."""


class VenueUnknown(Failure):
    """Handed to the venue, no proof either way. Look it up; never send again."""

    def __init__(self, message: str, details: Details | None = None) -> None:
        super().__init__(Code.OUTCOME_UNKNOWN, message, details)


def invalid(field: str, message: str, **details: object) -> Refused:
    """Make the refusal that names one field.

    Example: `raise invalid("price", "is off the tick 0.01", nearest=["63900.00", "63900.01"])`.
    """
    fields = [{"field": field, "message": message}]
    return Refused(Code.INVALID, f"{field}: {message}", {"fields": fields, **details})
