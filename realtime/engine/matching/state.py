"""The log of one account as JSON values: what each change writes, and the account that a log leads to."""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from decimal import Decimal, localcontext
from heapq import heappush

from realtime.engine.forgotten import SIZES, Keys, Sizes
from realtime.engine.matching.account import Account, Holding
from realtime.engine.matching.clearing import Told, Traded
from realtime.engine.matching.exchange import Exchange
from realtime.engine.matching.orders import Json, Working, order_in, order_out
from realtime.engine.matching.pit import Pit
from realtime.model.events import BalanceSeen, Filled, OrderSeen, PositionSeen, Transferred
from realtime.model.market import MONEY, ZERO
from realtime.model.orders import OrderType, Side, TimeInForce


Entry = dict[str, object]


def _rows(value: object) -> list[Json]:
    assert isinstance(value, list)
    return value


def _map(value: object) -> Json:
    assert isinstance(value, dict)
    return value


def _list(value: object) -> list[object]:
    assert isinstance(value, list)
    return value


def _number(value: object) -> int:
    assert isinstance(value, int)
    return value


def _money(value: object) -> Decimal:
    return Decimal(str(value))


# --- pieces -----------------------------------------------------------------------------------


def fill_out(fill: Filled) -> Json:
    """One fill."""
    return {
        "symbol": fill.symbol,
        "trade_id": fill.trade_id,
        "order_id": fill.exchange_order_id,
        "client_id": fill.venue_client_id,
        "side": str(fill.side),
        "amount": str(fill.amount),
        "price": str(fill.price),
        "fee": str(fill.fee),
        "fee_currency": fill.fee_currency,
        "maker": fill.maker,
        "ts": fill.ts,
    }


def fill_in(venue: str, raw: Json) -> Filled:
    """The fill that `fill_out` wrote."""
    client_id = raw["client_id"]
    return Filled(
        venue=venue,
        symbol=str(raw["symbol"]),
        trade_id=str(raw["trade_id"]),
        exchange_order_id=str(raw["order_id"]),
        venue_client_id=None if client_id is None else str(client_id),
        side=Side(str(raw["side"])),
        amount=_money(raw["amount"]),
        price=_money(raw["price"]),
        fee=_money(raw["fee"]),
        fee_currency=str(raw["fee_currency"]),
        maker=bool(raw["maker"]),
        ts=_number(raw["ts"]),
    )


def _transfer_out(told: Transferred) -> Json:
    return {
        "currency": told.currency,
        "amount": str(told.amount),
        "kind": told.kind,
        "symbol": told.symbol,
        "id": told.id,
        "ts": told.ts,
    }


def _transfer_in(venue: str, raw: Json) -> Transferred:
    symbol = raw["symbol"]
    return Transferred(
        venue=venue,
        currency=str(raw["currency"]),
        amount=_money(raw["amount"]),
        kind=str(raw["kind"]),
        symbol=None if symbol is None else str(symbol),
        id=str(raw["id"]),
        ts=_number(raw["ts"]),
    )


def _traded_out(traded: dict[str, Traded]) -> Json:
    return {
        symbol: [[ts, *map(str, sums)] for ts, sums in minutes.items()]
        for symbol, minutes in traded.items()
    }


def _traded_in(raw: object) -> dict[str, Traded]:
    traded: dict[str, Traded] = {}
    for symbol, rows in _map(raw).items():
        minutes = traded[symbol] = {}
        for row in _list(rows):
            ts, high, low, volume = _list(row)
            minutes[_number(ts)] = (_money(high), _money(low), _money(volume))
    return traded


def _holding_out(held: Holding) -> Json:
    return {
        "amount": str(held.amount),
        "cost": str(held.cost),
        "leverage": str(held.leverage),
        "isolated": held.isolated,
        "collateral": str(held.collateral),
        "buys": str(held.buys),
        "sells": str(held.sells),
        "margin": str(held.margin),
        "realized": str(held.realized),
        "fees": str(held.fees),
        "opened_ts": held.opened_ts,
        "funded_ts": held.funded_ts,
    }


def _holding_in(raw: Json) -> Holding:
    return Holding(
        amount=_money(raw["amount"]),
        cost=_money(raw["cost"]),
        leverage=_money(raw["leverage"]),
        isolated=bool(raw["isolated"]),
        collateral=_money(raw["collateral"]),
        buys=_money(raw["buys"]),
        sells=_money(raw["sells"]),
        margin=_money(raw["margin"]),
        realized=_money(raw["realized"]),
        fees=_money(raw["fees"]),
        opened_ts=_number(raw["opened_ts"]),
        funded_ts=_number(raw.get("funded_ts", 0)),
    )


# --- one account's log ------------------------------------------------------------------------


def entry_out(exchange: Exchange, account_id: str, told: Iterable[Told]) -> Entry:
    """What these events of an account changed: a log of such entries rebuilds the account.

    Orders, sums and positions are written as they are now, so the newest entry that names one wins. Those that are to be
    told later are among them.
    """
    account = exchange.clearing.accounts[account_id]
    orders: dict[str, Json] = {}
    fills: list[Json] = []
    moved: list[Json] = []
    wallets: Json = {}
    holdings: Json = {}
    for item in told:
        event = item.event
        if isinstance(event, Filled | OrderSeen):
            order_id = event.exchange_order_id
            if order_id not in orders:
                work = account.orders.get(order_id) or account.ended[order_id]
                orders[order_id] = order_out(work)
            if isinstance(event, Filled):
                fills.append(fill_out(event))
        elif isinstance(event, BalanceSeen):
            currency = event.balance.currency
            wallets[currency] = str(account.wallet(currency).total)
        elif isinstance(event, PositionSeen):
            symbol = event.position.symbol
            holdings[symbol] = _holding_out(account.holdings[symbol])
        else:
            assert isinstance(event, Transferred)  # its sum is in the balance that follows it
            moved.append(_transfer_out(event))
    for currency in account.changed_wallets:
        wallets[currency] = str(account.wallet(currency).total)
    for symbol in account.changed_holdings:
        holdings[symbol] = _holding_out(account.holdings[symbol])
    return {
        "orders": list(orders.values()),
        "fills": fills,
        "moved": moved,
        "wallets": wallets,
        "holdings": holdings,
        "seq": account.seq,
        "volume": str(account.volume),
        "orders_made": exchange.orders_made,
        "trades_made": exchange.trades_made,
        "transfers": exchange.clearing.transfers,
    }


def adopt(exchange: Exchange, account_id: str, log: Sequence[Entry]) -> list[Transferred]:
    """Open an account as its log left it; working orders rest or wait again, behind what is displayed.

    The first entry may be one that `compact` made.

    Returns:
        Transfers of the newest entry: whoever wrote it may not have lived to tell them, and nobody can look them up.
    """
    with localcontext(MONEY):
        clearing = exchange.clearing
        account = Account(account_id)
        clearing.add(account)
        for symbol, pit in exchange.pits.items():
            if pit.market.contract:
                account.holding(symbol)
        orders, moved = _fold(exchange, account, log)
        # Holds are counted anew from the orders.
        for held in account.holdings.values():
            held.buys = held.sells = held.margin = ZERO
        for work in orders.values():
            _adopt_order(exchange, account, work)
        for symbol in account.holdings:
            account.remargin(exchange.pits[symbol].market)
        account.changed_wallets.clear()
        return [_transfer_in(exchange.venue, raw) for raw in moved]


def compact(log: Iterable[Entry], sizes: Sizes = SIZES) -> Entry:
    """Sum up the entries of an account in one: adopting that gives what adopting all of them gives.

    What is forgotten on the way is forgotten in the entry, too: it is as large as the account, not as its past.

    Args:
        log: Entries of `entry_out`, oldest first; the first may be one that `compact` made.
        sizes: Those of the exchange that will adopt it.
    """
    with localcontext(MONEY):
        # Nothing of a market is needed before the account is whole.
        exchange = Exchange(venue="", markets={}, sizes=sizes)
        account = Account("")
        exchange.clearing.add(account)
        orders, moved = _fold(exchange, account, log)
        return {
            "orders": [order_out(work) for work in orders.values()],
            "fills": [fill_out(fill) for fill in exchange.clearing.fills[account.id]],
            "moved": moved,
            "wallets": {name: str(wallet.total) for name, wallet in account.wallets.items()},
            "holdings": {symbol: _holding_out(held) for symbol, held in account.holdings.items()},
            "seq": account.seq,
            "volume": str(account.volume),
            "orders_made": exchange.orders_made,
            "trades_made": exchange.trades_made,
            "transfers": exchange.clearing.transfers,
            "past": {
                "ended": [order_out(work) for work in account.ended.values()],
                "client_ids": dict(account.client_ids),
                "forgotten": list(account.forgotten),
                "stale": account.stale,
                "traded": _traded_out(exchange.clearing.traded),
            },
        }


def _fold(
    exchange: Exchange, account: Account, log: Iterable[Entry]
) -> tuple[dict[str, Working], list[Json]]:
    """Bring an account to the end of its log, but for its working orders, which are given back as they stand.

    Returns:
        Those, and the transfers of the newest entry.
    """
    clearing = exchange.clearing
    # They are known meanwhile: who forgets keeps their fills.
    orders = account.orders
    moved: list[Json] = []
    for entry in log:
        if "past" in entry:
            past = _map(entry["past"])
            _take_past(account, past)
            clearing.traded = _traded_in(past.get("traded", {}))
        for row in _rows(entry["orders"]):
            work = order_in(row)
            if work.status.ended:
                orders.pop(work.id, None)
                _adopt_order(exchange, account, work)
            else:
                orders[work.id] = work
        for fill in _rows(entry["fills"]):
            clearing.fills[account.id].append(fill_in(exchange.venue, fill))
        moved = _rows(entry.get("moved", []))
        for currency, total in _map(entry["wallets"]).items():
            account.wallet(currency).total = _money(total)
        for symbol, raw in _map(entry["holdings"]).items():
            account.holdings[symbol] = _holding_in(_map(raw))
        account.seq = _number(entry["seq"])
        account.volume = _money(entry["volume"])
        exchange.orders_made = max(exchange.orders_made, _number(entry["orders_made"]))
        exchange.trades_made = max(exchange.trades_made, _number(entry["trades_made"]))
        clearing.transfers = max(clearing.transfers, _number(entry["transfers"]))
    account.orders = {}
    return orders, moved


def _take_past(account: Account, raw: Json) -> None:
    account.ended = OrderedDict((work.id, work) for work in map(order_in, _rows(raw["ended"])))
    account.client_ids = {name: str(order) for name, order in _map(raw["client_ids"]).items()}
    account.forgotten = Keys(map(_number, _list(raw["forgotten"])))
    account.stale = _number(raw["stale"])


def _schedule(exchange: Exchange, work: Working) -> None:
    if work.good_till_ts is not None:
        heappush(exchange.deadlines, (work.good_till_ts, work.account, work.id))


def _adopt_order(exchange: Exchange, account: Account, work: Working) -> None:
    if work.client_id is not None:
        account.client_ids[work.client_id] = work.id
    exposure = work.exposure
    work.held = work.exposure = ZERO
    work.resting = False
    if work.status.ended:
        account.ended[work.id] = work
        exchange.clearing.forget(account, exchange.sizes, work.updated_ts)
        return
    account.orders[work.id] = work
    pit = exchange.pits[work.symbol]
    if exposure and work.type is OrderType.TRAILING_STOP:
        account.expose(pit.market, work, exposure)  # it may be less than it needs now
    else:
        account.hold(pit.market, work)
    _schedule(exchange, work)
    if work.type.triggered and not work.live:
        pit.waiting[work.id] = work
    elif _rests(pit, work):
        work.live, work.dormant = True, False
        pit.rest(work)
    else:
        work.dormant = True  # it was accepted and never matched: release goes on with it


def _rests(pit: Pit, work: Working) -> bool:
    """Whether a working order is in the book: one that was told before it came there may be, where it can be."""
    if work.price is None or not work.dormant:
        return work.price is not None
    if work.time_in_force in {TimeInForce.IOC, TimeInForce.FOK}:
        return False
    return not pit.against(work.side).reach(-pit.own(work.side).sign * float(work.price))
