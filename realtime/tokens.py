"""The tokens of a server: kept in the first journal as hashes; one is made where one is needed and none is good."""

import asyncio
import contextlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

import orjson

from realtime.desk.codec import dumps
from realtime.model.errors import Code, Failure, Refused
from realtime.model.events import Who
from realtime.model.principal import ADMIN, ROLES, TokenLimits, limits_of, role_of
from realtime.outside import Clock, Outside
from realtime.server.auth import Auth, Token, digest
from realtime.settings import Settings
from realtime.store import Projection, Store


DAY_MS: Final = 86_400_000
MOST: Final = 1_000
"""Tokens that are good at a time; every one of them is compared with what a client sends."""
EVER: Final = 2**31
"""Tokens there ever were: those that have ended leave a row, and the oldest that is good is behind all of theirs."""
WRITTEN_S: Final = 5.0
"""How long the journal may take [s]."""


async def identities(
    settings: Settings, outside: Outside, clock: Clock, store: Store
) -> tuple[Auth, str | None]:
    """Read the tokens; where they are needed and none of an admin is good, make one."""
    loop = asyncio.get_running_loop()
    tokens: list[Token] = []
    made: str | None = None
    if settings.auth_required:
        read = [token_of(entry.body) for entry in await store.rows("tokens", limit=EVER)]
        tokens = [token for token in read if token is not None]
        now = clock.ms()
        if not any(ADMIN in t.scopes and not _expired(t, now) for t in tokens):
            made, token = new(outside.secret, "admin", ROLES["admin"], now)
            token = replace(token, expires_at=now + settings.auth.token_days * DAY_MS)
            # Nobody waits: if it is lost, the next start makes another.
            _ = keep(store, token, clock.now())
            tokens.append(token)
    auth = Auth(tokens=tokens, now=clock.ms, clock=loop.time, secret=outside.secret)
    return auth, made


def new(
    secret: Callable[[], str], subject: str, scopes: Iterable[str], now: int
) -> tuple[str, Token]:
    """Make a token [wire ms]: what its owner keeps, and what we do."""
    made = f"rt_{secret()}"
    token = Token(
        id=f"t-{secret()[:8]}",
        digest=digest(made),
        subject=subject,
        scopes=frozenset(scopes),
        created_at=now,
    )
    return made, token


def keep(store: Store, token: Token, now: int, *, revoked: bool = False) -> "asyncio.Future[None]":
    """Journal a token at `now` [ns]: its hash, never itself; of one that was revoked not even that.

    Returns:
        Done when it is on disk.

    Raises:
        Refused: `busy`; to make one also while the journal cannot be written.
    """
    body = dumps(
        {
            "id": token.id,
            "digest": "" if revoked else token.digest.hex(),
            "subject": token.subject,
            "scopes": sorted(token.scopes),
            "created_at": token.created_at,
            "expires_at": token.expires_at,
            **_limits(token),
        }
    )
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def written(_seq: int) -> None:
        if not done.done():
            done.set_result(None)

    project = [Projection("tokens", token.id, now, body=body)]
    store.append("Token", token.id, body, written, project, safety=revoked)
    return done


def token_of(body: bytes) -> Token | None:
    """Read a journaled token; None when it was revoked."""
    raw = orjson.loads(body)
    if not raw["digest"]:
        return None
    return Token(
        id=raw["id"],
        digest=bytes.fromhex(raw["digest"]),
        subject=raw["subject"],
        scopes=frozenset(raw["scopes"]),
        created_at=raw.get("created_at"),
        expires_at=raw["expires_at"],
        limits=limits_of(raw),
    )


def _limits(token: Token) -> Mapping[str, object]:
    return {} if token.limits is None else token.limits.row()


def _expired(token: Token, now: int) -> bool:
    return _end(token) <= now


def _end(token: Token) -> float:
    return math.inf if token.expires_at is None else token.expires_at


class Tokens:
    """Makes, lists and ends the tokens of a running server."""

    def __init__(
        self,
        *,
        auth: Auth,
        store: Store,
        clock: Clock,
        secret: Callable[[], str],
        note: Callable[[str, Mapping[str, object], Who], None],
    ) -> None:
        """Keep them.

        Args:
            auth: Lets them in.
            store: The first journal.
            clock: Says when.
            secret: Makes 256 random bits as text.
            note: Writes into the audit.
        """
        self._auth = auth
        self._store = store
        self._clock = clock
        self._secret = secret
        self._note = note
        self._making = 0

    def rows(self) -> Sequence[Mapping[str, object]]:
        """Describe those that are good, oldest first."""
        return [row_of(token) for token in self._auth.tokens()]

    async def create(
        self,
        who: Who,
        subject: str,
        scopes: Iterable[str],
        expires_at: int | None,
        limits: TokenLimits | None = None,
    ) -> tuple[str, Mapping[str, object]]:
        """Make one [wire ms]; it is on disk before anybody has it.

        Returns:
            The token, which is told this once, and its row.

        Raises:
            Refused: `not_supported` where nobody is asked for a token, `conflict` where there are too many, `busy` while
                the journal cannot be written.
            Failure: `internal`, when it could not be written then.
        """
        self._check()
        if len(self._auth.tokens()) + self._making >= MOST:
            raise Refused(Code.CONFLICT, f"there are {MOST} tokens, no more can be made")
        made, token = new(self._secret, subject, scopes, self._clock.ms())
        token = replace(token, expires_at=expires_at, limits=limits)
        done = keep(self._store, token, self._clock.now())
        self._making += 1
        try:
            await _written(done, "no token was made")
        except BaseException:
            # Its row may reach the disk yet, and would come back with the next start: nobody has been told it. So it is
            # when this is canceled while it waits, as by a stop.
            with contextlib.suppress(Refused):
                _ = keep(self._store, token, self._clock.now(), revoked=True)
            raise
        finally:
            self._making -= 1
        self._auth.add(token)
        row = row_of(token)
        self._note("token_created", row, who)
        return made, row

    async def revoke(self, who: Who, token_id: str) -> Mapping[str, object]:
        """End one: its connections are closed at once, and it is on disk before this returns.

        Raises:
            Refused: `not_found`, `not_supported`, or `conflict` for the last one of an admin, or the last that lasts.
            Failure: `internal`, when it could not be written.
        """
        self._check()
        good = self._auth.tokens()
        token = next((one for one in good if one.id == token_id), None)
        if token is None:
            raise Refused(Code.NOT_FOUND, f"there is no token {token_id}", {"what": "token"})
        if ADMIN in token.scopes:
            self._keep_an_admin(token, [one for one in good if one is not token])
        done = keep(self._store, token, self._clock.now(), revoked=True)
        self._note("token_revoked", row_of(token), who)
        self._auth.revoke(token_id)
        await _written(done, "ended, but it comes back with the next start")
        return row_of(token)

    def _keep_an_admin(self, token: Token, others: Sequence[Token]) -> None:
        """Refuse to leave the server with admins who are about to lose their tokens: only a start would make another."""
        ends = [_end(one) for one in others if ADMIN in one.scopes]
        if max(ends, default=0) >= min(_end(token), self._clock.ms() + DAY_MS):
            return
        which = (
            "the other tokens of an admin expire within a day"
            if ends
            else "it is the last token of an admin"
        )
        raise Refused(Code.CONFLICT, f"{which}; create another one first")

    def _check(self) -> None:
        if not self._auth.required:
            raise Refused(
                Code.NOT_SUPPORTED,
                "this server uses no tokens; auth.required = true enables them",
            )


async def _written(done: "asyncio.Future[None]", otherwise: str) -> None:
    try:
        async with asyncio.timeout(WRITTEN_S):
            await done
    except TimeoutError:
        raise Failure(Code.INTERNAL, f"{otherwise}: the journal could not be written") from None


def row_of(token: Token) -> dict[str, object]:
    """Describe a token, without what would let anybody in."""
    return {
        "token_id": token.id,
        "subject": token.subject,
        "role": role_of(token.scopes),
        "scopes": sorted(token.scopes),
        "created_ts": token.created_at,
        "expires_ts": token.expires_at,
        **_limits(token),
    }
