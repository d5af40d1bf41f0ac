"""Ops of the connection itself."""

from typing import Any

import pytest

from realtime.commands import connection
from realtime.commands.registry import ANONYMOUS, Asked, Peer
from realtime.hub.hub import Since
from realtime.model.errors import Code, Refused
from realtime.model.principal import ROLES, Principal
from tests.commands.kit import NOW, ROOT, Desk


TOM = Principal(subject="tom", scopes=ROLES["trader"], token_id="t-1", expires_at=NOW + 1000)
FACTS = {"trading_state": "active", "venues": [{"id": "paper", "status": "ok"}]}


class Guard:
    """Knows one token, one ticket, one cookie."""

    def __init__(self, *, required: bool = True) -> None:
        self.required = required
        self.ended: list[str] = []

    def verify(self, token: str, address: str) -> Principal:
        if not self.required:
            return ROOT
        if token != "good":
            raise Refused(Code.UNAUTHORIZED, f"wrong token from {address}")
        return TOM

    def ticket(self, principal: Principal, origin: str | None) -> str:
        return f"ticket of {principal.subject} for {origin}"

    def redeem(self, ticket: str, origin: str | None) -> Principal | None:
        return TOM if (ticket, origin) == ("good", "http://a") else None

    def login(self, principal: Principal) -> str:
        return f"cookie of {principal.subject}"

    def logout(self, cookie: str) -> bool:
        self.ended.append(cookie)
        return True


@pytest.fixture
def guard() -> Guard:
    return Guard()


@pytest.fixture
def desk(guard: Guard) -> Desk:
    return Desk(*connection.ops(guard, lambda: FACTS))


def test_auth_becomes_the_principal_and_tells_it_everything(desk: Desk) -> None:
    reply = desk.call("auth", principal=ANONYMOUS, token="good")

    assert reply.result == {
        "subject": "tom",
        "role": "trader",
        "scopes": ["read", "trade"],
        "expires_at": NOW + 1000,
        **FACTS,
    }
    assert desk.session.done == [TOM]


def test_a_wrong_token_changes_nothing(desk: Desk) -> None:
    reply = desk.call("auth", principal=ANONYMOUS, peer=Peer(address="1.2.3.4"), token="bad")

    assert reply.code is Code.UNAUTHORIZED
    assert desk.session.done == []


@pytest.mark.parametrize("token", ["", "x" * 257, 5, None])
def test_a_token_is_a_text_of_some_length(desk: Desk, token: Any) -> None:
    assert desk.call("auth", token=token).code is Code.INVALID


def test_subscriptions_are_names_or_objects(desk: Desk) -> None:
    desk.call(
        "subscribe",
        channels=[
            "orders",
            {"channel": "fills", "since": {"epoch": "j", "seq": 5}},
            {"channel": "positions", "snapshot": False},
        ],
    )

    assert desk.session.done == [
        [
            Asked(name="orders"),
            Asked(name="fills", since=Since(epoch="j", seq=5)),
            Asked(name="positions", snapshot=False),
        ]
    ]


@pytest.mark.parametrize(
    "channels",
    [
        [],
        ["x"] * 257,
        "orders",
        [5],
        [{"channel": 5}],
        [{"channel": "orders", "since": {"epoch": "j"}}],
        [{"channel": "orders", "since": {"epoch": "j", "seq": -1}}],
        [{"channel": "orders", "since": 5}],
        [{"channel": "orders", "snapshot": "no"}],
        [{"channel": "orders", "mode": "paper"}],
        {"orders": True},
    ],
    ids=repr,
)
def test_other_subscriptions_are_invalid(desk: Desk, channels: Any) -> None:
    reply = desk.call("subscribe", channels=channels)

    assert reply.code is Code.INVALID
    assert desk.session.done == []


@pytest.mark.parametrize(
    ("channels", "told"),
    [("*", None), (["*"], None), (["a", "*"], None), (["a", "b"], ["a", "b"])],
    ids=repr,
)
def test_an_unsubscribe_names_channels_or_all(desk: Desk, channels: Any, told: Any) -> None:
    assert desk.call("unsubscribe", channels=channels).result == {"channels": ["orders"]}
    assert desk.session.done == [told]


@pytest.mark.parametrize("channels", ["orders", [], [5], 5], ids=repr)
def test_other_unsubscribes_are_invalid(desk: Desk, channels: Any) -> None:
    assert desk.call("unsubscribe", channels=channels).code is Code.INVALID


def test_a_pace_is_in_steps_of_ten(desk: Desk) -> None:
    assert desk.call("pace", every=50).result == {"every": 50}
    for every in (-10, 5, 1010, "50", 50.5):
        assert desk.call("pace", every=every).code is Code.INVALID
    assert desk.session.done == [50]


def test_ping_tells_when_and_how_far_behind(desk: Desk) -> None:
    socket = desk.call("ping", principal=ANONYMOUS)
    http = desk.call("ping", source="http")

    assert socket.result == {"recv_ts": NOW, "buffered": 7, "skipped": 3}
    assert http.result == {"recv_ts": NOW, "buffered": 0, "skipped": 0}


def test_bye_is_passed_on(desk: Desk) -> None:
    assert desk.call("bye", principal=ANONYMOUS).result == {}
    assert desk.session.done == ["bye"]


# --- over HTTP ------------------------------------------------------------------------------------


def test_a_login_is_with_a_token_or_a_ticket(desk: Desk) -> None:
    token = desk.call("auth.login", source="http", principal=ANONYMOUS, token="good")
    peer = Peer(origin="http://a")
    ticket = desk.call("auth.login", source="http", principal=ANONYMOUS, peer=peer, ticket="good")

    for reply in (token, ticket):
        assert reply.cookie == "cookie of tom"
        assert reply.result is not None
        assert reply.result["subject"] == "tom"
        assert "cookie" not in str(reply.result)


def test_other_logins_are_refused(desk: Desk) -> None:
    cases: tuple[tuple[dict[str, Any], Code], ...] = (
        ({}, Code.INVALID),
        ({"token": "good", "ticket": "good"}, Code.INVALID),
        ({"token": "bad"}, Code.UNAUTHORIZED),
        ({"ticket": "good"}, Code.UNAUTHORIZED),
    )
    for args, code in cases:
        assert desk.call("auth.login", source="http", principal=ANONYMOUS, **args).code is code


def test_where_nobody_is_asked_a_login_makes_no_cookie() -> None:
    desk = Desk(*connection.ops(Guard(required=False), lambda: FACTS))
    reply = desk.call("auth.login", source="http")

    assert reply.ok
    assert reply.cookie is None


def test_a_logout_ends_the_cookie(desk: Desk, guard: Guard) -> None:
    with_cookie = desk.call("auth.logout", source="http", peer=Peer(cookie="c"))
    without = desk.call("auth.logout", source="http", principal=ANONYMOUS)

    assert (with_cookie.result, with_cookie.cookie) == ({"changed": True}, "")
    assert without.result == {"changed": False}
    assert guard.ended == ["c"]


def test_a_ticket_is_for_somebody_and_an_origin(desk: Desk) -> None:
    nobody = desk.call("auth.ticket", source="http", principal=ANONYMOUS)
    made = desk.call("auth.ticket", source="http", peer=Peer(origin="http://a"))

    assert nobody.code is Code.UNAUTHORIZED
    assert made.result == {"ticket": "ticket of root for http://a", "expires_at": NOW + 30_000}
