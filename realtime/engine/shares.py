"""What bots have of the account: each bot's own positions and profits, a fold over the fills of its orders.

Rules of this file:
1 Nothing here stands in the way of a fill: a share may be wrong about nothing, for it only adds up.
2 A share is averaged like a position, beside it: the account nets over all, the shares do not.
3 What an inferred fill did is taken back exactly when the real one comes.
4 Coins that somebody else sells are gone: those that come later are not the bot's. One that sells more than it has left
  all the same, as an older program let it, sells what had gone: nobody owes coins.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from decimal import Decimal

from realtime.engine.market import down
from realtime.model.bots import Earned, Share
from realtime.model.market import SECOND, ZERO, Market
from realtime.model.orders import Fill, Side


KEPT = 2 * 86_400 * SECOND
"""How long an entry is remembered [ns]: more than a trading day of any time zone."""

Key = tuple[str, str]
"""Bot and symbol."""

NONE = Share()


class Shares:
    """The shares of all bots."""

    __slots__ = ("_booked", "_bots", "_entries", "_gone", "_shares")

    def __init__(self) -> None:
        self._shares: dict[Key, Share] = {}
        # Of inferred fills: what they changed, by (symbol, trade id).
        self._booked: dict[Key, tuple[Key, Share]] = {}
        # Those that have a share in a symbol, flat ones included.
        self._bots: dict[str, dict[str, None]] = {}
        # Of coins: what `fit` took away, amount and cost.
        self._gone: dict[Key, tuple[Decimal, Decimal]] = {}
        # When the entries of a bot first filled [ns], by order.
        self._entries: dict[str, dict[str, int]] = {}

    # -- reading -------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._shares)

    def of(self, bot_id: str, symbol: str) -> Share:
        """The share of a bot in a symbol."""
        return self._shares.get((bot_id, symbol), NONE)

    def by_symbol(self, bot_id: str) -> Mapping[str, Share]:
        """All shares of a bot, flat ones included."""
        return {symbol: share for (bot, symbol), share in self._shares.items() if bot == bot_id}

    def earned(self, bot_id: str) -> Earned:
        """What a bot has earned since its first fill."""
        shares = self.by_symbol(bot_id).values()
        return Earned(
            realized=sum((share.realized for share in shares), ZERO),
            fees=sum((share.fees for share in shares), ZERO),
            trades=sum(share.trades for share in shares),
            wins=sum(share.wins for share in shares),
            profit=sum((share.profit for share in shares), ZERO),
            loss=sum((share.loss for share in shares), ZERO),
        )

    def entries(self, bot_id: str, since: int) -> int:
        """Count the entries of a bot that first filled at `since` [ns] or later, of the last two days."""
        return sum(ts >= since for ts in self._entries.get(bot_id, {}).values())

    def last_entry(self, bot_id: str) -> int | None:
        """When the newest entry of a bot first filled [ns]; None without one in the last two days."""
        return max(self._entries.get(bot_id, {}).values(), default=None)

    # -- fills ---------------------------------------------------------------------------------

    def book(self, fill: Fill, market: Market, *, keep: bool) -> None:
        """Add a fill of a bot's order; `keep` where it may be taken back later."""
        bot_id = fill.bot_id
        if bot_id is None:
            return
        key = (bot_id, fill.symbol)
        old = self._shares.get(key, NONE)
        new = _filled(old, fill, market)
        if (whole := self._whole(key, old, new)) is not old:
            old, new = whole, _filled(whole, fill, market)
        self._shares[key] = new
        self._bots.setdefault(fill.symbol, {})[bot_id] = None
        if keep:
            self._booked[fill.symbol, fill.id] = (key, _minus(new, old))
        if abs(new.amount) > abs(old.amount):
            self._entered(bot_id, fill)

    def unbook(self, fill: Fill) -> None:
        """Take an inferred fill back."""
        found = self._booked.pop((fill.symbol, fill.id), None)
        if found is not None:
            key, change = found
            old = self._shares[key]
            self._shares[key] = _minus(self._whole(key, old, _minus(old, change)), change)

    def _whole(self, key: Key, old: Share, new: Share) -> Share:
        """Give a share again, of what was taken away, what the one that comes of it owes."""
        lack = min(old.amount, ZERO) - new.amount
        if lack <= 0 or key not in self._gone:
            return old
        amount, cost = self._gone.pop(key)
        part = min(lack, amount)
        back = cost if part == amount else cost * part / amount
        if part < amount:
            self._gone[key] = (amount - part, cost - back)
        return replace(old, amount=old.amount + part, cost=old.cost + back)

    def fit(self, symbols: Iterable[str], held: Decimal, lot: Decimal, ts: int) -> None:
        """Let bots have no more of a coin than there is, each in proportion; less than a lot, as fees are, no one sold.

        What goes earns a bot nothing: at which price its coins were sold, among those of others, nobody can say.

        Args:
            symbols: The spot markets of the coin.
            held: All there is of it [base].
            lot: Less than that is not traded, and ends a trade [base].
            ts: When the pause after an exit begins [ns].
        """
        shares, bots = self._shares, self._bots
        own = {
            key: old
            for symbol in symbols
            for bot_id in bots.get(symbol, ())
            if (old := shares[key := (bot_id, symbol)]).amount > 0
        }
        total = sum((old.amount for old in own.values()), ZERO)
        if total - held < lot:
            return
        for key, old in own.items():
            amount = held if len(own) == 1 else down(old.amount * held / total, lot)
            cost = old.cost * amount / old.amount
            shares[key] = _ended(old, replace(old, amount=amount, cost=cost, exit_ts=ts), lot)
            gone, worth = self._gone.get(key, (ZERO, ZERO))
            self._gone[key] = (gone + old.amount - amount, worth + old.cost - cost)

    def _entered(self, bot_id: str, fill: Fill) -> None:
        entries = self._entries.setdefault(bot_id, {})
        entries.setdefault(fill.order_id, fill.ts)
        for order_id in [name for name, ts in entries.items() if ts <= fill.ts - KEPT]:
            del entries[order_id]

    def dump(self) -> Iterator[str]:
        """All of it, line by line, in a fixed order."""
        yield f"shares {sorted(self._shares.items())}"
        yield f"gone {sorted(self._gone.items())}"
        yield f"entries {sorted((bot, sorted(of.items())) for bot, of in self._entries.items())}"


def _filled(old: Share, fill: Fill, market: Market) -> Share:
    """Weighted average, as the account's positions; a flip ends one trade and begins the next."""
    sign = 1 if fill.side is Side.BUY else -1
    change, value = sign * fill.amount, sign * fill.cost
    cash_fee = fill.fee if fill.fee_currency == market.cash else ZERO
    base_fee = ZERO
    if not market.contract:
        # A fee in base makes less arrive; a fee in quote is part of the price.
        base_fee = fill.fee if fill.fee_currency == market.base else ZERO
        change -= base_fee
        value += cash_fee
    amount, cost, realized = old.amount + change, old.cost + value, ZERO
    closing = bool(old.amount) and (old.amount > 0) is not (change > 0)
    if closing:
        part = min(abs(change), abs(old.amount))
        removed = old.cost if part == abs(old.amount) else old.cost * part / abs(old.amount)
        given = value if part == abs(change) else value * part / abs(change)
        realized = -given - removed
        cost = old.cost - removed + value - given
    if market.contract:
        realized -= cash_fee
    new = replace(
        old,
        amount=amount,
        cost=cost,
        realized=old.realized + realized,
        fees=old.fees + cash_fee + base_fee * fill.price,
        trade_pnl=old.trade_pnl + realized,
        exit_ts=fill.ts if closing else old.exit_ts,
    )
    return _ended(old, new, market.amount_step) if closing else new


def _ended(old: Share, new: Share, lot: Decimal) -> Share:
    """Count the trade that a closing fill may have ended; dust below a lot counts as ended."""
    flipped = old.amount * new.amount < 0
    if not flipped and not abs(new.amount) < lot <= abs(old.amount):
        return new
    net = new.trade_pnl
    return replace(
        new,
        trade_pnl=ZERO,
        trades=new.trades + 1,
        wins=new.wins + (net > 0),
        profit=new.profit + max(net, ZERO),
        loss=new.loss + max(-net, ZERO),
    )


def _minus(new: Share, old: Share) -> Share:
    """The difference of all sums; the time of the last exit stays the newer one's."""
    return Share(
        amount=new.amount - old.amount,
        cost=new.cost - old.cost,
        realized=new.realized - old.realized,
        fees=new.fees - old.fees,
        trade_pnl=new.trade_pnl - old.trade_pnl,
        trades=new.trades - old.trades,
        wins=new.wins - old.wins,
        profit=new.profit - old.profit,
        loss=new.loss - old.loss,
        exit_ts=new.exit_ts,
    )
