"""The markets of a venue while it is open: read again, and told where they are not what they were.

Rules of this file:
1 No market disappears silently: one that is delisted stays, inactive, and is told.
2 A reading that has less than half of the markets is an answer that was cut off, and is not believed.
3 ccxt and we know the same at any time: a reading is taken over by all instances and by us in one step.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from realtime.model.errors import Failure
from realtime.model.market import Market
from realtime.venues.base import Listed
from realtime.venues.ccxt import markets as listing
from realtime.venues.ccxt.account import Account
from realtime.venues.ccxt.asking import LONGEST
from realtime.venues.ccxt.reading import Reading
from realtime.venues.ccxt.way import Tell


logger = logging.getLogger("realtime.venues.ccxt")

AGAIN_S: Final = 60.0
"""When markets are read again at the soonest: after a reading that failed, or where an order was refused for its form."""
FEW: Final = 20
"""So many markets that change in the same way have an alert each; more have one together."""
NAMED: Final = 10
"""Symbols that one alert for many markets names."""


class Register:
    """What is listed at one exchange.

    Args:
        account: Named in alerts.
        markets: By symbol, and changed here: rules that change are replaced in place, what is listed later is added,
            and what is delisted stays, inactive.
        read: Reads them again; raises a `Failure` where it cannot.
        every_s: Time between two readings [s].
        clock: Monotonic time [s].
        alert: Told what an operator should know.
        left: Called with a symbol that is delisted now, before that is told.
        back: Called with one that is listed again, likewise.

    Attributes:
        gone: Symbols that are delisted.
        learn: Called with what is listed for the first time, before that is told.
        told: As of `Relisting`.
    """

    def __init__(
        self,
        *,
        account: Account,
        markets: dict[str, Market],
        read: Callable[[], Awaitable[Reading]],
        every_s: float,
        clock: Callable[[], float],
        alert: Tell,
        left: Callable[[str], None],
        back: Callable[[str], None],
    ) -> None:
        self._account = account
        self._markets = markets
        self._read = read
        self._every_s = every_s
        self._clock = clock
        self._alert = alert
        self._left = left
        self._back = back
        self.gone: set[str] = set()
        self.learn: Listed = _unheard
        self.told: Listed = _unheard
        # What was read last, and who at this exchange knows the markets by it.
        self._reading: Reading | None = None
        self._instances: list[Any] = []
        self._due = 0.0
        self._read_at = 0.0
        self._reads = False

    # --- who knows it -------------------------------------------------------------------------

    def share(self, exchange: Any) -> None:
        """Let an instance know the markets, now and after each later reading."""
        self._instances.append(exchange)
        if self._reading is not None:
            self._reading.share(exchange)

    def unshare(self, exchange: Any) -> None:
        """Let an instance go that is closed."""
        if exchange in self._instances:
            self._instances.remove(exchange)

    # --- when it is read ----------------------------------------------------------------------

    def begin(self, reading: Reading, known: Mapping[str, Market]) -> None:
        """Take the first reading; `known` markets of before that are not in it are delisted ones."""
        self._read_at = self._clock()
        self._due = self._read_at + self._every_s
        self._markets.update(reading.read.markets)
        for symbol, market in known.items():
            if symbol not in self._markets:
                self._markets[symbol] = replace(market, active=False)
                self.gone.add(symbol)
        # Their orders may have ended, or still work, and ccxt asks for none of a market that it does not know.
        rows = {name: listing.row_of(self._markets[name], reading.mode) for name in self.gone}
        self._adopt(reading.keeping(rows))

    def soon(self) -> None:
        """Have the markets read again soon: something suggests that they are not what they were."""
        self._due = min(self._due, max(self._read_at + AGAIN_S, self._clock()))

    def due(self, now: float) -> bool:
        """Whether to read them now, by `again`: who is told so has to."""
        if now < self._due or self._reads:
            return False
        self._due = now + self._every_s
        self._reads, self._read_at = True, now
        return True

    async def again(self) -> None:
        """Read them; soon once more where that failed."""
        try:
            reading = await self._read()
        except Failure as error:
            logger.warning("markets were not read again", extra={"why": str(error)[:LONGEST]})
            self._due = min(self._due, self._clock() + AGAIN_S)
            return
        finally:
            self._reads = False
        self.take(reading)

    # --- what a reading changes ---------------------------------------------------------------

    def take(self, reading: Reading) -> None:
        """Take a later reading over, for ccxt and for us, in one step."""
        found, before = reading.read.markets, self._reading
        if 2 * len(found) < len(self._markets):
            text = f"{self._account.exchange} listed {len(found)} of {len(self._markets)} markets"
            self._alert("warning", "markets_doubtful", text, {"venue": self._account.id})
            return
        if before is not None:
            # What is gone has orders to cancel and streams to leave, and ccxt wants to know what they are of.
            rows = before.tables["markets"]
            gone = [symbol for symbol in self._markets if symbol not in found]
            reading = reading.keeping({name: rows[name] for name in gone if name in rows})
        self._adopt(reading)
        self._update(found)

    def _adopt(self, reading: Reading) -> None:
        self._reading = reading
        for exchange in self._instances:
            reading.share(exchange)

    def _update(self, found: Mapping[str, Market]) -> None:
        """Change our markets to those of a later reading."""
        altered: dict[tuple[str, tuple[str, ...]], list[str]] = {}
        listed: list[str] = []
        delisted: list[str] = []
        for change in listing.changes(self._markets, found):
            symbol = change.symbol
            if change.what == "delisted":
                if symbol not in self.gone:
                    self.gone.add(symbol)
                    self._markets[symbol] = replace(self._markets[symbol], active=False)
                    self._left(symbol)
                    delisted.append(symbol)
                continue
            self._markets[symbol] = found[symbol]
            if change.what == "listed":
                listed.append(symbol)
                continue
            if symbol in self.gone:
                self.gone.discard(symbol)
                self._back(symbol)
            altered.setdefault((change.what, change.fields), []).append(symbol)
        if listed:
            self.learn([self._markets[symbol] for symbol in listed])
        anew = [*listed, *delisted, *(symbol for many in altered.values() for symbol in many)]
        if anew:
            self.told([self._markets[symbol] for symbol in anew])
        self._tell("market_delisted", "delisted", (), delisted)
        for (what, fields), symbols in altered.items():
            self._tell("market_changed", what, fields, symbols)

    def _tell(self, code: str, what: str, fields: Sequence[str], symbols: Sequence[str]) -> None:
        """Tell what became of markets, one by one; of many, such as a new fee for all, at once."""
        gone = code == "market_delisted"
        how = "not listed any more" if gone else f"{what} ({', '.join(fields) or 'activity'})"
        data: dict[str, object] = {
            "venue": self._account.id,
            "change": what,
            "fields": list(fields),
        }
        if len(symbols) > FEW:
            text = f"{len(symbols)} markets are {how}, such as {', '.join(symbols[:NAMED])}"
            self._alert("warning", code, text, data | {"symbols": list(symbols[:NAMED])})
            return
        for symbol in symbols:
            text = f"{symbol} is {how}" if gone else f"{symbol}: {how}"
            self._alert("warning", code, text, data | {"symbol": symbol})


def _unheard(_markets: Sequence[Market]) -> None:
    """Tell nobody."""
