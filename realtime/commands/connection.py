"""Ops of the connection itself: who you are, what you get, how fast, and goodbye."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, Literal, Protocol

from pydantic import Discriminator, Field, Tag

from realtime.commands.params import Params, Part
from realtime.commands.registry import ANONYMOUS, Answer, Asked, Call, Op, Session
from realtime.hub.channels import LONGEST
from realtime.hub.hub import Since
from realtime.model.errors import Code, Refused
from realtime.model.principal import Principal


SCOPES = ("read", "trade", "bots", "admin")
EXAMPLE = "rt_..."


class Authority(Protocol):
    """Who knows tokens, tickets and cookies."""

    @property
    def required(self) -> bool:
        """Whether anybody is asked at all."""
        ...

    def verify(self, token: str, address: str) -> Principal:
        """Look a token up, or refuse."""
        ...

    def ticket(self, principal: Principal, origin: str | None) -> str:
        """Make a ticket."""
        ...

    def redeem(self, ticket: str, origin: str | None) -> Principal | None:
        """Take a ticket."""
        ...

    def login(self, principal: Principal) -> str:
        """Make a cookie's value."""
        ...

    def logout(self, cookie: str) -> bool:
        """End a cookie."""
        ...


class AuthParams(Params):
    """Of `auth`."""

    token: Annotated[str, Field(min_length=1, max_length=256)]


class LoginParams(Params):
    """Of `auth.login`: one of the two."""

    token: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    ticket: Annotated[str, Field(min_length=1, max_length=256)] | None = None


class SinceParams(Part):
    """A position to resume from."""

    epoch: Annotated[str, Field(min_length=1, max_length=64)]
    seq: Annotated[int, Field(ge=0)]


# One that is empty or too long stands in `failed` beside the others; what is far too long is no list of channels.
ChannelName = Annotated[str, Field(max_length=300, json_schema_extra={"maxLength": LONGEST})]


class ChannelParams(Part):
    """One channel of `subscribe`, with its options of delivery."""

    channel: ChannelName
    since: SinceParams | None = None
    snapshot: bool = True


def _text_or(other: str) -> Discriminator:
    """Judge an item as a text if it is one, else as `other`, so that one mistake is one message."""
    return Discriminator(lambda value: "text" if isinstance(value, str) else other)


Item = Annotated[
    Annotated[ChannelName, Tag("text")] | Annotated[ChannelParams, Tag("object")],
    _text_or("object"),
]
Names = Annotated[list[ChannelName], Field(min_length=1, max_length=256)]


class SubscribeParams(Params):
    """Of `subscribe`."""

    channels: Annotated[list[Item], Field(min_length=1, max_length=256)]


class UnsubscribeParams(Params):
    """Of `unsubscribe`."""

    channels: Annotated[
        Annotated[Literal["*"], Tag("text")] | Annotated[Names, Tag("list")], _text_or("list")
    ]


class PaceParams(Params):
    """Of `pace`."""

    every: Annotated[int, Field(ge=0, le=1000, multiple_of=10)]


def identity(principal: Principal) -> dict[str, object]:
    """Tell who somebody is and how far he may go, as `welcome` and `auth` do."""
    limits = {} if principal.limits is None else principal.limits.row()
    return {
        "subject": principal.subject,
        "role": principal.role,
        "scopes": [scope for scope in SCOPES if scope in principal.scopes],
        **limits,
    }


def ops(authority: Authority, facts: Callable[[], Mapping[str, object]]) -> list[Op]:
    """Make the rows.

    Args:
        authority: Judges tokens.
        facts: `trading_state` and `venues`, told to whoever has authenticated.
    """

    def auth(call: Call[AuthParams]) -> Answer:
        principal = authority.verify(call.params.token, call.peer.address)
        connection_of(call).authenticate(principal)
        return Answer(result={**identity(principal), "expires_at": principal.expires_at, **facts()})

    def login(call: Call[LoginParams]) -> Answer:
        principal = _who(authority, call)
        cookie = authority.login(principal) if authority.required else None
        result = {**identity(principal), "expires_at": principal.expires_at}
        return Answer(result=result, cookie=cookie)

    def logout(call: Call[Params]) -> Answer:
        ended = call.peer.cookie is not None and authority.logout(call.peer.cookie)
        return Answer(result={"changed": ended}, cookie="")

    def ticket(call: Call[Params]) -> Answer:
        if call.principal is ANONYMOUS:
            raise Refused(
                Code.UNAUTHORIZED, "no token; send the header Authorization: Bearer TOKEN"
            )
        made = authority.ticket(call.principal, call.peer.origin)
        return Answer(result={"ticket": made, "expires_at": call.received + 30_000})

    return [
        Op(
            name="auth",
            params=AuthParams,
            scope=None,
            lane="sub",
            handler=auth,
            summary="Authenticate this connection with a token; takes effect before the next frame is read",
            errors=(Code.UNAUTHORIZED, Code.FORBIDDEN),
            example={"token": EXAMPLE},
        ),
        Op(
            name="auth.login",
            params=LoginParams,
            scope=None,
            lane="sub",
            handler=login,
            summary="Exchange a token or ticket for the browser's session cookie",
            errors=(Code.UNAUTHORIZED,),
            example={"token": EXAMPLE},
        ),
        Op(
            name="auth.logout",
            params=Params,
            scope=None,
            lane="sub",
            handler=logout,
            summary="End the browser's session and close its connections",
        ),
        Op(
            name="auth.ticket",
            params=Params,
            scope=None,
            lane="sub",
            handler=ticket,
            summary="Issue a ticket for `/ws?ticket=`, valid once, within 30 s, from this Origin",
            errors=(Code.UNAUTHORIZED,),
        ),
        Op(
            name="subscribe",
            params=SubscribeParams,
            scope="read",
            lane="sub",
            handler=subscribe,
            summary="Subscribe to channels; subscribing again gives a fresh snapshot",
            errors=(Code.UNKNOWN_CHANNEL,),
            example={"channels": ["ticker:BTC/USDT", {"channel": "orders", "snapshot": False}]},
        ),
        Op(
            name="unsubscribe",
            params=UnsubscribeParams,
            scope="read",
            lane="sub",
            handler=unsubscribe,
            summary="Unsubscribe from channels, or from all with `*`",
            example={"channels": ["ticker:BTC/USDT"]},
        ),
        Op(
            name="pace",
            params=PaceParams,
            scope="read",
            lane="sub",
            handler=pace,
            summary="Set the minimum interval between data frames, `every` [ms]",
            errors=(Code.CONFLICT,),
            example={"every": 1000},
        ),
        Op(
            name="ping",
            params=Params,
            scope=None,
            lane="sub",
            handler=ping,
            summary="Measure the round-trip time and how far this connection lags behind",
        ),
        Op(
            name="bye",
            params=Params,
            scope=None,
            lane="safety",
            handler=bye,
            summary="Close the connection with code 1000, without firing the dead man's switch",
        ),
    ]


def subscribe(call: Call[SubscribeParams]) -> Answer | Awaitable[Answer]:
    """Subscribe to what can be; the rest stands in `failed`."""
    asked = [
        Asked(name=item)
        if isinstance(item, str)
        else Asked(
            name=item.channel,
            since=None if item.since is None else Since(epoch=item.since.epoch, seq=item.since.seq),
            snapshot=item.snapshot,
        )
        for item in call.params.channels
    ]
    return connection_of(call).subscribe(asked)


def unsubscribe(call: Call[UnsubscribeParams]) -> Answer:
    """End subscriptions; `*`, alone or among others, ends all."""
    names = call.params.channels
    ended = connection_of(call).unsubscribe(None if "*" in names else list(names))
    return Answer(result={"channels": ended})


def pace(call: Call[PaceParams]) -> Answer:
    """Change the pace."""
    connection_of(call).pace(call.params.every)
    return Answer(result={"every": call.params.every})


def ping(call: Call[Params]) -> Answer:
    """Tell when the frame came in, and what waits."""
    buffered, skipped = call.session.figures() if call.session is not None else (0, 0)
    return Answer(result={"recv_ts": call.received, "buffered": buffered, "skipped": skipped})


def bye(call: Call[Params]) -> Answer:
    """Close behind the reply."""
    connection_of(call).bye()
    return Answer(result={})


def connection_of(call: Call[Any]) -> Session:
    """Give the connection; the registry lets these ops through from a socket only."""
    assert call.session is not None
    return call.session


def _who(authority: Authority, call: Call[LoginParams]) -> Principal:
    token, ticket = call.params.token, call.params.ticket
    if not authority.required:
        return authority.verify("", call.peer.address)
    if (token is None) == (ticket is None):
        raise Refused(
            Code.INVALID,
            "send token or ticket, one of them",
            {"fields": [{"field": "token", "message": "send token or ticket, one of them"}]},
        )
    if token is not None:
        return authority.verify(token, call.peer.address)
    principal = authority.redeem(ticket or "", call.peer.origin)
    if principal is None:
        raise Refused(
            Code.UNAUTHORIZED, "the ticket was used before, has expired, or is from another Origin"
        )
    return principal
