"""Who comes in: tokens, cookies, tickets; and from where: Origin and Host.

Rules of this file: (1) a secret is kept as its SHA-256 and compared in constant time; (2) neither token
nor ticket nor cookie is logged or stands in a message; (3) Origin and Host are compared whole.
"""

import hashlib
import hmac
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from realtime.model.errors import Code, Refused
from realtime.model.principal import ROLES, Principal, TokenLimits
from realtime.server.limits import Failures


TICKET_S: Final = 30.0
COOKIE: Final = "realtime"
COOKIE_S: Final = 12 * 3600
KNOWN: Final = 2_000
"""Tokens that are compared with what a client sends, each time; beyond it those that have expired count as unknown."""
KEPT: Final = 10_000
"""Tickets and cookies remembered at most; beyond it the oldest ends."""

LOCAL: Final = Principal(subject="local", scopes=ROLES["admin"])
"""Everybody, where no token is configured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A token as it is stored: never itself.

    Attributes:
        digest: SHA-256 of the token.
        created_at: Wire ms; None where an older program made it.
        expires_at: Wire ms; None = never.
        limits: Of its orders; None = none but those of the account.
    """

    id: str
    digest: bytes
    subject: str
    scopes: frozenset[str]
    created_at: int | None = None
    expires_at: int | None = None
    limits: TokenLimits | None = None

    def principal(self) -> Principal:
        """Who has this token."""
        return Principal(
            subject=self.subject,
            scopes=self.scopes,
            token_id=self.id,
            expires_at=self.expires_at,
            limits=self.limits,
        )


def digest(secret: str) -> bytes:
    """Hash a secret of 256 random bits; at that entropy one round is enough."""
    return hashlib.sha256(secret.encode()).digest()


@dataclass(slots=True, kw_only=True)
class _Ticket:
    principal: Principal
    origin: str | None
    bound: bool
    until: float


@dataclass(slots=True, kw_only=True)
class _Login:
    principal: Principal
    until: float


class Auth:
    """All identities of a server.

    Args:
        tokens: May come in; none means that everybody is `local` and nothing is asked.
        now: Wire ms.
        clock: Monotonic [s].
        secret: Makes 256 random bits as text.

    Attributes:
        on_end: Told the credential (`token:ID`, `cookie:ID`) whose connections must close now.
        on_failure: Told the address of every wrong token, for the audit.
    """

    def __init__(
        self,
        *,
        tokens: Iterable[Token] = (),
        now: Callable[[], int],
        clock: Callable[[], float],
        secret: Callable[[], str],
    ) -> None:
        self._tokens = {token.id: token for token in tokens}
        self._now = now
        self._clock = clock
        self._secret = secret
        self._failures = Failures(clock)
        self._tickets: dict[bytes, _Ticket] = {}
        self._logins: dict[bytes, _Login] = {}
        self.on_end: Callable[[str], None] = _nobody
        self.on_failure: Callable[[str], None] = _nobody
        self.required = bool(self._tokens)
        self._bound()

    # --- tokens ------------------------------------------------------------------------------------

    def verify(self, token: str, address: str) -> Principal:
        """Look a token up.

        Raises:
            Refused: `unauthorized`; `rate_limited` after too many wrong ones from this address.
        """
        if not self.required:
            return LOCAL
        if (wait := self._failures.wait(address)) > 0:
            raise Refused(
                Code.RATE_LIMITED,
                f"too many wrong tokens from this address; repeat in {wait:g} s",
                {"lane": "auth"},
                retry_after=wait,
            )
        given = digest(token)
        found: Token | None = None
        for known in self._tokens.values():  # all of them: the time tells nothing
            if hmac.compare_digest(known.digest, given):
                found = known
        if found is None or self._expired(found.expires_at):
            self._failures.note(address)
            self.on_failure(address)
            raise Refused(
                Code.UNAUTHORIZED, "wrong token" if found is None else "the token expired"
            )
        return found.principal()

    def tokens(self) -> Sequence[Token]:
        """Give those that may come in, in the order in which they were made."""
        return [token for token in self._tokens.values() if not self._expired(token.expires_at)]

    def add(self, token: Token) -> None:
        """Let one more token in; only where tokens are asked for at all."""
        assert self.required, "without a first token everybody is `local`"
        self._tokens[token.id] = token
        self._bound()

    def _bound(self) -> None:
        if len(self._tokens) > KNOWN:
            self._tokens = {token.id: token for token in self.tokens()}

    def revoke(self, token_id: str) -> bool:
        """End a token with its cookies, tickets and connections; tells whether there was one."""
        if self._tokens.pop(token_id, None) is None:
            return False
        self._logins = {k: v for k, v in self._logins.items() if v.principal.token_id != token_id}
        self._tickets = {k: v for k, v in self._tickets.items() if v.principal.token_id != token_id}
        self.on_end(f"token:{token_id}")
        return True

    def _expired(self, expires_at: int | None) -> bool:
        return expires_at is not None and expires_at <= self._now()

    # --- tickets -----------------------------------------------------------------------------------

    def ticket(self, principal: Principal, origin: str | None, *, bound: bool = True) -> str:
        """Make a ticket: good once, for 30 s, for this principal and from this Origin.

        Args:
            principal: Whose it is.
            origin: None for a program.
            bound: False for the address that is printed at start, when no Origin is known yet.
        """
        self._forget()
        made = self._secret()
        self._tickets[digest(made)] = _Ticket(
            principal=principal, origin=origin, bound=bound, until=self._clock() + TICKET_S
        )
        return made

    def redeem(self, ticket: str, origin: str | None) -> Principal | None:
        """Take a ticket; None when it is unknown, used, too old, or from elsewhere."""
        found = self._tickets.pop(digest(ticket), None)
        if (
            found is None
            or self._clock() > found.until
            or self._expired(found.principal.expires_at)
        ):
            return None
        if found.bound and found.origin != origin:
            return None
        return found.principal

    # --- cookies -----------------------------------------------------------------------------------

    def login(self, principal: Principal) -> str:
        """Make a cookie's value for a principal."""
        self._forget()
        made = self._secret()
        self._logins[digest(made)] = _Login(principal=principal, until=self._clock() + COOKIE_S)
        return made

    def logout(self, cookie: str) -> bool:
        """End a cookie and the connections that came with it; tells whether there was one."""
        if self._logins.pop(digest(cookie), None) is None:
            return False
        self.on_end(self.credential(cookie))
        return True

    def cookie(self, cookie: str) -> Principal | None:
        """Look a cookie's value up."""
        login = self._logins.get(digest(cookie))
        if (
            login is None
            or self._clock() > login.until
            or self._expired(login.principal.expires_at)
        ):
            return None
        return login.principal

    @staticmethod
    def credential(cookie: str) -> str:
        """Name a cookie without telling its value."""
        return f"cookie:{digest(cookie).hex()[:16]}"

    def _forget(self) -> None:
        now = self._clock()
        _sweep(self._tickets, now)
        _sweep(self._logins, now)


Held = TypeVar("Held", _Ticket, _Login)


def _sweep(kept: dict[bytes, Held], now: float) -> None:
    """Forget what ended, oldest first, and the oldest of too many."""
    while kept:
        oldest = next(iter(kept))
        if kept[oldest].until > now and len(kept) < KEPT:
            break
        del kept[oldest]


def _nobody(_told: str) -> None:
    """Stand in until the composition root wires somebody."""


def cookie_header(value: str, *, secure: bool) -> str:
    """Make the `Set-Cookie` header; an empty value ends the cookie."""
    age = COOKIE_S if value else 0
    attributes = f"Path=/; Max-Age={age}; HttpOnly; SameSite=Strict"
    return f"{COOKIE}={value}; {attributes}" + ("; Secure" if secure else "")


# --- Origin and Host ------------------------------------------------------------------------------


LOOPBACK: Final = ("127.0.0.1", "localhost", "[::1]")
_PORTS: Final[Mapping[str, int]] = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sites:
    """Which names this server answers to, and which pages may talk to it.

    A request is for us when its Host is the address it arrived at (on loopback, any name of it) or one
    of `hosts`. A page may talk to us when its Origin is one of these names, or one of `origins`. Both
    are compared whole: a name that resolves to us by DNS rebinding, a look-alike, another port and
    `null` are all refused.

    Attributes:
        origins: E.g. `https://desk.example.com`.
        hosts: E.g. `desk.example.com` or `desk.example.com:8443`.
    """

    origins: frozenset[str] = frozenset()
    hosts: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        """Refuse wildcards; write the entries as clients do, with small letters and without a path.

        Raises:
            ValueError: An entry holds `*`.
        """
        origins = frozenset(entry.lower().removesuffix("/") for entry in self.origins)
        hosts = frozenset(entry.lower() for entry in self.hosts)
        for entry in origins | hosts:
            if "*" in entry or entry == "null":
                raise ValueError(f"'{entry}' is not an exact name; wildcards are not allowed")
        object.__setattr__(self, "origins", origins)
        object.__setattr__(self, "hosts", hosts)

    def host_allowed(self, host: str | None, *, scheme: str, server: tuple[str, int]) -> bool:
        """Judge the `Host` header."""
        return host is not None and host.lower() in self._names(scheme, server)

    def origin_allowed(self, origin: str, *, scheme: str, server: tuple[str, int]) -> bool:
        """Judge the `Origin` header of a request that has one."""
        if origin in self.origins:
            return True
        front, mark, name = origin.partition("://")
        return bool(mark) and front == scheme and name in self._names(scheme, server)

    def _names(self, scheme: str, server: tuple[str, int]) -> set[str]:
        address, port = server
        literal = f"[{address}]" if ":" in address else address
        names = {literal}
        if literal in LOOPBACK or address.startswith("127."):
            names.update(LOOPBACK)
        made = {f"{name}:{port}" for name in names}
        if _PORTS.get(scheme) == port:
            made |= names
        return made | self.hosts
