"""Take profits, stop losses and trailing stops that belong to a position or to the order that opened it.

Rules of this file:
1 A position's own (full mode) are reduce-only orders whose amount follows the position; they end with it.
2 An order's own (partial mode, and spot) exist for what has filled, one group of which one excludes the other.
3 An attached order that cannot be placed is left out: the parent was answered long ago.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal

from realtime.emulate.bybit.rows import Extra, Target, ordinary, plain
from realtime.emulate.floor import Floor
from realtime.engine.matching import Working
from realtime.model.account import Position
from realtime.model.errors import VenueRejected
from realtime.model.events import Filled
from realtime.model.market import MONEY, ZERO, Trade
from realtime.model.orders import OrderType, Side, TriggerBy


TAKE, STOP, TRAIL = "TakeProfit", "StopLoss", "TrailingStop"


@dataclass(slots=True)
class Guard:
    """What protects one position.

    Attributes:
        targets: Take profit and stop loss by name.
        trailing: Distance of the trailing stop [quote].
        active: Price from which on it trails; None at once.
        legs: Client ids of the orders, by name.
    """

    targets: dict[str, Target] = field(default_factory=dict)
    trailing: Decimal | None = None
    active: Decimal | None = None
    legs: dict[str, str] = field(default_factory=dict)

    def shown(self) -> dict[str, str]:
        """As fields of a position's row."""
        fields = {}
        if TAKE in self.targets:
            fields["takeProfit"] = plain(self.targets[TAKE].price)
        if STOP in self.targets:
            fields["stopLoss"] = plain(self.targets[STOP].price)
        if self.trailing is not None:
            fields["trailingStop"] = plain(self.trailing)
        return fields


class Protection:
    """Places, resizes and takes back protective orders.

    Args:
        floor: Where they go.
        extra: Remembers what Bybit knows of an order: account, client id, the facts.
        name: Makes a client id that no client gave.
    """

    def __init__(
        self,
        floor: Floor,
        extra: Callable[[str, str, Extra], None],
        name: Callable[[], str],
    ) -> None:
        self._floor = floor
        self._extra = extra
        self._name = name
        self._guards: dict[tuple[str, str], Guard] = {}
        self._owners: dict[str, tuple[str, str, str]] = {}

    def guard(self, account: str, symbol: str) -> Guard:
        """What protects a position; an empty one where nothing does."""
        return self._guards.get((account, symbol)) or Guard()

    # --- of a position ------------------------------------------------------------------------

    def set_target(self, account: str, symbol: str, kind: str, target: Target | None) -> None:
        """Put a take profit or stop loss in the place of the one there is; None takes it away."""
        guard = self._guards.setdefault((account, symbol), Guard())
        self._drop(account, guard, kind)
        guard.targets.pop(kind, None)
        if target is not None:
            guard.targets[kind] = target
            self._put(account, symbol, guard, kind)

    def set_trailing(
        self, account: str, symbol: str, distance: Decimal | None, active: Decimal | None
    ) -> None:
        """Put a trailing stop in the place of the one there is; None takes it away."""
        guard = self._guards.setdefault((account, symbol), Guard())
        self._drop(account, guard, TRAIL)
        guard.trailing, guard.active = distance, active
        if distance is not None and active is None:
            self._put(account, symbol, guard, TRAIL)

    def on_position(self, account: str, held: Position) -> None:
        """Follow a position: its protective orders become as large, or end with it."""
        guard = self._guards.get((account, held.symbol))
        if guard is None:
            return
        # The event may be older than what has happened since.
        amount = abs(self._held(account, held.symbol))
        if not amount:
            for kind in list(guard.legs):
                self._drop(account, guard, kind)
            del self._guards[account, held.symbol]
            return
        for kind in (TAKE, STOP, TRAIL):
            client_id = guard.legs.get(kind)
            work = None if client_id is None else self._floor.named(account, client_id)
            if work is not None and not work.status.ended and work.remaining < amount:
                self._resize(account, work, work.filled + amount)

    def on_trade(self, trade: Trade) -> None:
        """Let trailing stops begin whose price has come."""
        price = Decimal(trade.price)
        for (account, symbol), guard in list(self._guards.items()):
            if symbol != trade.symbol or guard.active is None or guard.trailing is None:
                continue
            held = self._held(account, symbol)
            if held and (price >= guard.active if held > 0 else price <= guard.active):
                guard.active = None
                self._put(account, symbol, guard, TRAIL)

    def on_end(self, client_id: str) -> None:
        """Forget an order that is over."""
        owner = self._owners.pop(client_id, None)
        if owner is None:
            return
        account, symbol, kind = owner
        guard = self._guards.get((account, symbol))
        if guard is not None and guard.legs.get(kind) == client_id:
            del guard.legs[kind]
            guard.targets.pop(kind, None)
            if kind == TRAIL:
                guard.trailing = guard.active = None

    def _held(self, account: str, symbol: str) -> Decimal:
        held = self._floor.exchange.clearing.accounts[account].holdings.get(symbol)
        return ZERO if held is None else held.amount

    def _put(self, account: str, symbol: str, guard: Guard, kind: str) -> None:
        held = self._held(account, symbol)
        if not held:
            return
        client_id = self._name()
        guard.legs[kind] = client_id
        self._owners[client_id] = (account, symbol, kind)
        side = Side.SELL if held > 0 else Side.BUY
        target = guard.targets.get(kind)
        placed = self._leg(
            account,
            symbol,
            kind,
            side,
            abs(held),
            client_id,
            target,
            trailing=guard.trailing if kind == TRAIL else None,
            mode="Full",
        )
        if not placed:
            self.on_end(client_id)

    def _drop(self, account: str, guard: Guard, kind: str) -> None:
        client_id = guard.legs.pop(kind, None)
        if client_id is None:
            return
        self._owners.pop(client_id, None)
        work = self._floor.named(account, client_id)
        if work is not None and not work.status.ended:
            self._floor.cancel(account, work.id)

    # --- of an order --------------------------------------------------------------------------

    def on_fill(self, account: str, fill: Filled, work: Working, extra: Extra) -> None:
        """A derivative's order filled: protect what it opened."""
        if work.reduce_only or not (extra.take_profit or extra.stop_loss):
            return
        named = ((TAKE, extra.take_profit), (STOP, extra.stop_loss))
        if extra.mode != "Partial":
            for kind, target in named:
                if target is not None and self.guard(account, work.symbol).targets.get(kind) != (
                    target
                ):
                    self.set_target(account, work.symbol, kind, target)
            return
        extra.guarded += fill.amount
        if extra.legs:
            for client_id in extra.legs:
                leg = self._floor.named(account, client_id)
                if leg is not None and not leg.status.ended:
                    self._resize(account, leg, leg.amount + fill.amount)
            return
        self._pair(account, work, extra, extra.guarded, "Partial")

    def on_over(self, account: str, work: Working, extra: Extra) -> None:
        """A spot order is over: protect what it has bought (or sold)."""
        if extra.legs or not work.filled or not (extra.take_profit or extra.stop_loss):
            return
        market = self._floor.markets[work.symbol]
        amount = work.filled - extra.fees.get(market.base, ZERO)
        amount = MONEY.multiply(MONEY.divide_int(amount, market.amount_step), market.amount_step)
        if amount > 0:
            self._pair(account, work, extra, amount, "")

    def _pair(self, account: str, work: Working, extra: Extra, amount: Decimal, mode: str) -> None:
        group = self._name()
        for kind, target in ((TAKE, extra.take_profit), (STOP, extra.stop_loss)):
            if target is not None:
                client_id = self._name()
                side = work.side.opposite
                if self._leg(
                    account,
                    work.symbol,
                    kind,
                    side,
                    amount,
                    client_id,
                    target,
                    mode=mode,
                    group=group,
                ):
                    extra.legs.append(client_id)

    def _leg(
        self,
        account: str,
        symbol: str,
        kind: str,
        side: Side,
        amount: Decimal,
        client_id: str,
        target: Target | None,
        *,
        mode: str,
        trailing: Decimal | None = None,
        group: str | None = None,
    ) -> bool:
        contract = self._floor.markets[symbol].contract
        rising = (kind == TAKE) == (side is Side.SELL)
        name = kind if mode != "Partial" or kind == TRAIL else f"Partial{kind}"
        spot = "BidirectionalTpslOrder" if group is not None else "tpslOrder"
        self._extra(
            account,
            client_id,
            Extra(
                filter="StopOrder" if contract else "tpslOrder",
                stop_type=name if contract else spot,
                create_type=f"CreateBy{name}" if contract else "CreateByUser",
                direction=(1 if rising else 2) if contract else 0,
                by="" if target is None else target.by,
                mode=mode,
                close=contract,
                whole=mode == "Full",
            ),
        )
        limit = None if target is None else target.limit
        of = OrderType.TRAILING_STOP
        if target is not None:
            of = ordinary("Market" if limit is None else "Limit", rising=rising, side=side)
        try:
            self._floor.place(
                account,
                symbol=symbol,
                side=side,
                type=of,
                amount=amount,
                client_id=client_id,
                price=limit,
                stop_price=None if target is None else target.price,
                trailing_amount=trailing,
                reduce_only=contract,
                trigger_by=trigger_of("" if target is None else target.by),
                oco_group=group,
            )
        except VenueRejected:
            return False
        return True

    def _resize(self, account: str, work: Working, amount: Decimal) -> None:
        try:
            self._floor.amend(account, work.id, amount=amount)
        except VenueRejected:
            return  # it fired a moment ago


def trigger_of(by: str) -> TriggerBy:
    """Ours for `triggerBy`; the index is not apart from the mark here."""
    return TriggerBy.MARK if by in {"MarkPrice", "IndexPrice"} else TriggerBy.LAST
