"""What Bybit shows of an account: orders, fills, positions, the wallet, and what it remembers of an order.

Rules of this file: (1) nothing here changes the exchange; (2) a list is cut into its page before rows are made.
"""

from collections.abc import Callable, Sequence
from decimal import Decimal, localcontext
from typing import Final, TypeVar

from realtime.emulate.bybit import rows
from realtime.emulate.bybit.codes import Refusal, wrong
from realtime.emulate.bybit.params import Params, count, one_of, stamp, text, whole
from realtime.emulate.bybit.protection import Guard
from realtime.emulate.bybit.rows import CATEGORIES, Coin, Extra, Row, plain
from realtime.emulate.floor import ANONYMOUS, Floor
from realtime.engine.matching import Working
from realtime.engine.matching.perpetuals import maintenance
from realtime.model.account import Position
from realtime.model.events import Filled
from realtime.model.market import MONEY, MS, ZERO, Market


WEEK_MS: Final = 7 * 24 * 3600 * 1000
KEPT: Final = 30_000
"""Orders of which more is remembered than the matching does, before those it has forgotten are forgotten here."""

T = TypeVar("T")


class Statements:
    """The reading side of all accounts.

    Args:
        floor: What is read.

    Attributes:
        extras: What Bybit remembers of an order, by account and client id.
        guard: What protects a position: account and symbol to its guard.
    """

    def __init__(self, floor: Floor) -> None:
        self.extras: dict[tuple[str, str], Extra] = {}
        self.guard: Callable[[str, str], Guard] = _unguarded
        self._floor = floor
        self._names = 0
        self._room = KEPT
        self._symbols: dict[tuple[str, str], str] = {}

    # --- markets ------------------------------------------------------------------------------

    def market(self, category: str, name: str) -> Market:
        """A market by category and Bybit's name.

        Raises:
            Refusal: There is none.
        """
        if (category, name) not in self._symbols:
            for symbol, market in self._floor.markets.items():
                self._symbols[rows.category_of(market), rows.id_of(market)] = symbol
        found = self._symbols.get((category, name))
        if found is None or found not in self._floor.markets:
            if category == "spot":
                raise Refusal(170121, "Invalid symbol.")
            raise wrong("params error: symbol invalid")
        return self._floor.markets[found]

    def markets(self, category: str) -> list[Market]:
        """All markets of a category."""
        return [
            market
            for market in self._floor.markets.values()
            if rows.category_of(market) == category
        ]

    def last(self, symbol: str) -> Decimal | None:
        """The last traded price."""
        return self._floor.pit(symbol).last

    # --- memory -------------------------------------------------------------------------------

    def name(self) -> str:
        """A client id that no client gave."""
        self._names += 1
        return f"{ANONYMOUS}b{self._names}"

    def remember(self, account: str, client_id: str, extra: Extra) -> None:
        """Remember what belongs to an order before it is placed."""
        self.extras[account, client_id] = extra

    def forget(self) -> None:
        """Forget what belongs to orders that the matching has forgotten, now and then."""
        if len(self.extras) <= self._room:
            return
        accounts = self._floor.exchange.clearing.accounts
        for account, client_id in list(self.extras):
            if client_id not in accounts[account].client_ids:
                del self.extras[account, client_id]
        # What is left belongs to orders that the matching keeps: look again when there are as many more.
        self._room = max(KEPT, 2 * len(self.extras))

    # --- orders: read -------------------------------------------------------------------------

    def realtime(self, account: str, params: Params) -> Row:
        """`order/realtime`: working orders, or one order that is working or over."""
        category = one_of(params, "category", CATEGORIES, "")
        named = text(params, "orderId") or text(params, "orderLinkId")
        if named:
            work = self._search(account, params)
            found = [] if work is None else [work]
        else:
            if category == "linear" and not any(
                text(params, name) for name in ("symbol", "baseCoin", "settleCoin")
            ):
                raise wrong("Missing some parameters that must be filled in, symbol or settleCoin")
            found = self.selected(account, category, params)[::-1]
        found = [work for work in found if self._matches(work, category, params)]
        return _page(params, category, found, self._row, 20, 50)

    def history(self, account: str, params: Params) -> Row:
        """`order/history`: orders that are over, newest first."""
        category = one_of(params, "category", CATEGORIES, "")
        since, until = _window(params)
        if text(params, "orderId") or text(params, "orderLinkId"):
            work = self._search(account, params)
            ended = [] if work is None or not work.status.ended else [work]
        else:
            ended = self._floor.ended(account)[::-1]
        found = [
            work
            for work in ended
            if self._matches(work, category, params)
            and (since is None or since <= work.created_ts // MS)
            and (until is None or work.created_ts // MS <= until)
        ]
        return _page(params, category, found, self._row, 20, 50)

    def executions(self, account: str, params: Params) -> Row:
        """`execution/list`: fills, newest first; seven days where no time is given."""
        category = one_of(params, "category", CATEGORIES, "")
        since, until = _window(params)
        if since is None and until is None:
            since = self._floor.now() // MS - WEEK_MS
        kind = text(params, "execType")
        named = text(params, "orderId")
        link = text(params, "orderLinkId")
        found = []
        for fill in reversed(self._floor.fills(account, 0 if since is None else since * MS)):
            if until is not None and fill.ts // MS > until:
                continue
            market = self._floor.markets[fill.symbol]
            work = self._floor.work(account, fill.exchange_order_id)
            if work is None or rows.category_of(market) != category:
                continue
            if text(params, "symbol") not in {"", rows.id_of(market)}:
                continue
            if named and rows.work_id(named) != work.id:
                continue
            if link and work.client_id != link:
                continue
            if kind in {"", rows.exec_type(work)}:
                found.append((fill, work))

        def row(pair: tuple[Filled, Working]) -> Row:
            fill, work = pair
            market = self._floor.markets[fill.symbol]
            mark = self.mark_text(market)
            return rows.execution(fill, work, self.known(work), market, mark, stream=False)

        return _page(params, category, found, row, 50, 100)

    def known(self, work: Working) -> Extra:
        """What Bybit remembers of an order."""
        found = self.extras.get((work.account, work.client_id or ""))
        if found is not None:
            return found
        return Extra(create_type="CreateByLiq" if rows.forced(work) else "CreateByUser")

    def _row(self, work: Working) -> Row:
        market = self._floor.markets[work.symbol]
        seen = self._floor.exchange.clearing.seen(work, self._floor.now(), "found")
        return rows.order(seen, work, self.known(work), market, stream=False)

    def find(self, account: str, market: Market, params: Params) -> Working:
        """The order that a request names.

        Raises:
            Refusal: There is none in this market, or none is named.
        """
        if not (text(params, "orderId") or text(params, "orderLinkId")):
            raise wrong("params error: orderId or orderLinkId is required")
        work = self._search(account, params)
        if work is None or work.symbol != market.symbol:
            raise gone(rows.category_of(market))
        return work

    def _search(self, account: str, params: Params) -> Working | None:
        identity = text(params, "orderId")
        if identity:
            name = rows.work_id(identity)
            return None if name is None else self._floor.work(account, name)
        link = text(params, "orderLinkId")
        return None if link.startswith(ANONYMOUS) else self._floor.named(account, link)

    def selected(self, account: str, category: str, params: Params) -> list[Working]:
        """Working orders that a request asks for, whatever their filter."""
        return [
            work
            for work in self._floor.orders(account)
            if self._matches(work, category, params, filtered=False)
        ]

    def _matches(
        self, work: Working, category: str, params: Params, *, filtered: bool = True
    ) -> bool:
        market = self._floor.markets.get(work.symbol)
        wanted = text(params, "orderFilter")
        # Of a market that is delisted nothing is told any more.
        return (
            market is not None
            and rows.category_of(market) == category
            and text(params, "symbol") in {"", rows.id_of(market)}
            and text(params, "baseCoin") in {"", market.base}
            and text(params, "settleCoin") in {"", market.settle}
            and (not filtered or not wanted or is_of(self.known(work), wanted))
        )

    # --- positions and wallet ------------------------------------------------------------------------

    def positions(self, account: str, params: Params) -> Row:
        """`position/list`: of a symbol also when it is flat."""
        category = one_of(params, "category", CATEGORIES, "")
        name = text(params, "symbol")
        found = []
        if category == "linear":
            if not (name or text(params, "settleCoin")):
                raise wrong("params error: symbol or settleCoin is required")
            if name:
                found = [self.market(category, name)]
            else:
                settle = text(params, "settleCoin")
                for held in self._floor.positions(account):
                    market = self._floor.markets[held.symbol]
                    if market.settle == settle:
                        found.append(market)
        elif category == "spot":
            raise wrong("params error: category invalid")
        return _page(params, category, found, self._own_position(account), 20, 200)

    def _own_position(self, account: str) -> Callable[[Market], Row]:
        def row(market: Market) -> Row:
            clearing = self._floor.exchange.clearing
            with localcontext(MONEY):
                own, now = clearing.accounts[account], self._floor.now()
                return self.position_row(
                    account, clearing.position(own, market.symbol, now), stream=False
                )

        return row

    def position_row(self, account: str, held: Position, *, stream: bool) -> Row:
        """A position's row at the mark of now."""
        market = self._floor.markets[held.symbol]
        guard = self.guard(account, held.symbol)
        mark = self._floor.exchange.clearing.mark(held.symbol)
        if mark is not None:
            mark = mark.quantize(market.price_tick, context=MONEY)
        return rows.position(held, market, mark, guard.shown(), stream=stream)

    def wallet(self, account: str, only: set[str] | None = None) -> Row:
        """The account of `account/wallet-balance`; `only` these coins."""
        with localcontext(MONEY):
            return rows.wallet(
                [coin for coin in self._coins(account) if only is None or coin.coin in only]
            )

    def _coins(self, account: str) -> list[Coin]:
        clearing = self._floor.exchange.clearing
        own = clearing.accounts[account]
        found = []
        for currency, wallet in own.wallets.items():
            positions = least = profit = realized = margin = ZERO
            for symbol, held in own.holdings.items():
                market = self._floor.markets[symbol]
                if market.cash != currency:
                    continue
                margin += held.margin
                realized += held.realized
                if not held.amount:
                    continue
                positions += held.collateral if held.isolated else abs(held.cost) / held.leverage
                mark = clearing.mark(symbol)
                if mark is not None:
                    profit += held.profit(mark, market.contract_size)
                    least += maintenance(held, market, mark)
            found.append(
                Coin(
                    coin=currency,
                    total=wallet.total,
                    locked=wallet.held,
                    orders=max(margin - positions, ZERO),
                    positions=positions,
                    maintenance=least,
                    profit=profit,
                    realized=realized,
                    price=self._usd(currency),
                )
            )
        return found

    def _usd(self, currency: str) -> Decimal:
        if currency in {"USDT", "USDC", "USD"}:
            return Decimal(1)
        for market in self.markets("spot"):
            if market.base == currency and market.quote in {"USDT", "USDC", "USD"}:
                return self.last(market.symbol) or ZERO
        return ZERO

    def mark_text(self, market: Market) -> str:
        """The mark price as text; empty before there is one."""
        mark = self._floor.exchange.clearing.mark(market.symbol)
        return "" if mark is None else plain(mark.quantize(market.price_tick, context=MONEY))


def _unguarded(_account: str, _symbol: str) -> Guard:
    """Nothing protects anything yet."""
    return Guard()


def _page(
    params: Params,
    category: str,
    found: Sequence[T],
    row: Callable[[T], Row],
    default: int,
    most: int,
) -> Row:
    """A page of rows; the cursor is where the next one begins."""
    limit = count(params, "limit", default, most)
    start = whole(text(params, "cursor")) or 0
    ended = start + limit >= len(found)
    return {
        "list": [row(each) for each in found[start : start + limit]],
        "nextPageCursor": "" if ended else str(start + limit),
        "category": category,
    }


def is_of(extra: Extra, wanted: str) -> bool:
    """Whether an order is of an `orderFilter`; `StopOrder` means every conditional one."""
    if wanted == "Order":
        return extra.filter == "Order"
    if wanted == "StopOrder":
        return extra.filter != "Order"
    return extra.filter == wanted


def gone(category: str) -> Refusal:
    """An order that is not there, or not any more."""
    if category == "spot":
        return Refusal(170213, "Order does not exist.")
    return Refusal(110001, "order not exists or too late to cancel")


def _window(params: Params) -> tuple[int | None, int | None]:
    """Start and end of a query [ms]; seven days at most, and from a start alone."""
    since, until = stamp(params, "startTime"), stamp(params, "endTime")
    if since is not None and until is not None and until - since > WEEK_MS:
        raise wrong("The time range between startTime and endTime cannot exceed 7 days")
    if since is not None and until is None:
        until = since + WEEK_MS
    elif until is not None and since is None:
        since = until - WEEK_MS
    return since, until
