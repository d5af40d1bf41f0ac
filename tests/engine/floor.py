"""A paper exchange for tests: short words for orders, an outside book that can be moved, events by kind."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any, TypeVar

from realtime.engine.matching import Exchange, SelfTrade, Tier, Told, Working
from realtime.engine.orderbook import OrderBook
from realtime.model.events import VenueEvent
from realtime.model.market import BookDelta, BookSnapshot, Mark, Market, Trade
from realtime.model.orders import Order, OrderType, Side, TimeInForce


E = TypeVar("E")
D = Decimal
SPOT = Market(
    symbol="BTC/USDT",
    id="BTCUSDT",
    base="BTC",
    quote="USDT",
    price_tick=D("0.01"),
    amount_step=D("0.001"),
)
PERP = Market(
    symbol="BTC/USDT:USDT",
    id="BTCUSDT-PERP",
    base="BTC",
    quote="USDT",
    settle="USDT",
    type="swap",
    price_tick=D("0.1"),
    amount_step=D("0.001"),
    max_leverage=D(50),
    maintenance_margin=D("0.005"),
    maker=D("0.0002"),
    taker=D("0.00055"),
)
ETH_PERP = replace(PERP, symbol="ETH/USDT:USDT", id="ETHUSDT-PERP", base="ETH")


def picture(value: object, given: Mapping[int, str] | None = None) -> object:
    """Everything that hangs on a value, whatever it is part of; of what was `given` to it only the name, by `id`."""
    if given and id(value) in given:
        return given[id(value)]
    match value:
        case str() | int() | float() | bytes() | None | D():
            return repr(value)
        case dict():
            return [(picture(k, given), picture(v, given)) for k, v in value.items()]
        case list() | tuple() | deque():
            return [picture(one, given) for one in value]
        case set() | frozenset():
            return sorted(map(repr, value))
        case _:
            slots = [
                name for made in type(value).__mro__ for name in getattr(made, "__slots__", ())
            ]
            held = {name: getattr(value, name) for name in slots if hasattr(value, name)}
            held |= getattr(value, "__dict__", {})
            if not held:
                return repr(value)
            return [type(value).__name__, *((k, picture(v, given)) for k, v in held.items())]


def order(client_id: str, side: Side, amount: str = "1", **fields: Any) -> Order:
    """A client's order; a `price` makes it a limit order."""
    kind = OrderType.LIMIT if "price" in fields else OrderType.MARKET
    for name in (
        "price",
        "stop_price",
        "trailing_amount",
        "trailing_rate",
        "cost_limit",
        "leverage",
    ):
        if fields.get(name) is not None:
            fields[name] = D(str(fields[name]))
    values: dict[str, Any] = {
        "id": f"o-{client_id}",
        "client_order_id": client_id,
        "venue_client_id": client_id,
        "venue": "paper",
        "symbol": SPOT.symbol,
        "type": kind,
        "side": side,
        "amount": D(amount),
        "created_ts": 0,
        "updated_ts": 0,
    }
    return Order(**{**values, **fields})


class Floor:
    """An exchange with one market (or some) and accounts `me`, `you`, and two without limits: `house`, `crowd`."""

    def __init__(
        self,
        *markets: Market,
        me: dict[str, str] | None = None,
        you: dict[str, str] | None = None,
        tiers: tuple[Tier, ...] = (),
        self_trade: SelfTrade = SelfTrade.CANCEL_NEWEST,
    ) -> None:
        self.markets = markets or (SPOT,)
        self.symbol = self.markets[0].symbol
        self.exchange = Exchange(
            venue="paper", markets={market.symbol: market for market in self.markets}, tiers=tiers
        )
        rich = {"USDT": "1000000", "BTC": "100"}
        self.exchange.open_account(
            "me", _decimals(rich if me is None else me), self_trade=self_trade
        )
        self.exchange.open_account("you", _decimals(rich if you is None else you))
        self.exchange.open_account("house", {}, credit=True)
        self.exchange.open_account("crowd", {}, credit=True)
        self.exchange.take()
        self.book = OrderBook(self.symbol)
        self.ts = 0
        self.made = 0

    # --- doing --------------------------------------------------------------------------------

    def tick(self) -> int:
        self.ts += 1
        return self.ts

    def place(
        self, side: Side, amount: str = "1", *, account: str = "me", client: str = "", **fields: Any
    ) -> Working:
        self.made += 1
        fields.setdefault("symbol", self.symbol)
        wish = order(client or f"c{self.made}", side, amount, **fields)
        return self.exchange.place(account, wish, self.tick())

    def buy(self, amount: str = "1", **fields: Any) -> Working:
        return self.place(Side.BUY, amount, **fields)

    def sell(self, amount: str = "1", **fields: Any) -> Working:
        return self.place(Side.SELL, amount, **fields)

    def cancel(self, work: Working) -> Working:
        return self.exchange.cancel(work.account, work.id, self.tick())

    def amend(self, work: Working, **fields: str) -> Working:
        values = {name: D(value) for name, value in fields.items()}
        return self.exchange.amend(
            work.account,
            work.id,
            amount=values.get("amount"),
            price=values.get("price"),
            stop_price=values.get("stop_price"),
            ts=self.tick(),
        )

    def quote(self, side: Side, price: str | None, amount: str, symbol: str = "") -> Working | None:
        return self.exchange.quote(
            "house" if price else "crowd",
            symbol or self.symbol,
            side,
            D(price) if price else None,
            D(amount),
            self.tick(),
        )

    # --- the outside --------------------------------------------------------------------------

    def outside(self, bids: Sequence[tuple[str, str]], asks: Sequence[tuple[str, str]]) -> "Floor":
        """Trade against this book from now on."""
        self.exchange.attach(self.symbol, self.book)
        ts = self.tick()
        change = BookSnapshot(
            symbol=self.symbol, bids=tuple(bids), asks=tuple(asks), ts=ts, recv_ts=ts
        )
        self.book.apply_snapshot(change)
        self.exchange.on_book(change)
        return self

    def moves(
        self, bids: Sequence[tuple[str, str]] = (), asks: Sequence[tuple[str, str]] = ()
    ) -> None:
        """Change levels of the outside book."""
        ts = self.tick()
        change = BookDelta(
            symbol=self.symbol, bids=tuple(bids), asks=tuple(asks), ts=ts, recv_ts=ts
        )
        self.book.apply_delta(change)
        self.exchange.on_book(change)

    def printed(
        self, side: Side, price: str, amount: str, *, ts: int = 0, recv_ts: int = 0
    ) -> None:
        """Print a trade outside; `side` is the taker's. Its time by the venue's clock and by ours, the next one as a rule."""
        ts = ts or self.tick()
        self.exchange.on_trade(
            Trade(
                id=f"p{ts}",
                symbol=self.symbol,
                side=side.value,
                price=price,
                amount=amount,
                ts=ts,
                recv_ts=recv_ts or ts,
            )
        )

    def mark(self, price: str, *, rate: str = "0.0001", due: int = 0, symbol: str = "") -> None:
        """Set a derivative's mark price."""
        self.exchange.on_mark(
            Mark(
                symbol=symbol or self.symbol,
                mark=price,
                index=price,
                funding_rate=rate,
                next_funding_ts=due,
                ts=self.tick(),
            )
        )

    # --- seeing -------------------------------------------------------------------------------

    def told(self, account: str = "me") -> list[VenueEvent]:
        """Private events since the last call."""
        return [item.event for item in self.exchange.take()[0] if item.account == account]

    def everything(self) -> tuple[Sequence[Told], Sequence[Trade]]:
        return self.exchange.take()

    def of(self, kind: type[E], account: str = "me") -> list[E]:
        """Private events of one kind since the last call."""
        return [event for event in self.told(account) if isinstance(event, kind)]

    def free(self, currency: str, account: str = "me") -> Decimal:
        return self.exchange.clearing.accounts[account].wallet(currency).free

    def total(self, currency: str, account: str = "me") -> Decimal:
        return self.exchange.clearing.accounts[account].wallet(currency).total

    def used(self, currency: str, account: str = "me") -> Decimal:
        return self.total(currency, account) - self.free(currency, account)

    def position(self, account: str = "me", symbol: str = "") -> Decimal:
        return self.exchange.clearing.accounts[account].holding(symbol or self.symbol).amount


def _decimals(values: dict[str, str]) -> dict[str, Decimal]:
    return {currency: D(amount) for currency, amount in values.items()}


GTC, IOC, FOK, GTD = TimeInForce.GTC, TimeInForce.IOC, TimeInForce.FOK, TimeInForce.GTD
