"""Bybit's v5 rows, made from ours: numbers as strings, times as milliseconds, an empty text for "nothing"."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final
from uuid import UUID

from realtime.emulate.bybit.params import whole
from realtime.emulate.floor import client_id_of, number_of
from realtime.engine.bars import TIMEFRAMES
from realtime.engine.matching import Working
from realtime.model.account import Position
from realtime.model.events import Filled, OrderSeen
from realtime.model.market import MONEY, MS, ZERO, Bar, Mark, Market, Ticker, Trade
from realtime.model.orders import OrderType, Side, Status, TimeInForce


Row = dict[str, object]

INTERVALS: Final = {
    "1": "1m",
    "3": "3m",
    "5": "5m",
    "15": "15m",
    "30": "30m",
    "60": "1h",
    "120": "2h",
    "240": "4h",
    "360": "6h",
    "720": "12h",
    "D": "1d",
    "W": "1w",
}
"""Bybit's names of our timeframes."""

_SPOT_ORDERS: Final = 1_600_000_000_000_000_000
_SPOT_FILLS: Final = 2_100_000_000_000_000_000
SIDES: Final = {Side.BUY: "Buy", Side.SELL: "Sell"}
CATEGORIES: Final = {"spot", "linear", "inverse", "option"}
TRIGGERS: Final = {"LastPrice", "MarkPrice", "IndexPrice"}


@dataclass(slots=True)
class Target:
    """A take profit or stop loss that an order or a position carries.

    Attributes:
        price: Trigger.
        limit: Price of the order it makes; None for a market order.
        by: Which price fires it.
    """

    price: Decimal
    limit: Decimal | None = None
    by: str = "LastPrice"


@dataclass(slots=True, kw_only=True)
class Extra:
    """What Bybit remembers of an order and the matching does not.

    Attributes:
        filter: `Order`, `StopOrder` or `tpslOrder`.
        stop_type: `stopOrderType`.
        unit: `marketUnit` of a spot market order.
        direction: `triggerDirection`, 1 rising, 2 falling, 0 none.
        whole: A protective order of the whole position: its amount follows the position's.
        guarded: How much of it has protective orders of its own (partial mode).
        legs: Client ids of those.
    """

    filter: str = "Order"
    stop_type: str = ""
    create_type: str = "CreateByUser"
    unit: str = ""
    direction: int = 0
    by: str = ""
    last: str = ""
    take_profit: Target | None = None
    stop_loss: Target | None = None
    mode: str = ""
    close: bool = False
    whole: bool = False
    guarded: Decimal = ZERO
    legs: list[str] = field(default_factory=list)
    fees: dict[str, Decimal] = field(default_factory=dict)


# --- numbers ----------------------------------------------------------------------------------


def plain(value: Decimal | None) -> str:
    """A number without exponent and without zeros at its end; an empty text for None."""
    return "" if value is None else format(value.normalize(MONEY), "f")


def ms(ts: int) -> str:
    """A time as text [ms]."""
    return str(ts // MS)


def ratio(above: Decimal, below: Decimal, digits: int = 8) -> str:
    """A quotient with at most so many digits."""
    return plain(MONEY.divide(above, below).quantize(Decimal(1).scaleb(-digits), context=MONEY))


# --- ids --------------------------------------------------------------------------------------


def id_of(market: Market) -> str:
    """What Bybit calls a market; its spot market and its perpetual share the name."""
    return f"{market.base}{market.quote}"


def category_of(market: Market) -> str:
    """`spot` or `linear`."""
    return "linear" if market.contract else "spot"


def order_id(work_id: str, category: str) -> str:
    """A number on spot, a UUID on linear."""
    number = number_of(work_id)
    return str(_SPOT_ORDERS + number) if category == "spot" else str(UUID(int=number))


def work_id(identity: str) -> str | None:
    """The matching's id behind an order id; None where it cannot be one."""
    number = whole(identity)
    if number is not None:
        return f"x-{number - _SPOT_ORDERS}"
    try:
        return f"x-{UUID(identity).int}"
    except ValueError:
        return None


def exec_id(trade_id: str, category: str) -> str:
    """A number on spot, a UUID on linear."""
    number = number_of(trade_id)
    return str(_SPOT_FILLS + number) if category == "spot" else str(UUID(int=number))


# --- markets ----------------------------------------------------------------------------------


def instrument(market: Market) -> Row:
    """A row of `market/instruments-info`."""
    step, most = plain(market.amount_step), plain(market.max_amount)
    if not market.contract:
        return {
            "symbol": id_of(market),
            "baseCoin": market.base,
            "quoteCoin": market.quote,
            "innovation": "0",
            "symbolType": "",
            "status": "Trading" if market.active else "Closed",
            "marginTrading": "none",
            "stTag": "0",
            "lotSizeFilter": {
                "basePrecision": step,
                "quotePrecision": "0.00000001",
                "minOrderQty": plain(market.min_amount),
                "maxOrderQty": most,
                "minOrderAmt": plain(market.min_cost),
                "maxOrderAmt": "8000000",
                "maxLimitOrderQty": most,
                "maxMarketOrderQty": plain(market.max_market_amount),
                "postOnlyMaxLimitOrderSize": most,
            },
            "priceFilter": {"tickSize": plain(market.price_tick)},
            "riskParameters": {
                "priceLimitRatioX": plain(market.price_band),
                "priceLimitRatioY": plain(market.price_band),
            },
        }
    return {
        "symbol": id_of(market),
        "contractType": "LinearPerpetual",
        "status": "Trading" if market.active else "Closed",
        "baseCoin": market.base,
        "quoteCoin": market.quote,
        "launchTime": "1585526400000",
        "deliveryTime": "0",
        "deliveryFeeRate": "",
        "priceScale": str(max(-int(market.price_tick.normalize().as_tuple().exponent), 0)),
        "leverageFilter": {
            "minLeverage": "1",
            "maxLeverage": plain(market.max_leverage),
            "leverageStep": "0.01",
        },
        "priceFilter": {
            "minPrice": plain(market.price_tick),
            "maxPrice": plain(market.price_tick * 100_000_000),
            "tickSize": plain(market.price_tick),
        },
        "lotSizeFilter": {
            "maxOrderQty": most,
            "minOrderQty": plain(market.min_amount),
            "qtyStep": step,
            "postOnlyMaxOrderQty": most,
            "maxMktOrderQty": plain(market.max_market_amount),
            "minNotionalValue": plain(market.min_cost),
        },
        "unifiedMarginTrade": True,
        "fundingInterval": 480,
        "settleCoin": market.settle,
        "copyTrading": "none",
        "upperFundingRate": "0.0075",
        "lowerFundingRate": "-0.0075",
        "isPreListing": False,
        "preListingInfo": None,
        "displayName": "",
        "symbolType": "",
        "riskParameters": {
            "priceLimitRatioX": plain(market.price_band),
            "priceLimitRatioY": plain(market.price_band),
        },
    }


def ticker(market: Market, seen: Ticker, mark: Mark | None, *, rest: bool) -> Row:
    """A row of `market/tickers`, or the data of a `tickers` frame (which has no top of book on spot)."""
    day = seen.daily
    last = day.last or ""
    opened = day.open or last
    moved = "0"
    if last and Decimal(opened):
        moved = ratio(Decimal(last) - Decimal(opened), Decimal(opened), 6)
    row: Row = {
        "symbol": id_of(market),
        "lastPrice": last,
        "prevPrice24h": opened,
        "price24hPcnt": moved,
        "highPrice24h": day.high or last,
        "lowPrice24h": day.low or last,
        "turnover24h": day.quote_volume or "0",
        "volume24h": day.volume or "0",
    }
    if rest or market.contract:
        row |= {
            "bid1Price": seen.bid or "",
            "bid1Size": seen.bid_amount or "",
            "ask1Price": seen.ask or "",
            "ask1Size": seen.ask_amount or "",
        }
    if not market.contract:
        row["usdIndexPrice"] = last
        return row
    price = mark.mark if mark is not None else last
    row |= {
        "tickDirection": "ZeroPlusTick",
        "indexPrice": mark.index if mark is not None else last,
        "markPrice": price,
        "prevPrice1h": opened,
        "openInterest": "0",
        "openInterestValue": "0",
        "fundingRate": mark.funding_rate if mark is not None else "0",
        "nextFundingTime": ms(mark.next_funding_ts) if mark is not None else "0",
        "fundingIntervalHour": "8",
    }
    if rest:
        row |= {
            "predictedDeliveryPrice": "",
            "basisRate": "",
            "deliveryFeeRate": "",
            "deliveryTime": "0",
            "preOpenPrice": "",
            "preQty": "",
            "curPreListingPhase": "",
            "basis": "",
        }
    return row


def recent_trade(trade: Trade, category: str, market: Market) -> Row:
    """A row of `market/recent-trade`."""
    return {
        "execId": exec_id(trade.id, category),
        "symbol": id_of(market),
        "price": trade.price,
        "size": trade.amount,
        "side": SIDES[Side(trade.side)],
        "time": ms(trade.ts),
        "isBlockTrade": False,
        "isRPITrade": False,
    }


def public_trade(trade: Trade, category: str, market: Market, tick: str) -> Row:
    """A row of a `publicTrade` frame."""
    row: Row = {
        "i": exec_id(trade.id, category),
        "T": trade.ts // MS,
        "p": trade.price,
        "v": trade.amount,
        "S": SIDES[Side(trade.side)],
        "s": id_of(market),
        "BT": False,
        "RPI": False,
    }
    if category != "spot":
        row["L"] = tick
    return row


def _turnover(bar: Bar) -> str:
    return plain(MONEY.multiply(Decimal(bar.volume), Decimal(bar.close)))


def kline(bar: Bar) -> list[str]:
    """A row of `market/kline`."""
    return [ms(bar.ts), bar.open, bar.high, bar.low, bar.close, bar.volume, _turnover(bar)]


def kline_frame(bar: Bar, interval: str, now: int) -> Row:
    """A row of a `kline` frame."""
    end = bar.ts + TIMEFRAMES[INTERVALS[interval]]
    return {
        "start": bar.ts // MS,
        "end": end // MS - 1,
        "interval": interval,
        "open": bar.open,
        "close": bar.close,
        "high": bar.high,
        "low": bar.low,
        "volume": bar.volume,
        "turnover": _turnover(bar),
        "confirm": now >= end,
        "timestamp": min(now, end) // MS,
    }


# --- orders -----------------------------------------------------------------------------------


def _status(seen: OrderSeen, work: Working, category: str) -> str:
    match seen.status:
        case Status.FILLED:
            return "Filled"
        case Status.REJECTED:
            return "Rejected"
        case Status.CANCELED | Status.EXPIRED:
            if work.type.triggered and not work.live:
                return "Deactivated"
            partly = category == "spot" and seen.filled > 0
            return "PartiallyFilledCanceled" if partly else "Cancelled"
        case _:
            if work.type.triggered and not work.live:
                return "Untriggered"
            return "PartiallyFilled" if seen.filled > 0 else "New"


_CANCELS: Final = {
    "reduce_only": "CancelByReduceOnly",
    "oco": "CancelByTpSlTsClear",
    "liquidation": "CancelAllBeforeLiq",
    "self_trade": "CancelBySmp",
    "insufficient_funds": "CancelByCannotAffordOrderCost",
    None: "CancelByUser",
}
_REASONS: Final = {
    "post_only": "EC_PostOnlyWillTakeLiquidity",
    "no_liquidity": "EC_NoImmediateQtyToFill",
    "fill_or_kill": "EC_NoEnoughQtyToFill",
    "immediate_or_cancel": "EC_NoImmediateQtyToFill",
    "self_trade": "EC_CancelBySMP",
}


def tif_of(work: Working) -> str:
    """`timeInForce` as Bybit shows it."""
    if work.post_only:
        return "PostOnly"
    if not work.type.priced:
        return "IOC"
    return "GTC" if work.time_in_force is TimeInForce.GTD else work.time_in_force.value


def order(seen: OrderSeen, work: Working, extra: Extra, market: Market, *, stream: bool) -> Row:
    """A row of `order/realtime`, `order/history` or the `order` stream: the order as `seen`."""
    category = category_of(market)
    ended = seen.status.ended
    by_cost = work.cost_limit is not None
    qty = work.cost_limit if by_cost else seen.amount
    assert qty is not None
    leaves = ZERO if ended or by_cost else seen.amount - seen.filled
    left = ZERO
    if not ended:
        left = qty - seen.cost if by_cost else MONEY.multiply(leaves, work.price or work.dearest)
    canceled = seen.status in {Status.CANCELED, Status.EXPIRED}
    average = ""
    if seen.filled:
        average = ratio(seen.cost, MONEY.multiply(seen.filled, market.contract_size))
    fees = {coin: plain(fee) for coin, fee in extra.fees.items()}
    target, stop = extra.take_profit, extra.stop_loss
    row: Row = {
        "orderId": order_id(work.id, category),
        "orderLinkId": client_id_of(work) or "",
        "blockTradeId": "",
        "symbol": id_of(market),
        "price": plain(work.price) or "0",
        "qty": plain(qty),
        "side": SIDES[work.side],
        "isLeverage": "0" if category == "spot" else "",
        "positionIdx": 0,
        "orderStatus": _status(seen, work, category),
        "createType": extra.create_type,
        "cancelType": _CANCELS.get(seen.reason, "UNKNOWN") if canceled else "UNKNOWN",
        "rejectReason": _REASONS.get(seen.reason or "", "EC_NoError") if ended else "EC_NoError",
        "avgPrice": average,
        "leavesQty": plain(leaves),
        "leavesValue": plain(left),
        "cumExecQty": plain(seen.filled),
        "cumExecValue": plain(seen.cost),
        "cumExecFee": next(iter(fees.values()), "0"),
        "cumFeeDetail": fees,
        "timeInForce": tif_of(work),
        "orderType": "Limit" if work.type.priced else "Market",
        "stopOrderType": extra.stop_type,
        "orderIv": "",
        "marketUnit": extra.unit,
        "triggerPrice": plain(work.stop_price) if work.type.triggered else "",
        "takeProfit": plain(target.price) if target else "",
        "stopLoss": plain(stop.price) if stop else "",
        "tpLimitPrice": plain(target.limit) if target else "",
        "slLimitPrice": plain(stop.limit) if stop else "",
        "tpTriggerBy": target.by if target else "",
        "slTriggerBy": stop.by if stop else "",
        "triggerDirection": extra.direction,
        "triggerBy": extra.by,
        "lastPriceOnCreated": extra.last,
        "reduceOnly": work.reduce_only,
        "closeOnTrigger": extra.close,
        "placeType": "",
        "smpType": "None",
        "smpGroup": 0,
        "smpOrderId": "",
        "slippageToleranceType": "UNKNOWN",
        "slippageTolerance": "",
        "extraFees": "",
        "createdTime": ms(work.created_ts),
        "updatedTime": ms(seen.asof),
    }
    # ccxt tells a derivative by this key's being there, as the exchange's spot rows do not have it.
    if category != "spot":
        row["tpslMode"] = extra.mode
    else:
        row["ocoTriggerBy"] = ""
    if stream:
        row |= {"category": category, "feeCurrency": next(iter(fees), ""), "closedPnl": "0"}
    return row


def forced(work: Working) -> bool:
    """Whether the exchange made an order, to liquidate: nobody named it."""
    return work.client_id is None


def exec_type(work: Working) -> str:
    """What kind of execution an order's fills are."""
    return "BustTrade" if forced(work) else "Trade"


def execution(
    fill: Filled, work: Working, extra: Extra, market: Market, mark: str, *, stream: bool
) -> Row:
    """A row of `execution/list` or the `execution` stream."""
    category = category_of(market)
    value = MONEY.multiply(MONEY.multiply(fill.price, fill.amount), market.contract_size)
    base = fill.amount if not market.contract and fill.side is Side.BUY else value
    row: Row = {
        "symbol": id_of(market),
        "orderId": order_id(fill.exchange_order_id, category),
        "orderLinkId": client_id_of(work) or "",
        "side": SIDES[fill.side],
        "orderPrice": plain(work.price) or "0",
        "orderQty": plain(work.cost_limit or work.amount),
        "leavesQty": plain(max(work.remaining, ZERO)),
        "orderType": "Limit" if work.type.priced else "Market",
        "stopOrderType": extra.stop_type or "UNKNOWN",
        "execFee": plain(fill.fee),
        "execFeeV2": "",
        "execId": exec_id(fill.trade_id, category),
        "execPrice": plain(fill.price),
        "execQty": plain(fill.amount),
        "execType": exec_type(work),
        "execValue": plain(value),
        "execTime": ms(fill.ts),
        "feeCurrency": fill.fee_currency if category == "spot" else "",
        "isMaker": fill.maker,
        "feeRate": ratio(fill.fee, base) if base else "0",
        "tradeIv": "",
        "markIv": "",
        "markPrice": mark,
        "indexPrice": "",
        "underlyingPrice": "",
        "blockTradeId": "",
        "closedSize": "",
        "seq": number_of(fill.trade_id),
        "extraFees": "",
    }
    # ccxt tells a derivative by this key's being there, as the exchange's spot rows do not have it.
    if category != "spot":
        row["createType"] = extra.create_type
    if stream:
        row |= {
            "category": category,
            "isLeverage": "0",
            "marketUnit": extra.unit,
            "execPnl": "0",
            "feeCoin": fill.fee_currency,
        }
    return row


def fast_execution(fill: Filled, work: Working, market: Market) -> Row:
    """A row of the `execution.fast` stream."""
    category = category_of(market)
    return {
        "category": category,
        "symbol": id_of(market),
        "execId": exec_id(fill.trade_id, category),
        "execPrice": plain(fill.price),
        "execQty": plain(fill.amount),
        "orderId": order_id(fill.exchange_order_id, category),
        "isMaker": fill.maker,
        "orderLinkId": client_id_of(work) or "",
        "side": SIDES[fill.side],
        "execTime": ms(fill.ts),
        "seq": number_of(fill.trade_id),
    }


# --- account ----------------------------------------------------------------------------------


def position(
    held: Position,
    market: Market,
    mark: Decimal | None,
    targets: Mapping[str, str],
    *,
    stream: bool,
) -> Row:
    """A row of `position/list` or the `position` stream; a flat one has no side and size 0.

    Args:
        held: Ours.
        market: Its market.
        mark: Price it is judged at.
        targets: `takeProfit`, `stopLoss`, `trailingStop` and `activePrice`, where it has them.
        stream: Whether it is a row of the stream, which names some things otherwise.
    """
    size = abs(held.amount)
    cost = held.cost or ZERO
    profit = ZERO
    if mark is not None and size:
        worth = MONEY.multiply(MONEY.multiply(held.amount, market.contract_size), mark)
        profit = MONEY.subtract(worth, cost)
    entry = held.entry_price
    price = "0" if entry is None else plain(entry.quantize(Decimal("1e-8"), context=MONEY))
    row: Row = {
        "positionIdx": 0,
        "tradeMode": 1 if held.margin_mode == "isolated" else 0,
        "riskId": 1,
        "riskLimitValue": "2000000",
        "symbol": id_of(market),
        "side": "" if not size else ("Buy" if held.amount > 0 else "Sell"),
        "size": plain(size) if size else "0",
        "positionValue": plain(abs(cost)) if size else ("0" if stream else ""),
        "markPrice": plain(mark),
        "leverage": plain(held.leverage),
        "autoAddMargin": 0,
        "positionBalance": plain(held.collateral) if size else "0",
        "positionIM": plain(held.collateral) if size else "0",
        "positionMM": plain(held.maintenance_margin) if size else "0",
        "liqPrice": plain(held.liquidation_price),
        "bustPrice": "",
        "tpslMode": "Full",
        "takeProfit": targets.get("takeProfit", "" if not stream else "0"),
        "stopLoss": targets.get("stopLoss", "" if not stream else "0"),
        "trailingStop": targets.get("trailingStop", "0"),
        "sessionAvgPrice": "",
        "unrealisedPnl": plain(profit) if size else "0",
        "curRealisedPnl": plain(held.realized_pnl),
        "cumRealisedPnl": plain(held.realized_pnl),
        "adlRankIndicator": 2 if size else 0,
        "positionStatus": "Normal",
        "createdTime": ms(held.opened_ts or held.ts),
        "updatedTime": ms(held.ts),
        "seq": held.ts // MS,
        "isReduceOnly": False,
        "mmrSysUpdateTime": "",
        "leverageSysUpdatedTime": "",
    }
    if stream:
        row |= {"category": "linear", "entryPrice": price}
    else:
        row["avgPrice"] = price
    return row


@dataclass(frozen=True, slots=True, kw_only=True)
class Coin:
    """One currency of the wallet.

    Attributes:
        locked: Held for spot orders.
        orders, positions, maintenance: Margin of derivatives.
        profit: Unrealised.
        price: In USD; zero where unknown.
    """

    coin: str
    total: Decimal
    locked: Decimal = ZERO
    orders: Decimal = ZERO
    positions: Decimal = ZERO
    maintenance: Decimal = ZERO
    profit: Decimal = ZERO
    realized: Decimal = ZERO
    price: Decimal = ZERO


def wallet(coins: list[Coin]) -> Row:
    """The account of `account/wallet-balance` and the `wallet` stream."""

    def usd(value: Decimal, coin: Coin) -> Decimal:
        return MONEY.multiply(value, coin.price)

    total = sum((usd(each.total, each) for each in coins), ZERO)
    profit = sum((usd(each.profit, each) for each in coins), ZERO)
    initial = sum((usd(each.orders + each.positions, each) for each in coins), ZERO)
    maintenance = sum((usd(each.maintenance, each) for each in coins), ZERO)
    locked = sum((usd(each.locked, each) for each in coins), ZERO)
    equity = total + profit
    rate = ratio(initial, equity, 4) if equity else "0"
    return {
        "accountType": "UNIFIED",
        "accountLTV": "0",
        "accountIMRate": rate,
        "accountMMRate": ratio(maintenance, equity, 4) if equity else "0",
        "totalEquity": plain(equity),
        "totalWalletBalance": plain(total),
        "totalMarginBalance": plain(equity),
        "totalAvailableBalance": plain(max(equity - initial - locked, ZERO)),
        "totalPerpUPL": plain(profit),
        "totalInitialMargin": plain(initial),
        "totalMaintenanceMargin": plain(maintenance),
        "coin": [
            {
                "coin": each.coin,
                "equity": plain(each.total + each.profit),
                "usdValue": plain(usd(each.total + each.profit, each)),
                "walletBalance": plain(each.total),
                "locked": plain(each.locked),
                "spotHedgingQty": "0",
                "borrowAmount": "0",
                "spotBorrow": "0",
                "accruedInterest": "0",
                "availableToBorrow": "",
                "availableToWithdraw": "",
                "totalOrderIM": plain(each.orders),
                "totalPositionIM": plain(each.positions),
                "totalPositionMM": plain(each.maintenance),
                "unrealisedPnl": plain(each.profit),
                "cumRealisedPnl": plain(each.realized),
                "bonus": "0",
                "marginCollateral": True,
                "collateralSwitch": True,
            }
            for each in coins
        ],
    }


def ordinary(kind: str, *, rising: bool, side: Side) -> OrderType:
    """Our type of a conditional order: `kind` is Limit or Market, `rising` the direction that fires it."""
    stop = rising == (side is Side.BUY)
    if kind == "Limit":
        return OrderType.STOP_LIMIT if stop else OrderType.TAKE_PROFIT_LIMIT
    return OrderType.STOP if stop else OrderType.TAKE_PROFIT
