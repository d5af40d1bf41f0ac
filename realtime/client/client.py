"""The asynchronous client: typed commands and channels on a connection that comes back by itself."""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Final, Literal
from uuid import uuid4

from realtime.client.commands import brief, identified, repeatable
from realtime.client.errors import CommandError
from realtime.client.link import BOUND, Link
from realtime.client.reader import Position, Reply, Subscription


Number = Decimal | str | int
_CONFIRMING: Final = 100  # questions of the server that are remembered; they are valid for a minute
_RESERVED: Final[Mapping[str, str]] = {
    "op": "is the command itself",
    "id": "is the request's own number; an order is named by order_id or client_order_id",
}
"""What a frame has besides the arguments: one of this name would take its place, and no reply be found again."""


class Client(Link):
    """A connection to the server, to be used with `async with`.

    Attributes:
        welcome: The server's last `welcome`; empty before the first.
        connected: Whether commands go out right now.
        trouble: Why there is no connection just now, as far as that is known; empty while there is one.
        connections: Times a connection was made.
        resyncs: Times a channel was subscribed again because something was missing.
        on_notice: Called with every notice.
    """

    def __init__(
        self,
        url: str = "ws://127.0.0.1:8000/ws",
        *,
        token: str | None = None,
        client: str | None = None,
        batch: bool = False,
        every: int = 0,
        heartbeat: int = 5,
        bye: bool = True,
        bound: int = BOUND,
        new_id: Callable[[], str] | None = None,
        chance: random.Random | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Make a client; it connects on `async with`.

        Args:
            url: Address of the server's socket.
            token: Sent as a bearer header, never in the address.
            client: Name of this client, for orders and the deadman; None lets the server make one.
            batch: Ask for arrays of messages.
            every: Ask for data at most every so many ms.
            heartbeat: Interval of the server's heartbeats [s].
            bye: Say `bye` at the end, so that a deadman's grace does not fire.
            bound: Most events that may wait for the program, per subscription.
            new_id: Makes client order ids (`^[A-Za-z0-9_-]{1,32}$`).
            chance: Generator for the back-off.
            clock: Wall clock [s], for `now`.

        Raises:
            ValueError: The address or the token cannot be one.
        """
        super().__init__(
            url,
            token=token,
            client=client,
            batch=batch,
            every=every,
            heartbeat=heartbeat,
            bye=bye,
            bound=bound,
            chance=chance or random.Random(),  # noqa: S311 - spreads reconnects, hides nothing
            clock=clock,
        )
        self._new_id = new_id or (lambda: uuid4().hex)
        self._confirming: dict[str, Sequence[str]] = {}

    # -- commands --------------------------------------------------------------------------------

    async def call(self, op: str, /, **args: object) -> Reply:
        """Send a command and wait for its answer, over reconnects if it may be repeated.

        Placements without a `client_order_id` get one, so they may; with `confirm` it is the one that was asked about.
        Cancelling this call does not take the command back. There is no time-out of its own: use `asyncio.timeout`.

        Args:
            op: Name of the op.
            args: Its arguments; decimals are sent as text, None is left out.

        Raises:
            CommandError: The server said no, or an argument is called `op` or `id`; or, with `outcome` "unknown", the
                connection took the answer of a command that must not be sent twice.
            Closed: The client has ended.
        """
        for name, says in _RESERVED.items():
            if name in args:
                raise CommandError("invalid", f"{name} {says}")
        # A confirmation is bound to all arguments, so also to the ids that were made for the asking.
        before = iter(self._confirming.get(str(args.get("confirm")), ()))
        made: list[str] = []

        def new_id() -> str:
            made.append(next(before, None) or self._new_id())
            return made[-1]

        sent = identified(op, args, new_id)
        try:
            again, short = repeatable(op, sent), brief(op, sent)
            return await self._request(op, sent, again=again, brief=short)
        except CommandError as error:
            if made and isinstance(token := error.details.get("confirm"), str):
                while len(self._confirming) >= _CONFIRMING:
                    del self._confirming[next(iter(self._confirming))]
                self._confirming[token] = made
            raise

    async def place(
        self,
        symbol: str,
        side: Literal["buy", "sell"],
        *,
        type: str = "limit",  # noqa: A002 - the protocol's word
        amount: Number | None = None,
        price: Number | None = None,
        client_order_id: str | None = None,
        expires_in: float | None = None,
        **more: object,
    ) -> Reply:
        """Place an order; safe to repeat, also by this client itself after a reconnect.

        Args:
            symbol: Market.
            side: Which.
            type: `market`, `limit`, `stop`, `stop_limit`, `take_profit`, `take_profit_limit` or `trailing_stop`.
            amount: Amount [base].
            price: Limit price [quote per base].
            client_order_id: Idempotency key; None makes one, see the reply.
            expires_in: Seconds after which it must not be sent to a venue any more.
            more: All other arguments of `order.place`.

        Raises:
            CommandError: See `call`.
        """
        if expires_in is not None:
            more["expires_at"] = self.now() + round(expires_in * 1_000)
        return await self.call(
            "order.place",
            symbol=symbol,
            side=side,
            type=type,
            amount=amount,
            price=price,
            client_order_id=client_order_id,
            **more,
        )

    async def amend(self, client_order_id: str | None = None, **more: object) -> Reply:
        """Change an order to absolute targets (`amount`, `price`, ...), by either id (`order_id`)."""
        return await self.call("order.amend", client_order_id=client_order_id, **more)

    async def cancel(self, client_order_id: str | None = None, **more: object) -> Reply:
        """Cancel an order by either id (`order_id`); of an ended one `changed` is false."""
        return await self.call("order.cancel", client_order_id=client_order_id, **more)

    async def cancel_all(self, symbol: str | None = None, **more: object) -> Reply:
        """Cancel all orders, or those of a symbol."""
        return await self.call("order.cancel_all", symbol=symbol, **more)

    async def halt(self, reason: str, **more: object) -> Reply:
        """Stop trading; never asks back."""
        return await self.call("trading.halt", reason=reason, **more)

    async def resume(self, reason: str, confirm: str | None = None, **more: object) -> Reply:
        """Let trading go on; may ask back with `confirm_required`, whose `details["confirm"]` goes in here."""
        return await self.call("trading.resume", reason=reason, confirm=confirm, **more)

    async def get(self, client_order_id: str | None = None, **more: object) -> Reply:
        """Read one order by either id (`order_id`)."""
        return await self.call("order.get", client_order_id=client_order_id, **more)

    async def preview(self, symbol: str, side: Literal["buy", "sell"], **more: object) -> Reply:
        """Ask what the server would say to `order.place` with these arguments."""
        return await self.call("order.preview", symbol=symbol, side=side, **more)

    async def ping(self) -> float:
        """Measure the way to the server.

        Returns:
            Round trip [s]. The best of ten also sets the clock of `now`.
        """
        before = self._clock()
        reply = await self.call("ping")
        after = self._clock()
        received = reply.result.get("recv_ts", reply.ts)
        assert isinstance(received, int)
        offset = ((received - before * 1_000) + (reply.ts - after * 1_000)) / 2
        self._offsets.append(((after - before) * 1_000, offset))
        return after - before

    def now(self) -> int:
        """Tell the server's time [ms], as well as pings and the welcome let us know."""
        offset = min(self._offsets)[1] if self._offsets else 0.0
        return round(self._clock() * 1_000 + offset)

    # -- channels ----------------------------------------------------------------------------------

    async def subscribe(
        self, *channels: str, since: Mapping[str, Position | None] | None = None
    ) -> Subscription:
        """Subscribe to channels and read their messages with `async for`.

        The first event of each is a snapshot (or, for `ticker:*`, one per symbol). Streams go on over reconnects.

        Args:
            channels: Their names.
            since: By name the position (`Stream.since`) up to which an earlier program has read a log, such as `fills`:
                what it missed follows, or a snapshot where that is not held any more, where it is None, or where
                another subscription of this client reads the log already.

        Raises:
            CommandError: The server refused a channel; then none of these is read.
        """
        reader = Subscription(self._bound, self.state, self.leave)
        reader.asked = channels
        reader.since = {
            name: position
            for name, position in (since or {}).items()
            if position is not None and name in channels and self.stream(name) is None
        }
        asked: dict[str, object] = {
            "channels": [
                {"channel": name, "since": reader.since[name]} if name in reader.since else name
                for name in channels
            ]
        }
        try:
            reply = await self._request("subscribe", asked, again=True, reader=reader)
        except BaseException:
            reader.close()
            raise
        failed = reply.result.get("failed")
        if isinstance(failed, list) and failed:
            reader.close()
            first = failed[0]
            raise CommandError(
                first["code"],
                first["message"],
                details={"failed": failed},
                retry_after=first.get("retry_after"),
            )
        return reader
