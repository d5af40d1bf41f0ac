"""The tokens of a server: kept in the first journal as hashes, and the first one made where one is needed."""

import asyncio

import orjson

from realtime.desk.codec import dumps
from realtime.model.principal import ROLES
from realtime.outside import Clock, Outside
from realtime.server.auth import Auth, Token, digest
from realtime.settings import Settings
from realtime.store import Projection, Store


async def identities(
    settings: Settings, outside: Outside, clock: Clock, store: Store
) -> tuple[Auth, str | None]:
    """Read the tokens; where one is needed and there is none, make the first."""
    loop = asyncio.get_running_loop()
    tokens: list[Token] = []
    made: str | None = None
    if settings.auth_required:
        tokens = [token_of(entry.body) for entry in await store.rows("tokens")]
        if not tokens:
            made = f"rt_{outside.secret()}"
            token = Token(
                id=f"t-{outside.secret()[:8]}",
                digest=digest(made),
                subject="admin",
                scopes=ROLES["admin"],
                expires_at=clock.ms() + settings.auth.token_days * 86_400_000,
            )
            keep(store, token, clock.now())
            tokens = [token]
    auth = Auth(tokens=tokens, now=clock.ms, clock=loop.time, secret=outside.secret)
    return auth, made


def keep(store: Store, token: Token, now: int) -> None:
    """Journal a token: its hash, never itself."""
    body = dumps(
        {
            "id": token.id,
            "digest": token.digest.hex(),
            "subject": token.subject,
            "scopes": sorted(token.scopes),
            "expires_at": token.expires_at,
        }
    )
    store.append("Token", token.id, body, None, [Projection("tokens", token.id, now, body=body)])


def token_of(body: bytes) -> Token:
    """Read a journaled token."""
    raw = orjson.loads(body)
    return Token(
        id=raw["id"],
        digest=bytes.fromhex(raw["digest"]),
        subject=raw["subject"],
        scopes=frozenset(raw["scopes"]),
        expires_at=raw["expires_at"],
    )
