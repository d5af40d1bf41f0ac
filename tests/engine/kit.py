"""Builders for tests of the engine: a small account that can trade, and short names for events."""

from dataclasses import replace
from decimal import Decimal

from realtime.engine.engine import Engine
from realtime.model.account import Balance, Position
from realtime.model.events import (
    Accepted,
    Ack,
    BalanceSeen,
    Effect,
    Fact,
    Filled,
    OrderSeen,
    Place,
    PositionSeen,
    Ready,
    Record,
    Release,
    Tick,
    Who,
)
from realtime.model.market import SECOND, BookSnapshot, Daily, Mark, Market, Ticker
from realtime.model.orders import Order, OrderType, Role, Side, Status, venue_client_id
from realtime.model.risk import Limits


D = Decimal
T0 = 1_790_000_000 * SECOND
DAY = "2026-09-21"
BTC, ETH, PERP = "BTC/USDT", "ETH/USDT", "BTC/USDT:USDT"

MARKETS = {
    BTC: Market(
        symbol=BTC,
        id="BTCUSDT",
        base="BTC",
        quote="USDT",
        price_tick=D("0.01"),
        amount_step=D("0.00001"),
        min_amount=D("0.0001"),
        max_amount=D(100),
        max_market_amount=D(50),
        min_cost=D(5),
    ),
    ETH: Market(
        symbol=ETH,
        id="ETHUSDT",
        base="ETH",
        quote="USDT",
        price_tick=D("0.01"),
        amount_step=D("0.0001"),
        min_amount=D("0.001"),
    ),
    PERP: Market(
        symbol=PERP,
        id="BTCUSDTPERP",
        base="BTC",
        quote="USDT",
        settle="USDT",
        type="swap",
        contract_size=D("0.01"),
        price_tick=D("0.1"),
        amount_step=D(1),
        min_amount=D(1),
        max_leverage=D(20),
        maker=D("0.0002"),
        taker=D("0.00055"),
    ),
}

OFF = Limits(
    price_band=None,
    price_band_passive=None,
    max_slippage=None,
    max_order_notional=None,
    max_position_size=None,
    max_leverage=None,
    max_open_positions=None,
    max_open_orders_symbol=None,
    max_open_orders=None,
    order_rate=None,
    order_rate_minute=None,
    duplicate_order_ms=None,
    self_trade=False,
    max_unknown=None,
    repeated_execution=None,
    max_daily_loss=None,
    max_drawdown=None,
    loss_streak=None,
)
"""No rule but those that cannot be switched off."""

WHO = Who(subject="alice", client="page")
ADMIN = Who(subject="root", client="cli", admin=True)


ORDER = Order(
    id="o-1",
    client_order_id="c-1",
    venue_client_id="c-1",
    venue="paper",
    symbol=PERP,
    type=OrderType.MARKET,
    side=Side.BUY,
    amount=D(100),
    subject="alice",
    created_ts=T0,
    updated_ts=T0,
)
"""Whose executions are booked where no engine is."""


class Kit:
    """An engine, a clock, and what has been journaled."""

    def __init__(self, limits: Limits = OFF, *, markets: dict[str, Market] | None = None) -> None:
        self.markets = markets or MARKETS
        self.engine = Engine(venue="paper", mode="paper", markets=self.markets, limits=limits)
        self.ts = T0
        self.journal: list[Fact] = []
        self.effects: list[Effect] = []
        self.numbers = 0
        self.trades = 0

    def post(self, event: object) -> list[Effect]:
        """Process an event and remember what is journaled."""
        effects = self.engine.process(event)  # type: ignore[arg-type]
        self.journal += [effect.fact for effect in effects if isinstance(effect, Record)]
        self.effects = effects
        return effects

    def open(self, **balances: str) -> "Kit":
        """Give it balances, prices, readiness and a day."""
        for currency, total in (balances or {"USDT": "100000"}).items():
            self.balance(currency, total)
        self.prices()
        self.post(Ready(venue="paper", ready=True, reason="reconciled", ts=self.ts))
        self.tick()
        return self

    def balance(
        self, currency: str, available: str, reserved: str = "0", *, asked: bool = True
    ) -> list[Effect]:
        return self.post(
            BalanceSeen(
                asked=asked,
                balance=Balance(
                    venue="paper",
                    currency=currency,
                    available=D(available),
                    reserved=D(reserved),
                    ts=self.ts,
                ),
            )
        )

    def prices(self, btc: str = "64000", eth: str = "3000") -> None:
        """A tight book and a ticker for every market."""
        for symbol, mid in ((BTC, btc), (ETH, eth), (PERP, btc)):
            if symbol in self.markets:
                self.price(symbol, mid)

    def price(self, symbol: str, mid: str, *, depth: str = "10") -> list[Effect]:
        tick = self.markets[symbol].price_tick
        bid, ask = str(D(mid) - tick), str(D(mid) + tick)
        self.post(
            BookSnapshot(
                symbol=symbol,
                bids=((bid, depth), (str(D(mid) * D("0.99")), "1000")),
                asks=((ask, depth), (str(D(mid) * D("1.01")), "1000")),
                ts=self.ts,
                recv_ts=self.ts,
            )
        )
        return self.post(
            Ticker(
                symbol=symbol,
                bid=bid,
                bid_amount=depth,
                ask=ask,
                ask_amount=depth,
                daily=Daily(last=mid, open=mid),
                ts=self.ts,
                recv_ts=self.ts,
            )
        )

    def mark(self, symbol: str, price: str) -> list[Effect]:
        return self.post(
            Mark(
                symbol=symbol,
                mark=price,
                index=price,
                funding_rate="0",
                next_funding_ts=self.ts,
                ts=self.ts,
            )
        )

    def tick(self, seconds: float = 0, day: str = DAY) -> list[Effect]:
        self.ts += int(seconds * SECOND)
        return self.post(Tick(ts=self.ts, day=day))

    # -- orders --------------------------------------------------------------------------------

    def draft(
        self, symbol: str = BTC, side: str = "buy", amount: str = "0.01", **fields: object
    ) -> Order:
        """An order as the desk would make it."""
        self.numbers += 1
        coid = str(fields.pop("client_order_id", f"c-{self.numbers}"))
        price = fields.pop("price", None)
        fields = {
            key: D(value) if isinstance(value, str) and key in DECIMALS else value
            for key, value in fields.items()
        }
        kind = fields.pop("type", OrderType.MARKET if price is None else OrderType.LIMIT)
        order = Order(
            id=str(fields.pop("id", f"o-{self.numbers}")),
            client_order_id=coid,
            venue_client_id=venue_client_id("paper", coid),
            venue="paper",
            symbol=symbol,
            type=OrderType(str(kind)),
            side=Side(side),
            amount=D(amount),
            price=D(str(price)) if price is not None else None,
            position_type="swap" if symbol == PERP else "spot",
            subject="alice",
            client="page",
            created_ts=self.ts,
            updated_ts=self.ts,
        )
        return replace(order, **fields)  # type: ignore[arg-type]

    def place(
        self,
        *args: str,
        who: Who = WHO,
        allow_duplicate: bool = False,
        closing: bool = False,
        **fields: object,
    ) -> Order:
        """Place an order; the order as the ledger has it."""
        order = self.draft(*args, **fields)  # type: ignore[arg-type]
        self.post(
            Place(
                order=order,
                who=who,
                ts=self.ts,
                content={"symbol": order.symbol, "side": order.side, "amount": str(order.amount)},
                allow_duplicate=allow_duplicate,
                closing=closing,
            )
        )
        return self.order(order.id)

    def order(self, order_id: str) -> Order:
        order = self.engine.orders.get(order_id)
        assert order is not None
        return order

    def release(self, order: Order) -> None:
        self.post(Release(order_id=order.id, ts=self.ts))

    def accept(self, order: Order, status: Status | None = Status.OPEN) -> Order:
        ack = Ack(exchange_order_id=f"v-{order.id}", status=status, ts=self.ts)
        self.post(Accepted(order_id=order.id, ack=ack, ts=self.ts))
        return self.order(order.id)

    def opened(self, *args: str, **fields: object) -> Order:
        """Place, release and accept."""
        order = self.place(*args, **fields)  # type: ignore[arg-type]
        self.release(order)
        return self.accept(order)

    def fill(
        self,
        order: Order,
        amount: str,
        price: str = "64000",
        *,
        fee: str = "0",
        fee_currency: str = "USDT",
        trade_id: str | None = None,
        inferred: bool = False,
    ) -> list[Effect]:
        self.trades += 1
        return self.post(
            Filled(
                venue="paper",
                symbol=order.symbol,
                trade_id=trade_id or f"t-{self.trades}",
                exchange_order_id=order.exchange_order_id or f"v-{order.id}",
                venue_client_id=order.venue_client_id,
                side=order.side,
                amount=D(amount),
                price=D(price),
                fee=D(fee),
                fee_currency=fee_currency,
                maker=False,
                inferred=inferred,
                ts=self.ts,
            )
        )

    def bought(self, symbol: str, side: str, amount: str, price: str, **fields: object) -> Order:
        """A whole order: placed, accepted, filled."""
        order = self.opened(symbol, side, amount, price=price, **fields)
        self.fill(order, amount, price)
        return self.order(order.id)

    def seen(
        self, order: Order, status: Status, filled: str = "0", **fields: object
    ) -> list[Effect]:
        row = OrderSeen(
            venue="paper",
            symbol=order.symbol,
            exchange_order_id=order.exchange_order_id or f"v-{order.id}",
            venue_client_id=order.venue_client_id,
            side=order.side,
            type=order.type,
            status=status,
            amount=order.amount,
            price=order.price,
            stop_price=order.stop_price,
            filled=D(filled),
            cost=D(filled) * (order.price or D(64000)),
            reduce_only=order.reduce_only,
            asof=self.ts,
            ts=self.ts,
        )
        return self.post(replace(row, **fields))  # type: ignore[arg-type]

    def position(self, symbol: str, amount: str, **fields: object) -> list[Effect]:
        return self.post(
            PositionSeen(
                asked=True,
                position=Position(
                    venue="paper",
                    symbol=symbol,
                    position_type="swap",
                    amount=D(amount),
                    ts=self.ts,
                    **fields,  # type: ignore[arg-type]
                ),
            )
        )

    def replayed(self) -> Engine:
        """A fresh engine that took what was journaled."""
        engine = Engine(
            venue="paper",
            mode="paper",
            markets=self.markets,
            limits=self.engine_limits,
            sizes=self.engine.orders.sizes,
        )
        for fact in self.journal:
            engine.replay(fact)
        return engine

    @property
    def engine_limits(self) -> Limits:
        return self.engine.limits


DECIMALS = {
    "stop_price",
    "trailing_amount",
    "trailing_rate",
    "trailing_stop",
    "leverage",
    "cost_limit",
}


def of(effects: list[Effect], kind: type) -> list[Effect]:
    """Effects of one kind."""
    return [effect for effect in effects if isinstance(effect, kind)]


__all__ = ["ADMIN", "BTC", "DAY", "ETH", "OFF", "PERP", "T0", "WHO", "D", "Kit", "Role", "of"]
