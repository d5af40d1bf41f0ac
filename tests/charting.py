"""An exchange with a history of bars and trades, for what is computed of them."""

from collections.abc import Sequence

from realtime.engine.bars import TIMEFRAMES
from realtime.model.errors import Code, VenueRejected
from realtime.model.market import SECOND, Bar, Trade
from tests.fakes import BTC, START_NS, ScriptedVenue


MINUTE = 60 * SECOND
FIRST = START_NS // MINUTE * MINUTE
"""Opening of the bar that is forming when a life begins."""


class ChartVenue(ScriptedVenue):
    """Bars of one minute end where the first life begins; the newest is forming.

    Attributes:
        closes: Of the closed bars, oldest first; every bar opens at the close before, and is 2 high.
        lost: Places counted back from the newest of bars that never were.
        asked_bars: Arguments of the questions for bars.
        down: How many questions for bars fail from now on.
    """

    def __init__(self, closes: Sequence[float] = ()) -> None:
        super().__init__()
        self.closes = list(closes)
        self.lost: set[int] = set()
        self.asked_bars: list[tuple[str, str, int]] = []
        self.down = 0

    async def ohlcv(
        self, symbol: str, timeframe: str, since: int | None, limit: int
    ) -> Sequence[Bar]:
        self.asked_bars.append((symbol, timeframe, limit))
        if self.down:
            self.down -= 1
            raise VenueRejected(Code.VENUE_UNAVAILABLE, "no history now")
        if not self.closes:
            return ()
        length = TIMEFRAMES[timeframe]
        start = self._now() // length * length
        rows, before = [], self.closes[0]
        for place, close in enumerate(self.closes):
            back = len(self.closes) - place
            if back not in self.lost:
                rows.append(bar(start - back * length, before, close))
            before = close
        rows.append(bar(start, before, before))
        return rows[-limit:]

    def trade(self, price: str, ts: int, symbol: str = BTC) -> None:
        """Somebody trades one [ns]."""
        self._post(
            (
                Trade(
                    symbol=symbol,
                    id=f"t{ts}",
                    side="buy",
                    price=price,
                    amount="1",
                    ts=ts,
                    recv_ts=ts,
                ),
            )
        )


def bar(ts: int, start: float, close: float) -> Bar:
    top, bottom = max(start, close) + 1, min(start, close) - 1
    return Bar(ts, str(start), str(top), str(bottom), str(close), "3")
