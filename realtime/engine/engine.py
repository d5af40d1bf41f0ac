"""The trading engine of one account: events in, new state and effects out.

Rules of this file:
1 `process` is the only way state changes.
2 Nothing here awaits, logs, reads a clock or knows who listens.
3 A wish is decided into facts, or refused and then nothing has changed; its facts are applied like the
  facts that come from outside.
4 What is journaled is exactly what `Record` names. Replaying those facts gives the same state, see
  `digest`; the venue's word on balances and positions, prices and readiness are asked for anew.
5 Every event is handled in a `match` that ends in `assert_never`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal, localcontext
from hashlib import sha256
from typing import Final, assert_never, cast, get_args

from realtime.engine import absence, acts, assessment, decide, portfolio
from realtime.engine.apply import Applier
from realtime.engine.forgotten import SIZES, Sizes
from realtime.engine.legs import suspended
from realtime.engine.orderbook import OrderBook
from realtime.engine.orders import Ledger
from realtime.engine.risk import check, max_allowed, preview, refusing
from realtime.engine.shares import Shares
from realtime.engine.state import ALL, EQUITY_FOR, State
from realtime.engine.watch import watch_price, watch_time
from realtime.model.account import Balance, Day, Marked, Portfolio, Position, Valued
from realtime.model.events import (
    Accepted,
    Amend,
    BookChanged,
    Effect,
    Event,
    Fact,
    Gap,
    Place,
    Release,
    StaleChanged,
    Tick,
    TickerChanged,
    Traded,
    Wish,
)
from realtime.model.market import (
    MONEY,
    BookDelta,
    BookSnapshot,
    Mark,
    Market,
    Stale,
    Ticker,
    Trade,
)
from realtime.model.orders import Fill, Order, TriggerBy
from realtime.model.risk import Halt, Limits, Preview, RiskView, TradingState


OF_MARKETS: Final = (Trade, BookDelta, BookSnapshot, Mark, Stale, Tick, Gap)
"""Events that are neither a wish nor a fact: they are never journaled."""

FACTS: Final = frozenset(get_args(Fact))


class Engine:
    """One account at one venue.

    Attributes:
        venue, mode: Shown in rows.
        markets: By unified symbol.
        valuation_currency: In which equity and limits are counted.

    Args:
        sizes: How many ended orders are kept in memory, and how long.
    """

    def __init__(
        self,
        *,
        venue: str,
        mode: str,
        markets: Mapping[str, Market],
        limits: Limits,
        valuation_currency: str = "USDT",
        sizes: Sizes = SIZES,
    ) -> None:
        self.venue = venue
        self.mode = mode
        self.markets = markets
        self.valuation_currency = valuation_currency
        self._state = State(
            venue=venue,
            mode=mode,
            markets=markets,
            limits=limits,
            currency=valuation_currency,
            sizes=sizes,
        )
        self._applier = Applier(self._state)

    def share_book(self, symbol: str, book: OrderBook) -> None:
        """Read the book of a symbol from its source, once the source has told its first snapshot.

        Args:
            symbol: Unified symbol; without this call the engine keeps a book of its own.
            book: Changed by its owner alone, before each snapshot or delta of it is given to `process`.
        """
        self._state.quotes.share(symbol, book)

    def forget_book(self, symbol: str) -> None:
        """Let the book of a symbol go, of which nothing is told until its next snapshot; a shared one stays."""
        self._state.quotes.forget_book(symbol)

    def relist(self) -> None:
        """Take note that `markets`, which is the venue's own mapping, has markets that it had not."""
        self._state.relist()

    # -- the one way in ------------------------------------------------------------------------

    def process(self, event: Event) -> list[Effect]:
        """Take one event.

        Returns:
            Effects in order; what follows a `Record` waits for its commit. A resent placement gives
            the single effect `Duplicate`; a wish that changes nothing gives none, nor does an answer to a
            placement that says only what is known.

        Raises:
            Refused: A wish is refused; the state is what it was.
        """
        if isinstance(event, Ticker):
            # Of all events most are tickers.
            self._state.quotes.take_ticker(event)
            return self._priced(event.symbol, event.recv_ts, TickerChanged(event))
        out: list[Effect] = []
        # By its class: comparing it with two dozen others would take as long as some facts do.
        if type(event) in FACTS:
            if type(event) is Accepted and acts.known(self._applier, event):
                return out
            with localcontext(MONEY):
                self._applier.apply(cast("Fact", event), out)
            return out
        if not isinstance(event, OF_MARKETS):
            if type(event) is Release and not event.waited:
                # It compares and works nothing out: entering MONEY would take as long again.
                decide.release(self._state, event)
                return out
            with localcontext(MONEY):
                decide.decide(self._state, self._applier, cast("Wish", event), out)
            return out
        match event:
            case Trade():
                self._state.quotes.take_trade(event)
                return self._priced(event.symbol, event.recv_ts, Traded(event))
            case BookDelta():
                return self._book_delta(event)
            case BookSnapshot():
                book = self._state.quotes.take_snapshot(event)
                if book.crossed:
                    return []
                return [BookChanged(event.symbol, event.ts, event.repaired)]
            case Mark():
                self._state.quotes.take_mark(event)
                return self._priced(event.symbol, event.ts, None)
            case Stale():
                alarms = self._suspend(event)
                self._state.quotes.take_stale(event)
                return [StaleChanged(event), *alarms]
            case Tick():
                with localcontext(MONEY):
                    return watch_time(self._state, self._applier, event)
            case Gap():
                with localcontext(MONEY):
                    steps = absence.catch_up(self._applier.legs, self._state, event)
                    self._applier.carry(steps, event.ts, out)
                return out
            case _:
                assert_never(event)

    def replay(self, fact: Fact) -> None:
        """Take a fact of the journal: that it counts was judged when it was written, by the program of then."""
        self._state.replaying = True
        try:
            self.process(fact)
        finally:
            self._state.replaying = False

    def _suspend(self, stale: Stale) -> list[Effect]:
        """Alarm for legs that only we hold, of what had prices until now (B10)."""
        return [
            suspended(symbol)
            for symbol, watches in self._applier.legs.watches.items()
            if stale.stale
            and watches
            and stale.symbol in {None, symbol}
            and not self._state.quotes.is_stale(symbol)
        ]

    def _book_delta(self, delta: BookDelta) -> list[Effect]:
        book = self._state.quotes.take_delta(delta)
        # A crossed book is wrong: it is withheld until the venue's next word mends it.
        if book is None or book.crossed:
            return []
        return [BookChanged(delta.symbol, delta.ts)]

    def _priced(self, symbol: str, ts: int, effect: Effect | None) -> list[Effect]:
        out: list[Effect] = [] if effect is None else [effect]
        applier = self._applier
        # Most prices are of what nobody holds, the others come when all was looked at a moment ago.
        if symbol in applier.watched and (
            ts - applier.checked_ts >= EQUITY_FOR or symbol in applier.legs.watches
        ):
            with localcontext(MONEY):
                watch_price(self._state, applier, symbol, ts, out)
        return out

    # -- reading -------------------------------------------------------------------------------

    @property
    def orders(self) -> Ledger:
        """All orders; to be read only."""
        return self._state.orders

    @property
    def positions(self) -> Mapping[str, Position]:
        """By symbol; flat ones keep their sums."""
        return self._state.account.positions

    @property
    def balances(self) -> Mapping[str, Balance]:
        """The venue's word, by `currency|wallet`."""
        return self._state.account.balances

    @property
    def doubts(self) -> frozenset[str]:
        """Currencies and symbols whose books have differed from the venue's word for long: it is asked again."""
        account = self._state.account
        return frozenset(account.due - account.believed)

    @property
    def books(self) -> Mapping[str, OrderBook]:
        """By symbol."""
        return self._state.quotes.books

    @property
    def tickers(self) -> Mapping[str, Ticker]:
        """By symbol."""
        return self._state.quotes.tickers

    @property
    def limits(self) -> Limits:
        """In force."""
        return self._state.limits

    @property
    def halts(self) -> Mapping[str, Halt]:
        """Scopes that are not active."""
        return self._state.halts

    @property
    def ready(self) -> bool:
        """Whether the account is reconciled and its data trusted."""
        return self._state.ready

    @property
    def day(self) -> Day:
        """Counters of the trading day."""
        return self._state.account.day()

    @property
    def last_fill_ts(self) -> int:
        """When the newest booked fill happened [ns]; 0 without any."""
        return self._state.orders.last_fill_ts

    def fills_of(self, order_id: str) -> tuple[Fill, ...]:
        """Booked fills of an order, oldest first."""
        return self._state.orders.fills_of(order_id)

    @property
    def shares(self) -> Shares:
        """What bots have of the account; to be read only."""
        return self._state.account.shares

    def state(self, symbol: str | None = None, bot_id: str | None = None) -> TradingState:
        """The strictest trading state that applies to a symbol and a bot; without them, to all."""
        halt = self._state.halt_of(symbol, bot_id)
        return TradingState.ACTIVE if halt is None else halt.state

    def halted(self, scope: str) -> bool:
        """Whether exactly this scope is set to anything but active."""
        return scope in self._state.halts

    def mark(self, symbol: str) -> tuple[Decimal, str] | None:
        """Price and source (`mark`, `mid`, `last`) a symbol is valued at."""
        with localcontext(MONEY):
            return self._state.quotes.mark(symbol)

    def worth(self, currency: str) -> Decimal | None:
        """Price of one unit of a currency in the valuation currency; None without a way or a price."""
        with localcontext(MONEY):
            return self._state.quotes.worth(currency)

    def free(self, currency: str) -> Decimal | None:
        """What an order may use of a currency now; None while its balance is not known."""
        with localcontext(MONEY):
            return self._state.free(currency)

    def preview(self, place: Place) -> Preview:
        """What the gate would say to this placement now; nothing changes.

        Raises:
            Refused: `invalid` or `not_found` for an order that makes no sense by itself.
        """
        with localcontext(MONEY):
            return preview(self._state, place)

    def permit(self, place: Place) -> None:
        """Judge a placement as if it came now; nothing changes, and a placement is judged again.

        Raises:
            Refused: As the placement would be.
        """
        with localcontext(MONEY):
            check(self._state, place)

    def refusing(self, place: Place) -> tuple[str, ...]:
        """Names of the rules by which the gate would refuse this placement now; nothing changes."""
        with localcontext(MONEY):
            return refusing(self._state, place)

    def largest(self, place: Place) -> Decimal:
        """The largest amount on the grid that the gate would pass in this placement now; zero when it passes none."""
        with localcontext(MONEY):
            return max_allowed(self._state, place, self._state.markets[place.order.symbol])

    def repeated(self, place: Place) -> Order | None:
        """The order that this placement has made before; None when its id is new.

        Raises:
            Refused: `conflict`: it was made with other content.
            Forgotten: It has made one that is forgotten.
        """
        return decide.repeated(self._state, place)

    def forgot(self, client_order_id: str, content: Mapping[str, str] | None = None) -> bool:
        """Whether an order had this id that is forgotten: the journal knows what it came to.

        Args:
            client_order_id: The client's.
            content: What is sent under it now; None compares nothing.

        Raises:
            Refused: `conflict`: it was used with other content.
        """
        return decide.forgot(self._state, client_order_id, content)

    def preview_amend(self, amend: Amend) -> bool:
        """Whether this amend would change anything; nothing changes now.

        Raises:
            Refused: As the gate would.
        """
        with localcontext(MONEY):
            asked, _, bracket = decide.judge_amend(self._state, amend)
            return asked is not None or bracket is not None

    def risk_view(self, ts: int) -> RiskView:
        """The account's risk (channel `risk`, op `risk.assessment`)."""
        with localcontext(MONEY):
            return assessment.risk_view(self._state, ts)

    def risk_level(self, ts: int) -> str:
        """The account's level alone: what has to be looked at more often than the whole."""
        with localcontext(MONEY):
            return assessment.risk_level(self._state, ts)

    def score(self, symbol: str, score: float) -> None:
        """Remember the risk score 0..1 of a symbol's last signal, for the assessment; it decides nothing."""
        self._state.scores[symbol] = Decimal(repr(score))

    def daily(self, symbol: str, returns: Mapping[int, float]) -> None:
        """Take a symbol's daily returns by day [ns], for value at risk; they decide nothing."""
        self._state.daily[symbol] = returns

    def value(self, ts: int) -> Portfolio:
        """Everything held, valued."""
        with localcontext(MONEY):
            return portfolio.value(self._state, ts)

    def mark_position(self, position: Position) -> Marked:
        """A position at the market's price."""
        with localcontext(MONEY):
            marked = portfolio.mark_position(self._state, position)
        watched = bool(self._applier.legs.watches.get(position.symbol))
        stale = marked.stale or not self._state.ready
        return replace(marked, stale=stale, suspended=watched and marked.stale)

    def value_balance(self, balance: Balance) -> Valued:
        """A balance in the valuation currency."""
        with localcontext(MONEY):
            return portfolio.value_balance(self._state, balance)

    def flatten(self, ts: int, scope: str = ALL) -> list[Place]:
        """Wishes that close every position of a scope (`all`, `venue:ID`, `symbol:S`) at the market."""
        with localcontext(MONEY):
            return decide.flatten(self._state, scope, ts)

    def unfinished(self, ts: int) -> list[Fact]:
        """What is true after a restart: calls without an outcome have an unknown one (2.1)."""
        return decide.unfinished(self._state, ts)

    def missing_fills(self, order_id: str, ts: int) -> list[Fact]:
        """The inferred fill for what an order's row shows and its fills do not; after fills were fetched."""
        with localcontext(MONEY):
            return decide.missing_fills(self._state, order_id, ts)

    @property
    def protects(self) -> bool:
        """Whether anything is protected by a stop or target, or will be when it fills."""
        return absence.cares(self._applier.legs, self._state)

    def unwatched(self, *, slept: bool) -> Sequence[tuple[str, TriggerBy]]:
        """The symbols, and the price of each, on which stops and targets hang that nobody watches.

        Args:
            slept: Whether those that the venue holds count, too: it was down with us.
        """
        found = absence.unwatched(self._applier.legs, self._state, slept=slept)
        return list(dict.fromkeys((parent.symbol, parent.trigger_by) for parent, _ in found))

    @property
    def given(self) -> Mapping[str, object]:
        """What this engine was made with or is told again, and no fact has made, by name.

        Everything else that hangs on an engine to which only facts were given is made by them alone.
        """
        return self._state.given

    def dump(self) -> Iterator[str]:
        """All state that facts have made, line by line, in a fixed order."""
        state = self._state
        yield f"limits {state.limits!r}"
        yield f"halts {sorted(state.halts.items())}"
        pace = state.pace
        yield f"pace {sorted(pace.owners.items())} {sorted(pace.exits.items())}"
        yield f"pace {pace.ts} {pace.account} {pace.account_exits} {sorted(pace.executions.items())}"
        yield from state.orders.dump()
        yield from state.account.dump()
        yield from self._applier.legs.dump()

    def digest(self) -> str:
        """SHA-256 of `dump`: equal for two engines that took the same facts."""
        sums = sha256()
        for line in self.dump():
            sums.update(line.encode())
            sums.update(b"\n")
        return sums.hexdigest()
