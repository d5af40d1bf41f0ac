"""From effects to channels: which row goes where, and at what pace.

Rules of this file: (1) rows are made here, by `engine/rows.py`, and nowhere else; (2) rows of facts carry what is
committed, also when they are published again because a price moved; (3) market data costs one call and no row until
somebody reads it, and so does what changes often and is soon superseded: working orders, positions, balances;
(4) what one commit made durable is noted row by row and shown once: of an order, a position or a balance the newest row.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from decimal import Decimal
from functools import partial
from typing import Final

from realtime.desk.charts import Charts
from realtime.desk.codec import dumps
from realtime.desk.entries import Entry
from realtime.engine import rows
from realtime.engine.engine import Engine
from realtime.hub.channels import TOPICS, WHOLE
from realtime.hub.hub import Hub
from realtime.hub.rows import Make
from realtime.hub.stream import Written
from realtime.model.account import Balance, Marked, Position
from realtime.model.events import BookChanged, Effect, FillBooked, OrderChanged
from realtime.model.market import MONEY, MS, SECOND, Market, Stale, Ticker, Trade
from realtime.model.orders import Fill, Order
from realtime.model.rows import RiskRow
from realtime.store.rows import Projection


LEVEL_NS: Final = 20 * MS
"""Least time between two looks at the level of risk: with thousands of fills a second each would cost an order."""
SHOWN_NS: Final = 300 * SECOND
"""How long an ended order stays in the channel `orders`."""
SHOWN: Final = 640 * 1024
"""Bytes of its rows that ended orders leave at most, those not ended counted at `OPEN`: one message has them all."""
LEAST: Final = 256 * 1024
"""Room that ended orders have however many are open: what came of a command is to be seen, if in a snapshot of parts."""
FULL: Final = 832 * 1024
"""Bytes at which they leave at once: a quarter of a second of 2,000 orders/s is half a megabyte."""
OPEN: Final = 1_024
"""Room for the row of an order that has not ended [B]; it is always shown."""
DERIVED: Final = ("ohlcv", "indicators")
"""Channels of a symbol that are made of its trades: as stale as those."""
NAMED: Final = ("orders", "fills", "positions", "balances")
"""Streams that a command's `at` can name."""
ACCOUNT: Final = (*NAMED, "risk", "portfolio")
"""Channels that tell of the account: stale with its venue, and while nobody has compared it with what the venue has."""
DOUBTED: Final = "desync"
"""Why they are, where the venue speaks."""


class Outlet:
    """Publishes for one desk."""

    def __init__(
        self,
        *,
        engine: Engine,
        hub: Hub,
        mode: str,
        zone: Callable[[], str],
        now: Callable[[], int],
        mark: str = "",
    ) -> None:
        """Make it.

        Args:
            engine: Whose account is shown.
            hub: Where it is published.
            mode: Shown in rows.
            zone: Time zone of trading days.
            now: Wall clock [ns].
            mark: Stands behind the names of its channels, such as `@kraken`; empty for the first account.
        """
        self._engine = engine
        self._hub = hub
        self._mode = mode
        self._zone = zone
        self._now = now
        self.charts: Charts | None = None
        self.status: Callable[[], Mapping[str, object]] = dict
        self.strategies: Callable[[], Mapping[str, object]] = dict
        self._channels = {name: name if name in WHOLE else name + mark for name in TOPICS}
        self._mark = mark
        self._books: dict[str, str] = {}
        # By symbol, for a ticker is published far oftener than it is read: its channel, and what makes the row.
        self._tickers: dict[str, tuple[str, Make]] = {}
        self._trades: dict[str, str] = {}
        # Symbols that are stale; and the channels made of a symbol's trades that were called stale with it.
        self._silent: set[str] = set()
        self._derived: dict[str, set[str]] = {}
        self._name(engine.markets)
        self._ended: deque[tuple[int, str]] = deque()
        # Bytes of their rows, each and all.
        self._sizes: dict[str, int] = {}
        self._ended_bytes = 0
        self._positions: dict[str, Position] = {}
        self._balances: dict[str, Balance] = {}
        self._moved: set[str] = set()
        self._priced = False
        self._canceling = False
        self._level: str | None = None
        self._looked = 0
        # Rows that were written for the journal and are about to be shown.
        self._made: dict[str, tuple[Order, Written]] = {}
        self._made_fills: dict[str, tuple[Fill, Written]] = {}
        # What is noted and not shown yet; empty between two steps of the loop.
        self._new_orders: dict[str, Order] = {}
        self._new_fills: list[Fill] = []
        self._new_positions: dict[str, Position] = {}
        self._new_balances: dict[str, Balance] = {}
        self._named = [self._channels[name] for name in NAMED]
        # Why the whole venue is stale; and whether the channels of the account are, as their readers were told.
        self._mute: Stale | None = None
        self._doubted = False
        # Where the streams that a reply names stand, until one of them moves.
        self._at: dict[str, object] | None = None
        # Before anybody reads: what the journal remembers is not what the venue has.
        self._judge(self._remembered())

    def _name(self, symbols: Iterable[str]) -> None:
        for symbol in symbols:
            self._books[symbol] = f"orderbook:{symbol}{self._mark}"
            self._tickers[symbol] = (
                f"ticker:{symbol}{self._mark}",
                partial(self._ticker_row, symbol),
            )
            self._trades[symbol] = f"trades:{symbol}{self._mark}"

    # -- market data, at once --------------------------------------------------------------------

    def markets(self, changed: Sequence[Market]) -> None:
        """Publish markets that are new or not what they were; the engine has them already."""
        self._name([market.symbol for market in changed if market.symbol not in self._books])
        table = self._channels["markets"]
        self._hub.table(table, rows=[rows.market_row(market) for market in changed])

    def unread(self, symbol: str) -> None:
        """Let the book of a symbol go, which nobody reads and the venue tells no more."""
        self._engine.forget_book(symbol)
        self._hub.forget_book(self._books[symbol])

    def book(self, changed: BookChanged) -> None:
        """Publish an order book."""
        symbol = changed.symbol
        self._moved.add(symbol)
        book = self._engine.books[symbol]
        self._hub.book(
            self._books[symbol], book, asof=changed.asof // MS, repaired=changed.repaired
        )

    def ticker(self, ticker: Ticker) -> None:
        """Publish a ticker."""
        symbol = ticker.symbol
        self._moved.add(symbol)
        name, make = self._tickers[symbol]
        self._hub.value(name, make, asof=ticker.ts // MS)

    def _ticker_row(self, symbol: str) -> Mapping[str, object]:
        return rows.ticker_row(self._engine.tickers[symbol], self._market(symbol))

    def trade(self, trade: Trade) -> None:
        """Publish a public trade and fold it into bars."""
        symbol = trade.symbol
        make = partial(rows.trade_row, trade, self._engine.markets[symbol])
        self._hub.append(self._trades[symbol], make, asof=trade.ts // MS)
        if self.charts is not None and not self.charts.idle:
            self.charts.add(trade)

    def bars(self, name: str, data: dict[str, object], asof: int) -> None:
        """Publish bars."""
        if self._mark:
            front, query, options = name.partition("?")
            name = f"{front}{self._mark}{query}{options}"
        self._hub.value(name, data, asof=asof // MS)

    def stale(self, stale: Stale) -> None:
        """Publish that a source went silent or came back, and what depends on it."""
        symbols = self._engine.markets if stale.symbol is None else (stale.symbol,)
        if stale.symbol is None:
            self._mute = stale if stale.stale else None
            self._judge(stale.asof)
        if stale.stale:
            self._derive()
        for symbol in symbols:
            bases = (self._tickers[symbol][0], self._books[symbol], self._trades[symbol])
            for base in (*bases, *self._derived.get(symbol, ())):
                self._hub.set_stale(
                    base,
                    stale.stale,
                    cause=stale.cause,
                    venue=stale.venue,
                    asof=stale.asof // MS,
                )
            if stale.stale:
                self._silent.add(symbol)
                if self.charts is not None:
                    self.charts.silent(symbol, stale.asof)
            elif symbol in self._silent:
                self._silent.discard(symbol)
                self._derived.pop(symbol, None)
                if self.charts is not None:
                    self.charts.back(symbol)
                if symbol in self._engine.books:
                    # What is believed of it is of before the silence: whoever reads begins anew (protocol, 7.2).
                    self.book(BookChanged(symbol, stale.asof, repaired=True))
            self._moved.add(symbol)
        self._priced = True
        self.state()

    def _judge(self, asof: int) -> None:
        """Tell the readers of the account whether it is what the venue has; saying it twice changes nothing.

        Args:
            asof: Last time at which it was known to be, or is again [ns].
        """
        doubted = self._mute is not None or not self._engine.ready
        if doubted == self._doubted:
            return
        self._doubted = doubted
        cause = None
        if doubted:
            cause = self._mute.cause if self._mute is not None else DOUBTED
        for name in ACCOUNT:
            self._hub.set_stale(
                self._channels[name],
                doubted,
                cause=cause,
                venue=self._engine.venue,
                asof=asof // MS,
            )
        # Their rows say it as well.
        if self._positions:
            self._table("positions", self._position_rows(self._positions.values()))
        if self._balances:
            self._table("balances", self._balance_rows(self._balances.values()))

    def _remembered(self) -> int:
        """The newest time of what is known of the account [ns]; 0 where that is nothing."""
        engine = self._engine
        positions = [position.ts for position in engine.positions.values()]
        balances = [balance.ts for balance in engine.balances.values()]
        return max([engine.last_fill_ts, *positions, *balances])

    def _derive(self) -> None:
        """Note which channels there are of bars and indicators."""
        for name in self._hub.streams:
            front, _, _ = name.partition("?")
            topic, _, rest = front.partition(":")
            symbol, _, account = rest.partition("@")
            ours = account == self._mark[1:] and symbol in self._engine.markets
            if topic in DERIVED and ours:
                base = self._hub.channel(name).base
                self._derived.setdefault(symbol, set()).add(base)

    # -- facts, after their commit ---------------------------------------------------------------

    def projections(self, effects: Sequence[Effect]) -> list[Projection]:
        """Make the rows that are committed beside the facts of one event."""
        made: list[Projection] = []
        for effect in effects:
            # Three times an order: a `match` takes twice as long.
            if type(effect) is OrderChanged:
                if effect.order.status.ended:
                    made.append(self.order_projection(effect.order))
            elif type(effect) is FillBooked:
                fill = effect.fill
                row = self._fill_row(fill)
                self._made_fills[fill.id] = (fill, row)
                cols = {"symbol": fill.symbol, "order_id": fill.order_id}
                made.append(Projection("fills", fill.id, fill.ts, cols, row.json))
        return made

    def order_projection(self, order: Order) -> Projection:
        """Make the row of an order that has ended."""
        cols = {
            "symbol": order.symbol,
            "client_order_id": order.client_order_id,
            "bot_id": order.bot_id,
            "ended": int(order.status.ended),
        }
        row = self.order_row(order)
        json = dumps(row)
        self._made[order.id] = (order, Written(row, json))
        return Projection("orders", order.id, order.updated_ts, cols, json)

    def order_row(self, order: Order) -> Mapping[str, object]:
        """Make the row of an order, or give the one that was made for the journal a moment ago."""
        made = self._made.get(order.id)
        if made is not None and made[0] is order:
            return made[1].data
        return rows.order_row(order, self._market(order.symbol), self._mode)

    def _market(self, symbol: str) -> Market:
        return self._engine.markets[symbol]

    def order(self, order: Order) -> None:
        """Note an order for `show`; it leaves the channel five minutes after its end."""
        self._new_orders[order.id] = order

    def fill(self, fill: Fill) -> None:
        """Note a fill for `show`."""
        self._new_fills.append(fill)

    def position(self, position: Position) -> None:
        """Note a position for `show`; a flat one leaves the channel, and so does the other side."""
        self._new_positions[position.symbol] = position

    def balance(self, balance: Balance) -> None:
        """Note a balance for `show`."""
        self._new_balances[balance.id] = balance

    def show(self) -> None:
        """Publish what has been noted: with thousands of orders a second many share a commit and each balance."""
        if self._new_orders:
            orders, self._new_orders = self._new_orders, {}
            self._show_orders(orders.values())
        if self._new_fills:
            fills, self._new_fills = self._new_fills, []
            for fill in fills:
                made = self._made_fills.pop(fill.id, None)
                row = made[1] if made is not None and made[0] is fill else self._fill_row(fill)
                self._hub.enter(self._channels["fills"], row, asof=fill.ts // MS)
            self._at = None
        if self._new_positions:
            positions, self._new_positions = self._new_positions, {}
            self._show_positions(positions.values())
            self._look()
        if self._new_balances:
            balances, self._new_balances = self._new_balances, {}
            self._balances |= balances
            asof = max([balance.ts for balance in balances.values()]) // MS or None
            self._table("balances", self._balance_rows(balances.values()), asof=asof)

    def _fill_row(self, fill: Fill) -> Written:
        row = rows.fill_row(fill, self._market(fill.symbol), self._mode)
        return Written(row, dumps(row))

    def _show_orders(self, orders: Collection[Order]) -> None:
        ended: dict[str, Make | Written] = {}
        working: dict[str, Make] = {}
        for order in orders:
            if order.status.ended:
                # Written for the journal; of those that may pile up none is left for the first who reads.
                ended[order.id] = row = self._ended_row(order)
                size = len(row.json)
                self._ended.append((order.updated_ts + SHOWN_NS, order.id))
                self._ended_bytes += size - self._sizes.get(order.id, 0)
                self._sizes[order.id] = size
            else:
                working[order.id] = partial(self.order_row, order)
        asof = max([order.updated_ts for order in orders]) // MS
        self._table("orders", ended | working, asof=asof)
        if self._ended_bytes > self._room(FULL):
            self._leave()

    def _room(self, most: int) -> int:
        """Bytes that rows of ended orders may have beside those of all others, of so many in all."""
        return max(most - OPEN * self._engine.orders.count, most - SHOWN + LEAST)

    def _ended_row(self, order: Order) -> Written:
        made = self._made.get(order.id)
        if made is not None and made[0] is order:
            del self._made[order.id]
            return made[1]
        row = self.order_row(order)
        return Written(row, dumps(row))

    def _show_positions(self, positions: Iterable[Position]) -> None:
        held: list[Position] = []
        gone: list[str] = []
        asof = 0
        for position in positions:
            symbol, asof = position.symbol, max(asof, position.ts)
            old = self._positions.get(symbol)
            if old is not None and (not position.amount or old.id != position.id):
                gone.append(old.id)
            if position.amount:
                self._positions[symbol] = position
                held.append(position)
            elif old is not None:
                del self._positions[symbol]
        if held or gone:
            self._table("positions", self._position_rows(held), gone=gone, asof=asof // MS or None)

    def _position_rows(self, positions: Iterable[Position]) -> Mapping[str, Make]:
        return {held.id: partial(self.position_row, held) for held in positions}

    def _balance_rows(self, balances: Iterable[Balance]) -> Mapping[str, Make]:
        return {held.id: partial(self.balance_row, held) for held in balances}

    def _table(
        self,
        name: str,
        later: Mapping[str, Make | Written],
        *,
        gone: Sequence[str] = (),
        asof: int | None = None,
    ) -> None:
        self._hub.table(self._channels[name], later=later, gone=gone, asof=asof)
        self._at = None

    def _look(self) -> None:
        """Publish `risk` at once where the account's level has changed; `quarter` makes up for a look too soon."""
        now = self._now()
        if now - self._looked < LEVEL_NS:
            return
        self._looked = now
        level = self._engine.risk_level(now)
        if level != self._level:
            self._level = level
            self.risk()

    def position_row(self, position: Position) -> Mapping[str, object]:
        """Make the row of a position at the price now."""
        marked = self._engine.mark_position(position)
        return rows.position_row(marked, self._market(position.symbol), self._mode)

    def balance_row(self, balance: Balance) -> Mapping[str, object]:
        """Make the row of a balance at the price now."""
        return rows.balance_row(self._engine.value_balance(balance), self._mode)

    def event(self, entry: Written) -> None:
        """Publish an entry of `events`."""
        self._hub.enter(self._channels["events"], entry)

    def alert(self, entry: Written) -> None:
        """Publish an entry of `alerts`."""
        self._hub.enter(self._channels["alerts"], entry)

    # -- values ----------------------------------------------------------------------------------

    def risk(self) -> None:
        """Publish `risk` now, and what shows the trading state; the account may have become ready, or be so no more."""
        self._judge(self._now())
        self._hub.value(self._channels["risk"], self.risk_row)
        self.state()

    def risk_row(self) -> RiskRow:
        """Make the row of `risk`."""
        row = rows.risk_row(self._engine.risk_view(self._now()))
        return row | {"halt": "canceling"} if self._canceling else row

    def portfolio_row(self) -> rows.Row:
        """Make the snapshot of the portfolio (F18)."""
        return rows.portfolio_row(self._engine.value(self._now()))

    def whole_portfolio_row(self) -> rows.Row:
        """Make the row of `portfolio`: the snapshot, and what the status tells besides (F17)."""
        value = self._engine.value(self._now())
        return {
            **rows.portfolio_row(value),
            **rows.profit_row(value),
            "risk_summary": self.risk_summary(),
            "diversification": self.spread(value.positions),
            "active_strategies": self.strategies(),
        }

    def risk_summary(self) -> rows.Row:
        """Say in a few figures what the account risks."""
        return rows.risk_summary_row(self._engine.risk_view(self._now()))

    def spread(self, held: Iterable[Marked]) -> rows.Row:
        """Measure how the value of positions is spread."""
        worths: dict[str, Decimal | None] = {}
        for marked in held:
            symbol = marked.position.symbol
            notional, worth = marked.notional, self._engine.worth(self._market(symbol).cash)
            worths[symbol] = (
                None if notional is None or worth is None else MONEY.multiply(notional, worth)
            )
        return rows.spread_row(worths)

    def day_row(self) -> Entry:
        """Make the row of the trading day."""
        pnl = self._engine.risk_view(self._now()).daily_pnl
        return dict(rows.day_row(self._engine.day, self._zone(), pnl))

    def canceling(self, running: bool) -> None:  # noqa: FBT001 - a callback of one fact
        """Show in `risk` whether a halt's cancels are not proven yet; saying it twice changes nothing."""
        if running != self._canceling:
            self._canceling = running
            self._hub.value(self._channels["risk"], self.risk_row)

    def state(self) -> None:
        """Publish `status` now."""
        self._hub.value("status", self.status)

    def begin(self) -> None:
        """Publish everything there is, once, after recovery."""
        engine = self._engine
        self._hub.table(
            self._channels["markets"], rows=[rows.market_row(m) for m in engine.markets.values()]
        )
        now = self._now()
        # Oldest first, as they leave.
        for order in reversed(engine.orders.recent(now)):
            self.order(order)
        for balance in engine.balances.values():
            self.balance(balance)
        for position in engine.positions.values():
            self.position(position)
        self.show()
        self.risk()
        self._hub.value(self._channels["portfolio"], self.whole_portfolio_row)

    def quarter(self) -> None:
        """Publish positions whose price moved, and let ended orders leave; called four times a second."""
        self._leave()
        held = self._positions.items()
        moved = [position for symbol, position in held if symbol in self._moved]
        if self._moved:
            self._moved.clear()
            self._priced = True
        if moved:
            tickers = self._engine.tickers
            asof = max([tickers[p.symbol].ts for p in moved if p.symbol in tickers], default=0)
            self._table("positions", self._position_rows(moved), asof=asof // MS or None)
        self._look()

    def _leave(self) -> None:
        """Take the oldest ended orders out of `orders`: after their time, or sooner where too many are shown."""
        now, ended = self._now(), self._ended
        room = self._room(SHOWN)
        gone: list[str] = []
        while ended and (ended[0][0] <= now or self._ended_bytes > room):
            until, order_id = ended.popleft()
            order = self._engine.orders.get(order_id)
            # One that has changed since stands once more behind.
            if order is None or (order.status.ended and order.updated_ts + SHOWN_NS <= until):
                gone.append(order_id)
                self._ended_bytes -= self._sizes.pop(order_id, 0)
        if gone:
            self._table("orders", {}, gone=gone)

    def second(self) -> None:
        """Publish balances at new prices, `risk` and `portfolio`; called once a second."""
        if self._priced:
            self._priced = False
            if self._balances:
                self._table("balances", self._balance_rows(self._balances.values()))
        self._hub.value(self._channels["risk"], self.risk_row)
        self._hub.value(self._channels["portfolio"], self.whole_portfolio_row)
        if self.charts is not None:
            self.charts.advance(self._now())

    # -- positions of streams --------------------------------------------------------------------

    def positions(self) -> dict[str, object]:
        """Where the streams of orders and account stand now; not to be changed."""
        if self._at is None:
            self._at = {name: self._hub.position(name) for name in self._named}
        return self._at

    def named(self, names: Sequence[str]) -> dict[str, object]:
        """Where streams stand now, by the names of this account's channels."""
        found = {shown: self._hub.position(shown) for shown in map(self._shown, names)}
        return {name: at for name, at in found.items() if at is not None}

    def _shown(self, name: str) -> str:
        """Name a channel as this account's stands on the wire: `orderbook:X?depth=25` is `orderbook:X@ID?depth=25`."""
        front, query, options = name.partition("?")
        topic = front.partition(":")[0]
        return name if topic in WHOLE else f"{front}{self._mark}{query}{options}"
