"""What has to agree: intents written down, calls made, answers, fills (2.7). More calls than intents is a runaway."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class Tally:
    """Counts of this process.

    Attributes:
        intents: Orders handed to the journal.
        calls: Placements handed to the venue, and those stopped because no intent of theirs was left.
        answers: Placements that the venue answered.
        fills: Executions written down.
    """

    intents: int = 0
    calls: int = 0
    answers: int = 0
    fills: int = 0
    _unsent: set[str] = field(default_factory=set)

    def intend(self, order_id: str) -> None:
        """Count an intent: one call may be made for it."""
        self.intents += 1
        self._unsent.add(order_id)

    def call(self, order_id: str) -> bool:
        """Count a call about to be made; False when no intent is left for it."""
        self.calls += 1
        if order_id not in self._unsent:
            return False
        self._unsent.discard(order_id)
        return True

    def withhold(self, order_id: str) -> None:
        """Forget an intent that came to no call."""
        self._unsent.discard(order_id)

    def row(self) -> dict[str, int]:
        """Show the counts."""
        return {
            "intents": self.intents,
            "calls": self.calls,
            "answers": self.answers,
            "fills": self.fills,
        }
