"""What a request says about its sender, and how an upgrade is refused."""

import math

import orjson
from starlette.types import Receive, Scope, Send

from realtime.hub import protocol
from realtime.model.errors import Code, Refused
from realtime.model.principal import Principal
from realtime.server.auth import COOKIE, Auth


def header(scope: Scope, name: bytes) -> str | None:
    """Give the value of a header; None when it is not there."""
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), None)


def address_of(scope: Scope) -> str:
    """Give the peer's address."""
    client = scope.get("client")
    return client[0] if client else ""


def identify(auth: Auth, scope: Scope) -> tuple[Principal | None, str | None]:
    """Find out who asks: bearer token, or cookie of an allowed page.

    Returns:
        The principal, None when it did not say or its cookie is bad; and the credential by which
        `Auth.on_end` will name it.

    Raises:
        Refused: For a bad bearer token.
    """
    if not auth.required:
        return auth.verify("", ""), None
    authorization = header(scope, b"authorization")
    if authorization is not None:
        kind, _, token = authorization.partition(" ")
        if kind.lower() != "bearer":
            raise Refused(Code.UNAUTHORIZED, "send Authorization: Bearer TOKEN")
        return auth.verify(token.strip(), address_of(scope)), None
    cookie = cookie_of(scope)
    if cookie is None:
        return None, None
    return auth.cookie(cookie), auth.credential(cookie)


def cookie_of(scope: Scope) -> str | None:
    """Give our cookie's value; without an Origin, which every page sends, it does not count."""
    if header(scope, b"origin") is None:
        return None
    for part in (header(scope, b"cookie") or "").split(";"):
        name, mark, value = part.strip().partition("=")
        if mark and name == COOKIE:
            return value
    return None


async def refuse(scope: Scope, send: Send, refused: Refused) -> None:
    """Refuse an upgrade with an HTTP status, or with 403 where the ASGI server knows no other."""
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 1008, "reason": str(refused.code)})
        return
    body = orjson.dumps({"ok": False, "error": protocol.refusal(refused)})
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    if refused.retry_after is not None:
        headers.append((b"retry-after", b"%d" % max(1, math.ceil(refused.retry_after))))
    status = refused.code.http
    await send({"type": "websocket.http.response.start", "status": status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": body})


async def until_closed(receive: Receive) -> None:
    """Wait for the end of a connection that is closing."""
    while (await receive())["type"] != "websocket.disconnect":
        pass
