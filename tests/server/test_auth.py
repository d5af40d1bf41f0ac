"""Tokens, tickets, cookies, Origin and Host."""

import pytest

from realtime.model.errors import Code, Refused
from realtime.model.principal import ROLES
from realtime.server import auth as auth_module
from realtime.server.auth import KNOWN, LOCAL, Auth, Sites, Token, cookie_header, digest
from realtime.server.limits import OWNERS, Failures


class Time:
    """Both clocks."""

    def __init__(self) -> None:
        self.s = 0.0

    def clock(self) -> float:
        return self.s

    def now(self) -> int:
        return round(self.s * 1000)


class Secrets:
    """Texts that differ."""

    def __init__(self) -> None:
        self.n = 0

    def __call__(self) -> str:
        self.n += 1
        return f"secret-{self.n}"


def token(name: str, role: str = "trader", expires_at: int | None = None) -> Token:
    return Token(
        id=f"t-{name}", digest=digest(name), subject=name, scopes=ROLES[role], expires_at=expires_at
    )


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def auth(time: Time) -> Auth:
    tokens = [token("tom"), token("alice", "operator", 60_000)]
    return Auth(tokens=tokens, now=time.now, clock=time.clock, secret=Secrets())


def refusal(auth: Auth, word: str, address: str = "a") -> Code:
    with pytest.raises(Refused) as caught:
        auth.verify(word, address)
    return caught.value.code


def test_a_token_is_its_principal(auth: Auth) -> None:
    principal = auth.verify("alice", "a")

    assert (principal.subject, principal.role, principal.token_id) == (
        "alice",
        "operator",
        "t-alice",
    )
    assert principal.expires_at == 60_000


def test_a_wrong_or_expired_token_is_nobody(auth: Auth, time: Time) -> None:
    told: list[str] = []
    auth.on_failure = told.append

    assert refusal(auth, "wrong") is Code.UNAUTHORIZED
    time.s = 60
    assert refusal(auth, "alice", "b") is Code.UNAUTHORIZED
    assert told == ["a", "b"]


def test_a_token_is_kept_as_its_digest(auth: Auth) -> None:
    assert b"tom" not in token("tom").digest
    assert "tom" not in repr(token("tom").digest)
    assert len(token("tom").digest) == 32
    assert auth.required


def test_tokens_that_expired_long_ago_cost_nothing_for_ever(time: Time) -> None:
    """Found by a drive: of 10,000 that had expired each was compared, which took 5 ms of every request."""
    old = [token(f"job-{number}", expires_at=1) for number in range(KNOWN)]
    auth = Auth(tokens=old, now=time.now, clock=time.clock, secret=Secrets())
    auth.add(token("new"))
    assert len(auth._tokens) == KNOWN + 1
    time.s = 1
    assert refusal(auth, "job-1") is Code.UNAUTHORIZED
    auth.add(token("newer"))

    assert list(auth._tokens) == ["t-new", "t-newer"]
    again = Auth(tokens=[*old, token("new")], now=time.now, clock=time.clock, secret=Secrets())
    assert list(again._tokens) == ["t-new"]
    assert again.required


def test_without_tokens_everybody_is_local(time: Time) -> None:
    auth = Auth(now=time.now, clock=time.clock, secret=Secrets())

    assert not auth.required
    assert auth.verify("anything", "a") is LOCAL
    assert LOCAL.role == "admin"


@pytest.mark.promise("S6")
def test_five_wrong_tokens_a_minute_then_one(auth: Auth, time: Time) -> None:
    evaluated = 0
    for second in range(600):
        time.s = second * 0.1
        evaluated += refusal(auth, "wrong") is Code.UNAUTHORIZED
    assert evaluated in {5, 6}
    for minute in range(1, 6):
        time.s = 1 + 60 * minute
        assert refusal(auth, "wrong") is Code.UNAUTHORIZED
        assert refusal(auth, "wrong") is Code.RATE_LIMITED
    assert auth.verify("tom", "b").subject == "tom"


@pytest.mark.promise("S6")
def test_a_right_token_costs_nothing(auth: Auth) -> None:
    for _ in range(1000):
        auth.verify("tom", "a")


def test_many_addresses_together_are_slowed_too(auth: Auth) -> None:
    codes = [refusal(auth, "wrong", f"10.0.0.{n}") for n in range(200)]

    assert codes.count(Code.UNAUTHORIZED) == 100


def test_failures_of_many_addresses_are_forgotten(time: Time) -> None:
    failures = Failures(time.clock)
    for n in range(10_000):
        failures.note(f"a{n}")
    time.s = 3600
    failures.note("b")

    assert len(failures._buckets) == 1


def test_failures_that_still_count_are_not_forgotten(time: Time) -> None:
    failures = Failures(time.clock)
    for n in range(OWNERS - 1):
        failures.note(f"a{n}")
    time.s = 3600
    for _ in range(6):
        failures.note("a0")
    wait = failures.wait("a0")
    failures.note("b")
    failures.note("c")

    assert wait > 0
    assert failures.wait("a0") == wait


def test_revoking_ends_everything_of_a_token(auth: Auth) -> None:
    ended: list[str] = []
    auth.on_end = ended.append
    tom = auth.verify("tom", "a")
    alice = auth.verify("alice", "a")
    cookie, other = auth.login(tom), auth.login(alice)
    ticket = auth.ticket(tom, None)

    assert auth.revoke("t-tom")
    assert ended == ["token:t-tom"]
    assert auth.cookie(cookie) is None
    assert auth.cookie(other) == alice
    assert auth.redeem(ticket, None) is None
    assert refusal(auth, "tom") is Code.UNAUTHORIZED
    assert not auth.revoke("t-tom")


def test_a_ticket_is_good_once_within_30_s_from_its_origin(auth: Auth, time: Time) -> None:
    tom = auth.verify("tom", "a")
    once, elsewhere, late = (auth.ticket(tom, "http://a") for _ in range(3))

    assert auth.redeem(once, "http://a") == tom
    assert auth.redeem(once, "http://a") is None
    assert auth.redeem(elsewhere, "http://b") is None
    time.s = 30.1
    assert auth.redeem(late, "http://a") is None


def test_a_programs_ticket_lets_no_page_in(auth: Auth) -> None:
    ticket = auth.ticket(auth.verify("tom", "a"), None)

    assert auth.redeem(ticket, "http://a") is None


def test_a_printed_ticket_is_bound_to_no_origin(auth: Auth) -> None:
    tom = auth.verify("tom", "a")

    assert auth.redeem(auth.ticket(tom, None, bound=False), "http://a") == tom


def test_a_ticket_does_not_outlive_its_token(auth: Auth, time: Time) -> None:
    time.s = 59.9
    ticket = auth.ticket(auth.verify("alice", "a"), None)
    time.s = 60

    assert auth.redeem(ticket, None) is None


def test_a_cookie_is_good_until_logout_expiry_or_twelve_hours(auth: Auth, time: Time) -> None:
    ended: list[str] = []
    auth.on_end = ended.append
    tom = auth.verify("tom", "a")
    one, two, three = auth.login(tom), auth.login(tom), auth.login(auth.verify("alice", "a"))

    assert auth.cookie(one) == tom
    assert auth.logout(one)
    assert not auth.logout(one)
    assert ended == [Auth.credential(one)]
    assert one not in Auth.credential(one)
    assert auth.cookie(one) is None
    time.s = 61
    assert auth.cookie(three) is None
    assert auth.cookie(two) == tom
    time.s = 13 * 3600
    assert auth.cookie(two) is None


def test_old_tickets_and_cookies_are_forgotten(auth: Auth, time: Time) -> None:
    tom = auth.verify("tom", "a")
    for _ in range(3):
        auth.ticket(tom, None)
        auth.login(tom)
    time.s = 13 * 3600
    auth.ticket(tom, None)

    assert (len(auth._tickets), len(auth._logins)) == (1, 0)


def test_tickets_are_bounded(auth: Auth) -> None:
    tom = auth.verify("tom", "a")
    for _ in range(auth_module.KEPT + 10):
        auth.ticket(tom, None)

    assert len(auth._tickets) == auth_module.KEPT


def test_the_cookies_header() -> None:
    assert cookie_header("x", secure=True).endswith("; HttpOnly; SameSite=Strict; Secure")
    assert cookie_header("", secure=False) == (
        "realtime=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict"
    )


# --- Origin and Host ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "server", "scheme", "allowed"),
    [
        ("127.0.0.1:8000", ("127.0.0.1", 8000), "http", True),
        ("localhost:8000", ("127.0.0.1", 8000), "http", True),
        ("LOCALHOST:8000", ("127.0.0.1", 8000), "http", True),
        ("[::1]:8000", ("::1", 8000), "http", True),
        ("localhost:8000", ("127.0.0.2", 8000), "http", True),
        ("localhost", ("127.0.0.1", 80), "http", True),
        ("localhost", ("127.0.0.1", 443), "https", True),
        ("localhost", ("127.0.0.1", 443), "http", False),
        ("localhost", ("127.0.0.1", 8000), "http", False),
        ("192.168.1.5:8000", ("192.168.1.5", 8000), "http", True),
        ("localhost:8000", ("192.168.1.5", 8000), "http", False),
        ("rebound.evil.com:8000", ("127.0.0.1", 8000), "http", False),
        ("desk.example.com", ("10.0.0.1", 8000), "http", True),
        ("desk.example.com:8000", ("10.0.0.1", 8000), "http", False),
        (None, ("127.0.0.1", 8000), "http", False),
    ],
)
def test_hosts_are_compared_whole(
    host: str | None,
    server: tuple[str, int],
    scheme: str,
    allowed: bool,  # noqa: FBT001
) -> None:
    sites = Sites(hosts=frozenset({"desk.example.com"}))

    assert sites.host_allowed(host, scheme=scheme, server=server) is allowed


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("http://127.0.0.1:8000", True),
        ("http://localhost:8000", True),
        ("https://desk.example.com", True),
        ("http://desk.example.com", False),
        ("https://desk.example.com.evil.com", False),
        ("https://evil-desk.example.com", False),
        ("null", False),
        ("", False),
        ("localhost:8000", False),
    ],
)
def test_origins_are_compared_whole(origin: str, allowed: bool) -> None:  # noqa: FBT001
    sites = Sites(origins=frozenset({"https://desk.example.com"}))

    assert sites.origin_allowed(origin, scheme="http", server=("127.0.0.1", 8000)) is allowed


def test_a_page_of_the_other_scheme_is_another_page() -> None:
    here = ("127.0.0.1", 8000)

    assert not Sites().origin_allowed("https://localhost:8000", scheme="http", server=here)
    assert not Sites().origin_allowed("http://localhost:8000", scheme="https", server=here)
    assert Sites().origin_allowed("https://localhost:8000", scheme="https", server=here)


def test_entries_are_taken_as_people_write_them() -> None:
    """With a capital letter, or an address copied with its slash, every client was refused."""
    sites = Sites(
        origins=frozenset({"https://Desk.example.com/"}), hosts=frozenset({"Desk.Example.com"})
    )
    here = ("10.0.0.1", 8000)

    assert sites.host_allowed("desk.example.com", scheme="http", server=here)
    assert sites.origin_allowed("https://desk.example.com", scheme="http", server=here)
    assert not sites.origin_allowed("https://example.com", scheme="http", server=here)


@pytest.mark.parametrize("entry", ["*", "https://*.example.com", "null", "Null"])
def test_wildcards_stop_the_start(entry: str) -> None:
    with pytest.raises(ValueError, match="not an exact name"):
        Sites(origins=frozenset({entry}))
    with pytest.raises(ValueError, match="not an exact name"):
        Sites(hosts=frozenset({entry}))
    with pytest.raises(ValueError, match="not an exact name"):
        Sites(origins=frozenset({f"{entry}/"}))
