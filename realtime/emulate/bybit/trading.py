"""Bybit's orders and positions on our floor: what the REST endpoints and the trade socket share.

Rules of this file:
1 A request is read whole before anything is done; `Refusal` means nothing was done.
2 Rows of the private streams are made when the matching tells, from what it tells.
"""

from collections.abc import Callable, Sequence
from decimal import Decimal, localcontext
from typing import Final

from realtime.emulate.bybit import rows
from realtime.emulate.bybit.codes import Refusal, said, wrong
from realtime.emulate.bybit.params import (
    LINK,
    Params,
    flag,
    needed,
    number,
    one_of,
    text,
)
from realtime.emulate.bybit.protection import STOP, TAKE, Protection, trigger_of
from realtime.emulate.bybit.rows import CATEGORIES, Extra, Row, Target, plain
from realtime.emulate.bybit.statements import Statements, gone, is_of
from realtime.emulate.floor import ANONYMOUS, Floor
from realtime.engine.matching import Working
from realtime.model.errors import VenueRejected
from realtime.model.events import (
    BalanceSeen,
    Filled,
    OrderSeen,
    PositionSeen,
    VenueEvent,
)
from realtime.model.market import MONEY, ZERO, Market, Trade
from realtime.model.orders import OrderType, Side, Status, TimeInForce, TriggerBy


OnRow = Callable[[str, str, str, Row], None]
"""Account, topic, category, row."""

_SIDES: Final = {"Buy": Side.BUY, "Sell": Side.SELL}
_TIFS: Final = {
    "GTC": TimeInForce.GTC,
    "IOC": TimeInForce.IOC,
    "FOK": TimeInForce.FOK,
    "PostOnly": TimeInForce.GTC,
}


class Trading:
    """The accounts' side of the emulated exchange.

    Args:
        floor: Its matching and customers.

    Attributes:
        on_row: Told the rows of the private streams.
        statements: What is shown of the accounts.
        protection: Orders that belong to positions and other orders.
    """

    def __init__(self, floor: Floor) -> None:
        self.on_row: OnRow = _nobody
        self._floor = floor
        self.statements = Statements(floor)
        self.protection = Protection(floor, self.statements.remember, self.statements.name)
        self.statements.guard = self.protection.guard
        floor.on_account.append(self._on_account)

    # --- orders: create -----------------------------------------------------------------------

    def create(self, account: str, params: Params) -> Row:
        """`order/create`.

        Raises:
            Refusal: With the exchange's code; nothing was done.
        """
        category = one_of(params, "category", CATEGORIES, "")
        market = self.statements.market(category, needed(params, "symbol"))
        spot = category == "spot"
        side = _SIDES.get(needed(params, "side"))
        if side is None:
            raise Refusal(170117, "Invalid side.") if spot else wrong("params error: side invalid")
        kind = needed(params, "orderType")
        if kind not in {"Market", "Limit"}:
            if spot:
                raise Refusal(170116, "Invalid orderType.")
            raise wrong("params error: orderType invalid")
        tif = text(params, "timeInForce") or ("IOC" if kind == "Market" else "GTC")
        if tif not in _TIFS:
            if spot:
                raise Refusal(170115, "Invalid timeInForce.")
            raise wrong("params error: timeInForce invalid")
        link = text(params, "orderLinkId")
        if link and not LINK.fullmatch(link):
            raise wrong("params error: orderLinkId invalid")
        if text(params, "positionIdx") not in {"", "0"}:
            raise wrong("position idx not match position mode")
        price = number(params, "price") if kind == "Limit" else None
        if kind == "Limit" and not price:
            if spot:
                raise Refusal(170130, "Data sent for parameter 'price' is not valid.")
            raise wrong("Price invalid")
        with localcontext(MONEY):
            return self._create(account, params, market, side, kind, tif, link, price)

    def _create(
        self,
        account: str,
        params: Params,
        market: Market,
        side: Side,
        kind: str,
        tif: str,
        link: str,
        price: Decimal | None,
    ) -> Row:
        category = rows.category_of(market)
        extra = Extra(last=plain(self.statements.last(market.symbol)))
        amount, cost = self._size(account, params, market, side, kind, extra)
        stop_price = number(params, "triggerPrice")
        of = OrderType.LIMIT if kind == "Limit" else OrderType.MARKET
        if stop_price:
            of = self._conditional(params, market, side, kind, stop_price, extra)
            if cost is not None:
                # A trigger order by cost is bought in base units of its trigger price.
                amount, cost = cost / stop_price // market.amount_step * market.amount_step, None
        self._attached(params, market, side, price, extra)
        extra.close = flag(params, "closeOnTrigger")
        reduce_only = market.contract and (flag(params, "reduceOnly") or extra.close)
        client_id = link or self.statements.name()
        known = (account, client_id) in self.statements.extras
        if not known:
            self.statements.extras[account, client_id] = extra
        try:
            work = self._floor.place(
                account,
                symbol=market.symbol,
                side=side,
                type=of,
                amount=amount,
                client_id=client_id,
                price=price,
                stop_price=stop_price or None,
                cost=cost,
                time_in_force=_TIFS[tif] if kind == "Limit" else TimeInForce.GTC,
                post_only=tif == "PostOnly" and kind == "Limit",
                reduce_only=reduce_only,
                trigger_by=trigger_of(extra.by),
            )
        except VenueRejected as error:
            if (error.details or {}).get("rule") == "post_only" and market.contract:
                assert price is not None
                work = self._taken_back(account, market, side, amount, price, client_id)
                return {"orderId": rows.order_id(work.id, category), "orderLinkId": link}
            if not known:
                del self.statements.extras[account, client_id]
            raise said(error, category) from None
        return {"orderId": rows.order_id(work.id, category), "orderLinkId": link}

    def _size(
        self, account: str, params: Params, market: Market, side: Side, kind: str, extra: Extra
    ) -> tuple[Decimal, Decimal | None]:
        """Amount [base], or what a spot market buy may spend."""
        qty = number(params, "qty")
        if qty is None:
            raise wrong("params error: qty is required")
        if market.contract:
            if not qty and flag(params, "reduceOnly") and flag(params, "closeOnTrigger"):
                held = self._floor.exchange.clearing.accounts[account].holding(market.symbol)
                qty = abs(held.amount)
            return qty, None
        if kind == "Limit":
            return qty, None
        default = "quoteCoin" if side is Side.BUY else "baseCoin"
        extra.unit = one_of(params, "marketUnit", {"baseCoin", "quoteCoin"}, default)
        if extra.unit == "baseCoin":
            return qty, None
        if side is Side.BUY:
            return ZERO, qty
        bid = self._floor.pit(market.symbol).best(Side.BUY)
        return ((qty / bid) // market.amount_step * market.amount_step if bid else ZERO), None

    def _conditional(
        self,
        params: Params,
        market: Market,
        side: Side,
        kind: str,
        stop_price: Decimal,
        extra: Extra,
    ) -> OrderType:
        """Type of an order that waits for a price."""
        if market.contract:
            direction = one_of(params, "triggerDirection", {"1", "2"}, "")
            extra.by = one_of(params, "triggerBy", rows.TRIGGERS, "LastPrice")
            extra.filter, extra.stop_type = "StopOrder", "Stop"
            extra.direction = int(direction)
            rising = direction == "1"
        else:
            extra.filter = one_of(params, "orderFilter", {"StopOrder", "tpslOrder"}, "StopOrder")
            extra.stop_type = "tpslOrder" if extra.filter == "tpslOrder" else "Stop"
            rising = stop_price > (self.statements.last(market.symbol) or ZERO)
        pit = self._floor.pit(market.symbol)
        now = pit.reference if trigger_of(extra.by) is TriggerBy.MARK else pit.last
        if now is not None and market.contract:
            if rising and stop_price <= now:
                raise Refusal(
                    110092, f"expect Rising, but trigger_price[{stop_price}] <= current[{now}]"
                )
            if not rising and stop_price >= now:
                raise Refusal(
                    110093, f"expect Falling, but trigger_price[{stop_price}] >= current[{now}]"
                )
        return rows.ordinary(kind, rising=rising, side=side)

    def _attached(
        self, params: Params, market: Market, side: Side, price: Decimal | None, extra: Extra
    ) -> None:
        """Read the take profit and stop loss of an order."""
        extra.take_profit = target_of(params, market, "takeProfit", "tp")
        extra.stop_loss = target_of(params, market, "stopLoss", "sl")
        if not (extra.take_profit or extra.stop_loss):
            return
        if market.contract:
            extra.mode = one_of(params, "tpslMode", {"Full", "Partial"}, "Full")
        base = price or self.statements.last(market.symbol)
        if base is None:
            return
        for name, target, above in (
            ("TakeProfit", extra.take_profit, side is Side.BUY),
            ("StopLoss", extra.stop_loss, side is Side.SELL),
        ):
            if target is not None and (target.price <= base if above else target.price >= base):
                should = "higher" if above else "lower"
                raise wrong(
                    f"{name}:{target.price} set for {rows.SIDES[side]} position should be"
                    f" {should} than base_price:{base}"
                )

    def _taken_back(
        self,
        account: str,
        market: Market,
        side: Side,
        amount: Decimal,
        price: Decimal,
        client_id: str,
    ) -> Working:
        """A post-only order that would take: taken in, then cancelled, as the exchange does on linear."""
        return self._floor.stillborn(
            account,
            symbol=market.symbol,
            side=side,
            amount=amount,
            price=price,
            client_id=client_id,
            status=Status.CANCELED,
            reason="post_only",
        )

    # --- orders: change -----------------------------------------------------------------------

    def amend(self, account: str, params: Params) -> Row:
        """`order/amend`.

        Raises:
            Refusal: With the exchange's code; the order is as it was.
        """
        category = one_of(params, "category", CATEGORIES, "")
        market = self.statements.market(category, needed(params, "symbol"))
        work = self.statements.find(account, market, params)
        if work.status.ended:
            raise gone(category)
        qty, price = number(params, "qty"), number(params, "price")
        trigger = number(params, "triggerPrice")
        extra = self.statements.known(work)
        before = (work.amount, work.price, work.stop_price)
        changed = self._retarget(params, market, extra)
        try:
            self._floor.amend(
                account,
                work.id,
                amount=qty or None,
                price=price or None,
                stop_price=trigger or None,
            )
        except VenueRejected as error:
            raise said(error, category) from None
        if before == (work.amount, work.price, work.stop_price):
            if not changed:
                raise wrong(
                    "The order remains unchanged as the parameters entered match the existing ones."
                )
            self._show_order(account, work)
        return _named(work, category)

    def _retarget(self, params: Params, market: Market, extra: Extra) -> bool:
        """Change the take profit and stop loss of an order; "0" takes one away."""
        changed = False
        for name, short in (("takeProfit", "tp"), ("stopLoss", "sl")):
            if not text(params, name):
                continue
            target = target_of(params, market, name, short)
            field = "take_profit" if short == "tp" else "stop_loss"
            if getattr(extra, field) != target:
                setattr(extra, field, target)
                extra.mode = extra.mode or ("Full" if market.contract else "")
                changed = True
        return changed

    def cancel(self, account: str, params: Params) -> Row:
        """`order/cancel`.

        Raises:
            Refusal: With the exchange's code, e.g. the order has ended.
        """
        category = one_of(params, "category", CATEGORIES, "")
        market = self.statements.market(category, needed(params, "symbol"))
        work = self.statements.find(account, market, params)
        wanted = text(params, "orderFilter") or ("Order" if category == "spot" else "")
        if wanted and not is_of(self.statements.known(work), wanted):
            raise gone(category)
        try:
            self._floor.cancel(account, work.id)
        except VenueRejected as error:
            raise said(error, category) from None
        return _named(work, category)

    def cancel_all(self, account: str, params: Params) -> Row:
        """`order/cancel-all`."""
        category = one_of(params, "category", CATEGORIES, "")
        if category == "linear" and not any(
            text(params, name) for name in ("symbol", "baseCoin", "settleCoin")
        ):
            raise wrong("params error: symbol, baseCoin or settleCoin is required")
        wanted = text(params, "orderFilter") or ("Order" if category == "spot" else "")
        done = []
        for work in self.statements.selected(account, category, params):
            # A leg may have ended with the one before it.
            if work.status.ended or (wanted and not is_of(self.statements.known(work), wanted)):
                continue
            self._floor.cancel(account, work.id)
            done.append(_named(work, category))
        return {"list": done, "success": "1"}

    # --- positions and wallet -------------------------------------------------------------------

    def set_leverage(self, account: str, params: Params) -> Row:
        """`position/set-leverage`.

        Raises:
            Refusal: 110043 when it is that already, 110013 out of range, 110007 when the margin is missing.
        """
        category = one_of(params, "category", {"linear"}, "")
        market = self.statements.market(category, needed(params, "symbol"))
        buy, sell = number(params, "buyLeverage"), number(params, "sellLeverage")
        if buy is None or buy != sell:
            raise wrong("params error: buyLeverage must equal sellLeverage")
        held = self._floor.exchange.clearing.accounts[account].holding(market.symbol)
        if held.leverage == buy:
            raise Refusal(110043, "leverage not modified")
        try:
            self._floor.set_leverage(account, market.symbol, buy)
        except VenueRejected as error:
            raise said(error, category) from None
        return {}

    def set_margin_mode(self, account: str, params: Params) -> Row:
        """`account/set-margin-mode`: for all derivatives, while they are flat and without orders."""
        mode = one_of(params, "setMarginMode", {"REGULAR_MARGIN", "ISOLATED_MARGIN"}, "")
        isolated = mode == "ISOLATED_MARGIN"
        for market in self.statements.markets("linear"):
            held = self._floor.exchange.clearing.accounts[account].holding(market.symbol)
            if held.isolated == isolated:
                continue
            try:
                self._floor.exchange.set_isolated(
                    account, market.symbol, isolated=isolated, ts=self._floor.now()
                )
            except VenueRejected as error:
                raise said(error, "linear") from None
        self._floor.tell()
        return {"reasons": []}

    def margin_mode(self, account: str) -> str:
        """Of the account."""
        held = self._floor.exchange.clearing.accounts[account].holdings.values()
        return "ISOLATED_MARGIN" if any(each.isolated for each in held) else "REGULAR_MARGIN"

    def switch_mode(self, _account: str, params: Params) -> Row:
        """`position/switch-mode`: one-way is all there is."""
        if text(params, "mode") != "0":
            raise Refusal(110029, "Hedge mode is not supported for this symbol")
        if text(params, "symbol"):
            raise Refusal(110025, "Position mode is not modified")
        return {}

    def trading_stop(self, account: str, params: Params) -> Row:
        """`position/trading-stop`: take profit, stop loss and trailing stop of a whole position."""
        category = one_of(params, "category", {"linear"}, "")
        market = self.statements.market(category, needed(params, "symbol"))
        held = self._floor.exchange.clearing.accounts[account].holding(market.symbol)
        if not held.amount:
            raise wrong("can not set tp/sl/ts for zero position")
        now = self.statements.last(market.symbol) or ZERO
        for name, short, kind in (("takeProfit", "tp", TAKE), ("stopLoss", "sl", STOP)):
            if not text(params, name):
                continue
            target = target_of(params, market, name, short)
            above = (kind == TAKE) == (held.amount > 0)
            if target is not None and (target.price <= now if above else target.price >= now):
                raise wrong(f"{name}:{target.price} is on the wrong side of {now}")
            self.protection.set_target(account, market.symbol, kind, target)
        if text(params, "trailingStop"):
            distance = number(params, "trailingStop") or None
            active = number(params, "activePrice") or None
            if active is not None and (active <= now if held.amount > 0 else active >= now):
                active = None
            self.protection.set_trailing(account, market.symbol, distance, active)
        with localcontext(MONEY):
            clearing = self._floor.exchange.clearing
            shown = clearing.position(clearing.accounts[account], market.symbol, self._floor.now())
            self.on_row(
                account,
                "position",
                "linear",
                self.statements.position_row(account, shown, stream=True),
            )
        return {}

    # --- what the matching tells ----------------------------------------------------------------

    def on_trade(self, trade: Trade) -> None:
        """Look at what waits for a price outside the matching."""
        self.protection.on_trade(trade)

    def _on_account(self, account: str, events: Sequence[VenueEvent]) -> None:
        wallet = False
        with localcontext(MONEY):
            for event in events:
                match event:
                    case OrderSeen():
                        self._on_order(account, event)
                    case Filled():
                        self._on_fill(account, event)
                    case BalanceSeen():
                        # One frame for all coins: what they are now.
                        if not wallet:
                            wallet = True
                            self.on_row(account, "wallet", "", self.statements.wallet(account))
                    case PositionSeen():
                        row = self.statements.position_row(account, event.position, stream=True)
                        self.on_row(account, "position", "linear", row)
                    case _:
                        pass  # a transfer is in the balance behind it
            for event in events:
                match event:
                    case Filled():
                        self._protect(account, event)
                    case OrderSeen() if event.status.ended:
                        self._after_end(account, event)
                    case PositionSeen():
                        self.protection.on_position(account, event.position)
                    case _:
                        pass
        self.statements.forget()

    def _on_order(self, account: str, seen: OrderSeen) -> None:
        work = self._floor.work(account, seen.exchange_order_id)
        if work is None:
            return  # it is so old that the matching has forgotten it
        market = self._floor.markets[seen.symbol]
        row = rows.order(seen, work, self.statements.known(work), market, stream=True)
        self.on_row(account, "order", rows.category_of(market), row)

    def _on_fill(self, account: str, fill: Filled) -> None:
        work = self._floor.work(account, fill.exchange_order_id)
        if work is None:
            return
        market = self._floor.markets[fill.symbol]
        extra = self.statements.known(work)
        extra.fees[fill.fee_currency] = extra.fees.get(fill.fee_currency, ZERO) + fill.fee
        category = rows.category_of(market)
        mark = self.statements.mark_text(market)
        row = rows.execution(fill, work, extra, market, mark, stream=True)
        self.on_row(account, "execution", category, row)
        self.on_row(account, "execution.fast", category, rows.fast_execution(fill, work, market))

    def _protect(self, account: str, fill: Filled) -> None:
        work = self._floor.work(account, fill.exchange_order_id)
        if work is not None and self._floor.markets[fill.symbol].contract:
            self.protection.on_fill(account, fill, work, self.statements.known(work))

    def _after_end(self, account: str, seen: OrderSeen) -> None:
        work = self._floor.work(account, seen.exchange_order_id)
        if work is None or work.client_id is None:
            return
        self.protection.on_end(work.client_id)
        if not self._floor.markets[seen.symbol].contract:
            self.protection.on_over(account, work, self.statements.known(work))

    def _show_order(self, account: str, work: Working) -> None:
        seen = self._floor.exchange.clearing.seen(work, self._floor.now())
        self._on_order(account, seen)


def _nobody(account: str, topic: str, category: str, row: Row) -> None:
    """Nobody listens yet."""


def target_of(params: Params, market: Market, name: str, short: str) -> Target | None:
    """Read one of takeProfit and stopLoss; None where it is missing or zero."""
    price = number(params, name)
    if not price:
        return None
    if MONEY.remainder(price, market.price_tick):
        raise wrong(f"params error: {name} invalid")
    limit = None
    if text(params, f"{short}OrderType") == "Limit" or text(params, f"{short}LimitPrice"):
        limit = number(params, f"{short}LimitPrice") or None
    return Target(price, limit, one_of(params, f"{short}TriggerBy", rows.TRIGGERS, "LastPrice"))


def _named(work: Working, category: str) -> Row:
    name = work.client_id or ""
    link = "" if name.startswith(ANONYMOUS) else name
    return {"orderId": rows.order_id(work.id, category), "orderLinkId": link}
