"""What the account holds by our books: cash, spot holdings, derivative positions, the day.

Rules of this file:
1 Sums only (M7): amounts, costs, fees. The trade that flattens a position takes all of its cost.
2 Our books are a fold over fills, transfers and openings. The venue's word stands beside them, and a
  difference that lasts becomes an entry of its own, never an overwrite.
3 A holding whose price of entry nobody knows has cost None, and so has every profit from it.
"""

from collections.abc import Iterator, Mapping
from decimal import Decimal

from realtime.engine.evolve import evolve_day, evolve_position, trade_position
from realtime.engine.executions import Execution, Executions, share, traded
from realtime.engine.orders import BUY
from realtime.engine.shares import Shares
from realtime.model.account import Balance, Day, Position
from realtime.model.events import Filled, Transferred
from realtime.model.frozen import frozen
from realtime.model.market import SECOND, ZERO, Market
from realtime.model.orders import Fill, Order


NOISE = Decimal("0.00000001")
"""A difference between our books and the venue's that is rounding, not money [currency units]."""

LASTING = 5 * SECOND
"""How long a difference lasts before it is believed [ns]: rows and fills travel apart."""

STREAK_ENDS = 3600 * SECOND
"""After this long without a loss a streak counts from zero [ns]."""

Sums = dict[str, Decimal]

Changed = tuple[tuple[Position, Position], ...]
"""Positions before and after, that of the market first."""


@frozen
class Booking:
    """What one fill did, exact enough to be taken back.

    Attributes:
        cash: Changes of our books, by currency.
        amount, cost, realized, fees: Changes of the position's sums; cost None where unknown.
        besides: Changes of the holdings that show that cash: symbol, amount, and cost, None where unknown.
    """

    cash: tuple[tuple[str, Decimal], ...]
    symbol: str
    amount: Decimal
    cost: Decimal | None
    realized: Decimal | None
    fees: Decimal
    besides: tuple[tuple[str, Decimal, Decimal | None], ...]


@frozen
class Booked:
    """The result of booking a fill: the fill with its profit, and the positions it changed.

    Attributes:
        closed: Net profit of the trade that ended with this fill; None when none ended.
    """

    fill: Fill
    positions: Changed
    closed: Decimal | None


Moved = tuple[Changed, Decimal | None, Booking | None]
"""What an execution did: to positions, what it realized [cash], and how to take it back where that may come."""


class Account:
    """Balances, positions and the day of one account."""

    __slots__ = (
        "_bookings",
        "_executions",
        "_markets",
        "_trade_pnl",
        "_venue",
        "_wallets",
        "balances",
        "believed",
        "books",
        "bots",
        "day_fees",
        "day_info",
        "day_realized",
        "day_transfers",
        "doubts",
        "due",
        "exits",
        "homes",
        "opened_ts",
        "passed",
        "positions",
        "shares",
        "streaks",
        "told",
        "told_positions",
        "transferred",
    )

    def __init__(self, venue: str, markets: Mapping[str, Market], currency: str) -> None:
        self._venue = venue
        self._markets = markets
        # The one spot market in which a currency's holding is shown as a position.
        self.homes = homes(markets, currency)
        # The venue's word, by row id, the same by currency, and summed over wallets by currency.
        self.balances: dict[str, Balance] = {}
        self._wallets: dict[str, dict[str, Balance]] = {}
        self.told: Sums = {}
        # Our books [currency units].
        self.books: Sums = {}
        # Currencies (or symbols) whose books differ from the venue's: since when, and by how much.
        self.doubts: dict[str, tuple[int, Decimal]] = {}
        # Those that have lasted: the venue is to say it again; and those of which it has.
        self.due: set[str] = set()
        self.believed: set[str] = set()
        self.positions: dict[str, Position] = {}
        self._trade_pnl: Sums = {}
        self._bookings: dict[tuple[str, str], Booking] = {}
        # Of derivatives: what was executed last, so that what is told late finds its place.
        self._executions: dict[str, Executions] = {}
        self.day_info = Day()
        self.day_realized: Sums = {}
        self.day_fees: Sums = {}
        self.day_transfers: Sums = {}
        # Losing closed trades in a row, by owner: count and when the last one closed [ns].
        self.streaks: dict[str, tuple[int, int]] = {}
        # When a position of a symbol was last made smaller [ns].
        self.exits: dict[str, int] = {}
        # Bots that took part in a position since it was opened, by symbol.
        self.bots: dict[str, set[str]] = {}
        # What is theirs, bot by bot.
        self.shares = Shares()
        # The first look at the account that found anything [ns]; what was traded before it is in the opening already.
        self.opened_ts: int | None = None
        # The newest execution that was passed over for that [ns].
        self.passed = 0
        self.transferred: set[str] = set()
        self.told_positions: dict[str, Position] = {}

    # -- look-ups ------------------------------------------------------------------------------

    def position(self, symbol: str) -> Position | None:
        """The position a symbol's orders act on; None when it was never held."""
        market = self._markets.get(symbol)
        if market is None or market.contract:
            return self.positions.get(symbol)
        return self.positions.get(self.home(market.base) or symbol)

    def amount(self, symbol: str) -> Decimal:
        """Signed amount held that orders of this symbol act on [base, contracts]."""
        market = self._markets.get(symbol)
        if market is not None and not market.contract:
            return self.books.get(market.base, ZERO)
        held = self.positions.get(symbol)
        return held.amount if held is not None else ZERO

    def relist(self, currency: str) -> None:
        """Give currencies of new markets a symbol that shows them; `currency` is the one of valuation."""
        for base, symbol in homes(self._markets, currency).items():
            self.homes.setdefault(base, symbol)

    def home(self, currency: str) -> str | None:
        """The symbol under which a spot holding is shown; None for cash."""
        return self.homes.get(currency)

    def tradable(self) -> dict[str, Decimal]:
        """Amounts of the positions that are large enough to trade, unsigned, by symbol."""
        markets, books, found = self._markets, self.books, {}
        for symbol, position in self.positions.items():
            amount, market = position.amount, markets.get(symbol)
            if amount and market is not None and not market.contract:
                amount = books.get(market.base, ZERO)
            if amount:
                amount = abs(amount)
                if market is None or amount >= market.amount_step:
                    found[symbol] = amount
        return found

    def available(self, currency: str) -> Decimal | None:
        """What the venue says is free, over all wallets; None before it said anything."""
        wallets = self._wallets.get(currency)
        if wallets is None:
            return None
        free = ZERO
        for held in wallets.values():
            free += held.available
        return free

    def day(self) -> Day:
        """The day's counters."""
        return evolve_day(
            self.day_info,
            realized=tuple(sorted(self.day_realized.items())),
            fees=tuple(sorted(self.day_fees.items())),
            transfers=tuple(sorted(self.day_transfers.items())),
        )

    # -- the venue's word ----------------------------------------------------------------------

    def see(self, balance: Balance) -> Balance | None:
        """Take the venue's word on a balance; its last one, None before there was one."""
        name, currency, total = balance.id, balance.currency, balance.total
        old = self.balances.get(name)
        self.balances[name] = balance
        self._wallets.setdefault(currency, {})[name] = balance
        if old is None:
            self.told[currency] = self.told.get(currency, ZERO) + total
        elif (before := old.total) != total:
            self.told[currency] += total - before
        return old

    def difference(self, key: str) -> Decimal:
        """By how much the venue's figure exceeds ours: of a derivative's symbol, else of a currency."""
        if key in self.told_positions:
            held = self.positions.get(key)
            return self.told_positions[key].amount - (held.amount if held else ZERO)
        return self.told.get(key, ZERO) - self.books.get(key, ZERO)

    def compare(self, key: str, ts: int) -> Decimal:
        """Compare our books with the venue's word and remember since when they differ."""
        difference = self.difference(key)
        if abs(difference) <= NOISE:
            if key in self.doubts:
                self._trust(key)
            return ZERO
        if key not in self.doubts or self.doubts[key][1] != difference:
            self._trust(key)
            self.doubts[key] = (ts, difference)
        return difference

    def word(self, key: str, ts: int, *, asked: bool) -> None:
        """Take that the venue has just said a figure: it may be the second time that it differs (2.6).

        A stream may tell a balance long before the fill that explains it: only what was asked for behind all
        fills counts as the second time.
        """
        self.compare(key, ts)
        if asked and key in self.due:
            self.believed.add(key)

    def lasting(self, ts: int) -> list[tuple[str, Decimal]]:
        """Differences that have stayed as they are for long enough, and that the venue has said twice."""
        if not self.doubts:
            return []
        for key in list(self.doubts):
            self.compare(key, ts)
        self.due |= {key for key, (since, _) in self.doubts.items() if ts - since >= LASTING}
        return [
            (key, difference)
            for key, (_, difference) in sorted(self.doubts.items())
            if key in self.believed
        ]

    def _trust(self, key: str) -> None:
        self.doubts.pop(key, None)
        self.due.discard(key)
        self.believed.discard(key)

    def tell(self, seen: Position) -> tuple[Position, Position]:
        """Take the venue's word on a derivative: leverage, margin, liquidation; before and after."""
        mine = self.positions.get(seen.symbol) or self._fresh(seen.symbol)
        self.told_positions[seen.symbol] = seen
        new = evolve_position(
            mine,
            leverage=seen.leverage,
            margin_mode=seen.margin_mode,
            collateral=seen.collateral,
            maintenance_margin=seen.maintenance_margin,
            liquidation_price=seen.liquidation_price,
            ts=seen.ts,
        )
        self.positions[seen.symbol] = new
        return mine, new

    # -- fills ---------------------------------------------------------------------------------

    def book(self, seen: Filled, order: Order) -> Booked:
        """Book an execution of an order into cash and position; an inferred one may be taken back later."""
        symbol, bot_id = seen.symbol, order.bot_id
        market = self._markets[symbol]
        cost = abs(market.value(seen.price)) * seen.amount
        if market.contract:
            changed, realized, booking = self._book_contract(seen, market)
        else:
            changed, realized, booking = self._book_spot(seen, market, cost)
        fill = Fill(
            id=seen.trade_id,
            order_id=order.id,
            client_order_id=order.client_order_id,
            venue=seen.venue,
            symbol=symbol,
            side=seen.side,
            amount=seen.amount,
            price=seen.price,
            cost=cost,
            fee=seen.fee,
            fee_currency=seen.fee_currency,
            maker=seen.maker,
            realized_pnl=realized,
            bot_id=bot_id,
            inferred=seen.inferred,
            ts=seen.ts,
        )
        old, new = changed[0]
        if bot_id is not None:
            self.bots.setdefault(new.symbol, set()).add(bot_id)
            self.shares.book(fill, market, keep=seen.inferred)
        if not new.amount:
            self.bots.pop(new.symbol, None)
        if booking is not None:
            self._bookings[symbol, fill.id] = booking
        if realized is not None:
            sums, currency = self.day_realized, market.cash
            sums[currency] = sums.get(currency, ZERO) + realized
        if seen.fee:
            sums, currency = self.day_fees, seen.fee_currency
            sums[currency] = sums.get(currency, ZERO) + seen.fee
        closed = self._end_of_trade(old, new, realized, market)
        if closed is not None:
            self._close(closed, seen.ts, order.owner)
        return Booked(fill, changed, closed)

    def unbook(self, fill: Fill) -> Changed:
        """Take an inferred fill back: what it had changed, and what others had realized because it was among them."""
        booking = self._bookings.pop((fill.symbol, fill.id))
        self.shares.unbook(fill)
        for currency, change in booking.cash:
            self._count(self.books, currency, -change)
        market = self._markets[fill.symbol]
        if booking.realized is not None:
            self._count(self.day_realized, market.cash, -booking.realized)
            self._count(self._trade_pnl, booking.symbol, -booking.realized)
        held = self.positions.get(booking.symbol)
        old = held or self._fresh(booking.symbol)
        cost = None if old.cost is None or booking.cost is None else old.cost - booking.cost
        amount = old.amount - booking.amount
        shift = self._reorder(fill, amount, cost) if market.contract else ZERO
        if cost is not None:
            cost += shift
        changed: Changed = ()
        for symbol, more, worth in booking.besides:
            changed += (self._unweigh(symbol, more, worth),)
        if shift:
            changed += self._pay(market.cash, shift, fill.ts)
            self._count(self.day_realized, market.cash, shift)
            self._count(self._trade_pnl, booking.symbol, shift)
        new = evolve_position(
            old,
            amount=amount,
            cost=cost if amount else ZERO,
            realized_pnl=old.realized_pnl - (booking.realized or ZERO) + shift,
            fees_paid=old.fees_paid - booking.fees,
        )
        if held is not None:  # the currency everything is valued in has none
            self.positions[booking.symbol] = new
        return ((old, new), *changed)

    def _unweigh(
        self, symbol: str, more: Decimal, worth: Decimal | None
    ) -> tuple[Position, Position]:
        """Take back what a fill had changed in a holding beside its own."""
        old = self.positions[symbol]
        amount = old.amount - more
        cost = None if old.cost is None or worth is None or amount < 0 else old.cost - worth
        new = evolve_position(old, amount=amount, cost=cost if amount else ZERO)
        self.positions[symbol] = new
        return old, new

    def _reorder(self, fill: Fill, amount: Decimal, cost: Decimal | None) -> Decimal:
        """Let the executions that stay come to what they come to without the one that is taken back."""
        kept = self._executions.get(fill.symbol)
        if kept is not None and kept.remove(fill.id):
            return ZERO if cost is None else self._shift(fill.symbol, cost)
        self._executions.pop(fill.symbol, None)
        return ZERO if amount or cost is None else -cost

    def _shift(self, symbol: str, cost: Decimal) -> Decimal:
        """By how much cost, and cash with it, is more in the order in which executions happened."""
        right = self._executions[symbol].come_to()
        return right - cost if right is not None else ZERO

    def _book_spot(self, seen: Filled, market: Market, cost: Decimal) -> Moved:
        """Coins come or go, and cash with them; `cost` is what was paid or got, without the fee [quote]."""
        base, quote, fee, charged = market.base, market.quote, seen.fee, seen.fee_currency
        got, paid = (seen.amount, -cost) if seen.side is BUY else (-seen.amount, cost)
        fee_base = fee if charged == base else ZERO
        fee_quote = fee if charged == quote else ZERO
        got -= fee_base
        paid -= fee_quote
        books, home, realized = self.books, self.homes.get(base), None
        books[base] = books.get(base, ZERO) + got
        fees = fee_quote + fee_base * seen.price
        if got < 0 and home is not None:
            self.exits[home] = seen.ts
        if home is None:
            # The currency everything is valued in is cash, also where it is bought or sold like a coin.
            old = new = self._fresh(market.symbol)
            fees = ZERO
        elif home == market.symbol:
            old, new, realized = self._weigh(home, got, -paid, fees, seen.ts)
        else:
            # Bought or sold against another currency than the one its cost is counted in.
            old, new, realized = self._weigh(home, got, None, ZERO, seen.ts)
        changed: Changed = ((old, new),)
        # What paid for it may itself be a holding: it is given away (or got) at an unknown profit.
        other = self._pay(quote, paid, seen.ts)
        if other:
            changed += other
            if paid < 0:
                self.exits[other[0][1].symbol] = seen.ts
        elsewhere = fee and charged not in {base, quote}
        if elsewhere:
            changed += self._pay(charged, -fee, seen.ts)
        if not seen.inferred:
            return changed, realized, None
        cash = ((base, got), (quote, paid), *(((charged, -fee),) if elsewhere else ()))
        return changed, realized, _booking(cash, changed, realized, fees)

    def _pay(self, currency: str, change: Decimal, ts: int) -> Changed:
        """Money comes or goes that is not what was traded; a holding that shows it follows, at an unknown profit."""
        books = self.books
        books[currency] = books.get(currency, ZERO) + change
        home = self.homes.get(currency)
        if home is None or not change:
            return ()
        before, after, _ = self._weigh(home, change, None, ZERO, ts)
        return ((before, after),)

    def _weigh(
        self, symbol: str, got: Decimal, paid: Decimal | None, fees: Decimal, ts: int
    ) -> tuple[Position, Position, Decimal | None]:
        """Weighted average: what comes in brings its cost, what goes out takes its share of it."""
        old = self.positions.get(symbol) or self._fresh(symbol)
        amount = old.amount + got
        realized: Decimal | None = ZERO
        cost: Decimal | None
        if got >= 0:
            known = old.cost is not None and paid is not None
            cost = old.cost + paid if old.cost is not None and paid is not None else None
            realized = ZERO if known else None
        else:
            removed = share(old.cost, -got, old.amount)
            cost = None if old.cost is None or removed is None else old.cost - removed
            realized = -paid - removed if removed is not None and paid is not None else None
        if not amount:
            cost = ZERO
        elif amount < 0:
            cost = None
        profit = old.realized_pnl + (realized or ZERO)
        opened_ts = old.opened_ts if old.amount else ts
        new = trade_position(old, amount, cost, profit, old.fees_paid + fees, opened_ts, ts)
        self.positions[symbol] = new
        return old, new, realized

    def _book_contract(self, seen: Filled, market: Market) -> Moved:
        symbol, value, ts = seen.symbol, market.value(seen.price), seen.ts
        old = self.positions.get(symbol) or self._fresh(symbol)
        change = seen.amount if seen.side is BUY else -seen.amount
        amount, cost, realized = traded(old.amount, old.cost, change, value)
        if old.amount * change < 0:
            self.exits[symbol] = max(ts, self.exits.get(symbol, 0))
        kept = self._executions.setdefault(symbol, Executions(old.amount, old.cost))
        late = kept.add(Execution(seen.trade_id, change, value, ts))
        if late and cost is not None and realized is not None:
            # What those after it have realized was another amount: the one that is late sets it right.
            shift = self._shift(symbol, cost)
            realized, cost = realized + shift, cost + shift
        fee_cash = seen.fee if seen.fee_currency == market.cash else ZERO
        gross = realized
        if realized is not None:
            realized -= fee_cash
        cash = [(market.cash, (gross or ZERO) - fee_cash)]
        if seen.fee and not fee_cash:
            cash.append((seen.fee_currency, -seen.fee))
        besides: Changed = ()
        for currency, moved in cash:
            besides += self._pay(currency, moved, ts)
        flipped = bool(old.amount) and bool(amount) and (old.amount > 0) is not (amount > 0)
        profit, fees = old.realized_pnl + (realized or ZERO), old.fees_paid + fee_cash
        opened_ts = ts if flipped or not old.amount else old.opened_ts
        new = trade_position(old, amount, cost, profit, fees, opened_ts, ts)
        self.positions[symbol] = new
        changed: Changed = ((old, new), *besides)
        if not seen.inferred:
            return changed, realized, None
        return changed, realized, _booking(tuple(cash), changed, realized, fee_cash)

    def _end_of_trade(
        self, old: Position, new: Position, realized: Decimal | None, market: Market
    ) -> Decimal | None:
        """Sum up the trade that this fill may have ended; dust below a lot counts as ended."""
        sums, symbol = self._trade_pnl, new.symbol
        sums[symbol] = net = sums.get(symbol, ZERO) + (realized or ZERO)
        before, amount, lot = old.amount, new.amount, market.amount_step
        if not abs(amount) < lot <= abs(before) and not before * amount < 0:
            return None
        del sums[symbol]
        return net if realized is not None else None

    def _close(self, net: Decimal, ts: int, owner: str) -> None:
        """Count a closed trade: the day's number, and the owner's losing streak."""
        self.day_info = evolve_day(self.day_info, trades=self.day_info.trades + 1, updated_ts=ts)
        count, last = self.streaks.get(owner, (0, 0))
        if ts - last >= STREAK_ENDS:
            count = 0
        if net < 0:
            self.streaks[owner] = (count + 1, ts)
        else:
            self.streaks.pop(owner, None)

    # -- everything else that moves money ------------------------------------------------------

    def transfer(self, fact: Transferred) -> Changed:
        """Book money that no fill explains; the positions that it changed, before and after."""
        currency, amount, kind = fact.currency, fact.amount, fact.kind
        symbol, ts = fact.symbol, fact.ts
        self.transferred.add(fact.id)
        if kind == "position" and symbol is not None:
            old = self.positions.get(symbol) or self._fresh(symbol)
            changed = old.amount + amount
            known = old.cost is not None and fact.cost is not None
            cost = (old.cost or ZERO) + (fact.cost or ZERO) if known else None
            new = evolve_position(
                old,
                amount=changed,
                cost=cost if changed else ZERO,
                opened_ts=old.opened_ts or ts,
                ts=ts,
            )
            self.positions[symbol] = new
            self._executions.pop(symbol, None)
            self._trust(symbol)
            return ((old, new),)
        # A journal of an older program may have booked the first look as if it had appeared later.
        if kind in {"opening", "external"} and amount and self.opened_ts is None:
            self.opened_ts = ts
        moved = self._pay(currency, amount, ts)
        self._trust(currency)
        if kind == "fee":
            self._count(self.day_fees, currency, -amount)
        if kind in {"funding", "insurance"}:
            self._count(self.day_realized, currency, amount)
            held = self.positions.get(symbol) if symbol is not None else None
            if held is None:
                return moved
            paid = evolve_position(held, realized_pnl=held.realized_pnl + amount, ts=ts)
            self.positions[held.symbol] = paid
            self._count(self._trade_pnl, held.symbol, amount)
            return ((held, paid), *moved)
        if kind not in {"opening", "fee"}:
            self._count(self.day_transfers, currency, amount)
            if moved and amount < 0:
                self.exits[moved[0][1].symbol] = ts
        return moved

    def set_cost_basis(self, symbol: str, entry_price: Decimal, ts: int) -> Position:
        """Say what a holding had cost [quote per base]."""
        old = self.positions[symbol]
        new = evolve_position(
            old, cost=self._markets[symbol].value(entry_price) * old.amount, ts=ts
        )
        self.positions[symbol] = new
        self._executions.pop(symbol, None)
        return new

    def roll(self, day: str, equity_start: Decimal, peak_equity: Decimal, ts: int) -> None:
        """Begin a day, or begin it anew."""
        self.day_info = Day(
            day=day, equity_start=equity_start, peak_equity=peak_equity, updated_ts=ts
        )
        self.day_realized = {}
        self.day_fees = {}
        self.day_transfers = {}

    def set_peak(self, peak_equity: Decimal, ts: int) -> None:
        """Remember the highest equity."""
        self.day_info = evolve_day(self.day_info, peak_equity=peak_equity, updated_ts=ts)

    def _fresh(self, symbol: str) -> Position:
        market = self._markets[symbol]
        return Position(
            venue=self._venue,
            symbol=symbol,
            position_type="swap" if market.contract else "spot",
            contract_size=market.contract_size,
            margin_mode="cross" if market.contract else "spot",
        )

    @staticmethod
    def _count(sums: Sums, key: str, change: Decimal) -> None:
        sums[key] = sums.get(key, ZERO) + change

    def dump(self) -> Iterator[str]:
        """Everything facts have made, in a fixed order (not the venue's word, which is asked anew)."""
        for name in ("books", "streaks", "exits", "_trade_pnl", "_bookings"):
            held: Mapping[object, object] = getattr(self, name)
            yield f"{name} {sorted((str(key), str(value)) for key, value in held.items())}"
        yield f"bots {sorted((symbol, sorted(bots)) for symbol, bots in self.bots.items())}"
        yield from self.shares.dump()
        yield f"executions {sorted((key, repr(value)) for key, value in self._executions.items())}"
        for symbol in sorted(self.positions):
            held_position = self.positions[symbol]
            yield (
                f"position {symbol} {held_position.amount} {held_position.cost} "
                f"{held_position.realized_pnl} {held_position.fees_paid} {held_position.opened_ts}"
            )
        yield f"day {self.day()!r} opened {self.opened_ts} transferred {sorted(self.transferred)}"


def _booking(
    cash: tuple[tuple[str, Decimal], ...],
    changed: Changed,
    realized: Decimal | None,
    fees: Decimal,
) -> Booking:
    """Note what is needed to take a fill back."""
    (_, amount, cost), *besides = [
        (
            new.symbol,
            new.amount - old.amount,
            None if old.cost is None or new.cost is None else new.cost - old.cost,
        )
        for old, new in changed
    ]
    return Booking(cash, changed[0][1].symbol, amount, cost, realized, fees, tuple(besides))


def homes(markets: Mapping[str, Market], currency: str) -> dict[str, str]:
    """The spot market that shows each base currency as a position; the valuation currency is cash."""
    found: dict[str, str] = {}
    for symbol in sorted(markets):
        market = markets[symbol]
        if market.contract or market.base == currency:
            continue
        if market.base not in found or market.quote == currency:
            found[market.base] = symbol
    return found
