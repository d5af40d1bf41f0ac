"""A ccxt exchange that says everything it does: the tap.

Rules of this file:
1 ccxt itself stays as it was imported. Every exchange made here has a class of its own; two in one process,
  of the same venue or of others, share nothing.
2 A hook is told before ccxt acts on what it is told, never raises, and never awaits (but `turn`, which waits
  for permission to send). Rows reach hooks from their cache, so rows that ccxt would merge or drop are all seen.
3 Importing this module does not import ccxt; making an exchange does.
4 A page, or JSON that was cut off, is no answer: ccxt would read it as one in which nothing is told, and keep for good
  what it concludes from that, such as that a Bybit account is not a unified one.

Why so: a watch loop saw 14 of 3,449 book updates under load, and caches hold 1,000 rows and merge those of one
order (trading document, 6.1 and 6.2).
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache, partial
from re import compile as pattern
from types import CodeType, FunctionType
from typing import Any, Final

from realtime.model.errors import Code, Failure, Refused


CACHES: Final = (
    "ArrayCache",
    "ArrayCacheByTimestamp",
    "ArrayCacheBySymbolById",
    "ArrayCacheBySymbolBySide",
    "ArrayCacheByOutcomeById",
)
"""The names of ccxt's caches in the modules of its exchanges."""

_CONTRACTS: Final = frozenset({"binanceusdm", "binancecoinm"})
_HOST: Final = pattern(r"^(http|ws)s?://[^/]+")


# --- hooks ------------------------------------------------------------------------------------


class Hooks:
    """What happens in an exchange; every method does nothing until a subclass says what."""

    def made(self, exchange: Any) -> None:
        """Meet the exchange that these hooks were given to; it has sent nothing yet."""

    def frame(self, url: str, text: str) -> None:
        """Hear a text frame of a socket, before ccxt parses it."""

    def pulse(self, url: str) -> None:
        """Hear that anything at all arrived on a socket: a frame, a ping, a pong."""

    def done(self, url: str) -> None:
        """Hear that ccxt is through with what arrived: all rows and values of it have been told."""

    def fault(self, url: str, error: BaseException) -> None:
        """Hear that ccxt raised at what arrived; the socket is read on.

        An error of ccxt's own fails the calls that wait, a frame that it could not read fails none.
        """

    def row(self, kind: str, row: Mapping[str, Any]) -> None:
        """Hear a parsed row on its way into a cache.

        Args:
            kind: `trade` (public), `fill` (own), `order`, `position` or `ohlcv`.
            row: ccxt's unified row, or `{symbol, timeframe, ohlcv}` for a bar. Not to be changed.
        """

    def value(self, message_hash: str, value: Any) -> None:
        """Hear the value of a finished frame: a ticker, a whole order book (live, not a copy), a balance."""

    def request(self, method: str, url: str) -> None:
        """Hear that a REST request is handed to the network."""

    def frame_out(self, url: str, message: Any) -> None:
        """Hear that a message is handed to a socket; text, or what becomes JSON."""

    def response(
        self, method: str, url: str, status: int, headers: Mapping[str, str], text: str
    ) -> None:
        """Hear a whole REST answer, before ccxt judges it."""

    def asking(self, path: str, api: Sequence[str]) -> AbstractContextManager[None]:  # noqa: ARG002 - for subclasses
        """Accompany one REST request from before its turn to its answer.

        Args:
            path: ccxt's name of the endpoint.
            api: ccxt's name of its group; `private` in it says that the request is signed.
        """
        return nullcontext()

    async def turn(self, cost: float) -> None:
        """Wait until something of this cost may be sent.

        Args:
            cost: In ccxt's units of the venue's rate limit.
        """

    def nonce(self) -> int | None:
        """Give the next nonce in the venue's unit; None leaves it to ccxt."""
        return None


class Many(Hooks):
    """Several hooks as one, told in their order; the first nonce given counts."""

    def __init__(self, *hooks: Hooks) -> None:
        self.hooks = hooks

    def made(self, exchange: Any) -> None:
        """Tell each."""
        for hooks in self.hooks:
            hooks.made(exchange)

    def frame(self, url: str, text: str) -> None:
        """Tell each."""
        for hooks in self.hooks:
            hooks.frame(url, text)

    def pulse(self, url: str) -> None:
        """Tell each."""
        for hooks in self.hooks:
            hooks.pulse(url)

    def done(self, url: str) -> None:
        """Tell each."""
        for hooks in self.hooks:
            hooks.done(url)

    def fault(self, url: str, error: BaseException) -> None:
        """Tell each."""
        for hooks in self.hooks:
            hooks.fault(url, error)

    def row(self, kind: str, row: Mapping[str, Any]) -> None:
        """Tell each."""
        for hooks in self.hooks:
            hooks.row(kind, row)

    def value(self, message_hash: str, value: Any) -> None:
        """Tell each."""
        for hooks in self.hooks:
            hooks.value(message_hash, value)

    def request(self, method: str, url: str) -> None:
        """Tell each."""
        for hooks in self.hooks:
            hooks.request(method, url)

    def frame_out(self, url: str, message: Any) -> None:
        """Tell each."""
        for hooks in self.hooks:
            hooks.frame_out(url, message)

    def response(
        self, method: str, url: str, status: int, headers: Mapping[str, str], text: str
    ) -> None:
        """Tell each."""
        for hooks in self.hooks:
            hooks.response(method, url, status, headers, text)

    @contextmanager
    def asking(self, path: str, api: Sequence[str]) -> Iterator[None]:
        """Let each accompany it."""
        with ExitStack() as stack:
            for hooks in self.hooks:
                stack.enter_context(hooks.asking(path, api))
            yield

    async def turn(self, cost: float) -> None:
        """Wait for each, one after the other."""
        for hooks in self.hooks:
            await hooks.turn(cost)

    def nonce(self) -> int | None:
        """Give the first nonce that one of them knows."""
        return next((nonce for hooks in self.hooks if (nonce := hooks.nonce()) is not None), None)


# --- was anything sent? -----------------------------------------------------------------------


@dataclass(slots=True)
class Sent:
    """What one call has handed to the network and heard from it.

    Attributes:
        requests: Requests and messages handed over; 0 means that nothing can have happened.
        status: HTTP status of the last answer; None without one.
        reason: The words behind it.
        text: Its body.
        headers: Its headers.
        unread: Answers that are a page or nothing: among several, ccxt takes such a one for an empty list.
        error: What a request has failed with last, whether ccxt has passed it on or not.
        door: Asked right before anything is handed over; raises what forbids it.
    """

    door: Callable[[], None] | None = None
    requests: int = 0
    status: int | None = None
    reason: str = ""
    text: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    unread: int = 0
    error: Exception | None = None


_SENT: ContextVar[Sent | None] = ContextVar("sent", default=None)
_BARE: ContextVar[bool] = ContextVar("bare", default=False)


@contextmanager
def sending(door: Callable[[], None] | None = None) -> Iterator[Sent]:
    """Note what is sent inside, by this task and by those that ccxt starts for it.

    Args:
        door: Asked behind every queue, right before anything is handed over; raises what forbids it.

    Example: `with sending() as sent: await exchange.create_order(...)`, and `sent.requests` afterwards.
    """
    sent = Sent(door)
    token = _SENT.set(sent)
    try:
        yield sent
    finally:
        _SENT.reset(token)


async def bare(
    exchange: Any, url: str, method: str, headers: Mapping[str, str] | None, body: Any
) -> Sent:
    """Ask an exchange for something, and neither parse nor judge what it answers.

    Args:
        exchange: As of `make`; its hooks hear of it as of any request.
        url: As ccxt has signed it; so the others.
        method: `GET` or another.
        headers: To be sent.
        body: To be sent.

    Returns:
        Whose `status`, `reason`, `headers` and `text` are the answer.

    Raises:
        ccxt.NetworkError: There was none.
    """
    whole = _SENT.get()
    with sending() as sent:
        token = _BARE.set(True)
        try:
            await exchange.fetch(url, method, headers, body)
        finally:
            _BARE.reset(token)
            if whole is not None:
                whole.requests += sent.requests
                whole.unread += sent.unread
    return sent


@cache
def faults(*more: type[BaseException]) -> tuple[type[BaseException], ...]:
    """What ccxt raises: its own errors, and what its parsers do at answers of another shape.

    Args:
        more: Caught besides.
    """
    from ccxt.base.errors import BaseError  # noqa: PLC0415 - see rule 3

    shapes = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RuntimeError)
    return (BaseError, OSError, *shapes, *more)


def raised(error: BaseException) -> bool:
    """Whether ccxt means an error, and has not just stumbled over a frame."""
    from ccxt.base.errors import BaseError  # noqa: PLC0415 - see rule 3

    return isinstance(error, BaseError)


# --- the parts that listen --------------------------------------------------------------------


class _Socket:
    """Put before ccxt's `Client`."""

    url: str
    hooks: Hooks

    def resolve(self, result: Any, message_hash: str) -> Any:
        self.hooks.value(message_hash, result)
        parent: Any = super()
        return parent.resolve(result, message_hash)

    def handle_message(self, message: Any) -> None:
        self.hooks.pulse(self.url)
        parent: Any = super()
        # What ccxt raises here would end its reading of this socket, without a word and without closing it.
        try:
            parent.handle_message(message)
        except faults() as error:
            self.hooks.fault(self.url, error)
            if raised(error):
                parent.reject(error)
        self.hooks.done(self.url)

    def handle_text_or_binary_message(self, data: str | bytes) -> None:
        if isinstance(data, str):
            self.hooks.frame(self.url, data)
        else:
            self.hooks.frame(self.url, data.decode(errors="replace"))
        parent: Any = super()
        parent.handle_text_or_binary_message(data)

    async def patiently(self, turn: Callable[[float], Awaitable[None]], cost: float) -> None:
        """Wait for the turn to send; a refusal closes the socket, because ccxt would never send it again."""
        try:
            await turn(cost)
        except Failure as error:
            from ccxt.base.errors import NetworkError  # noqa: PLC0415 - it is loaded by now

            parent: Any = super()
            parent.on_error(NetworkError(f"not sent: {error.message}"))
            raise asyncio.CancelledError from error  # nobody waits for the task that sends

    async def send(self, message: Any) -> None:
        parent: Any = super()
        if not parent.closed():
            sent = _SENT.get()
            if sent is not None:
                sent.requests += 1
            self.hooks.frame_out(self.url, message)
        await parent.send(message)


class _Exchange:
    """Put before the class of an exchange."""

    id: str
    hooks: Hooks

    def client(self, url: str) -> Any:
        parent: Any = super()
        client = parent.client(url)
        if not isinstance(client, _Socket):
            base: Any = type(client)
            client.__class__ = _socket(base)
            client.hooks = self.hooks
            client.throttle = partial(client.patiently, self.throttle)
        return client

    async def fetch2(
        self,
        path: str,
        api: Any = ("public",),
        method: str = "GET",
        params: Any = None,
        config: Any = None,
    ) -> Any:
        with self.hooks.asking(path, api):
            parent: Any = super()
            return await parent.fetch2(
                path, api, method, {} if params is None else params, config or {}
            )

    async def throttle(self, cost: float | None = None) -> None:
        await self.hooks.turn(1.0 if cost is None else cost)

    def nonce(self) -> Any:
        own = self.hooks.nonce()
        if own is not None:
            return own
        parent: Any = super()
        return parent.nonce()

    async def fetch(
        self, url: str, method: str = "GET", headers: Any = None, body: Any = None
    ) -> Any:
        sent = _SENT.get()
        if sent is not None:
            if sent.door is not None:
                sent.door()
            sent.requests += 1
            sent.status = sent.text = None
        self.hooks.request(method, url)
        parent: Any = super()
        try:
            return await parent.fetch(url, method, headers, body)
        except Exception as error:
            if sent is not None:
                sent.error = error
            raise

    def on_rest_response(
        self,
        code: int,
        reason: str,
        url: str,
        method: str,
        response_headers: Mapping[str, str],
        response_body: str,
        request_headers: Any,
        request_body: Any,
    ) -> Any:
        sent = _SENT.get()
        if sent is not None:
            sent.status, sent.text, sent.headers = code, response_body, response_headers
            sent.reason = reason
            sent.unread += response_body.lstrip()[:1] in {"", "<"}
        self.hooks.response(method, url, code, response_headers, response_body)
        parent: Any = super()
        return parent.on_rest_response(
            code,
            reason,
            url,
            method,
            response_headers,
            response_body,
            request_headers,
            request_body,
        )

    def parse_json(self, http_response: Any) -> Any:
        parent: Any = super()
        return None if _BARE.get() else parent.parse_json(http_response)

    def handle_errors(
        self,
        code: int,
        reason: str,
        url: str,
        method: str,
        headers: Mapping[str, str],
        body: str,
        response: Any,
        *sent: Any,
    ) -> None:
        if _BARE.get():
            return
        parent: Any = super()
        parent.handle_errors(code, reason, url, method, headers, body, response, *sent)
        if response is None and code < 400 and _no_answer(method, body):
            from ccxt.base.errors import BadResponse  # noqa: PLC0415 - it is loaded by now

            raise BadResponse(f"{self.id}: the answer is not JSON")

    def handle_http_status_code(self, *answer: Any) -> None:
        if not _BARE.get():
            parent: Any = super()
            parent.handle_http_status_code(*answer)


def _no_answer(method: str, body: str) -> bool:
    """Whether a body that is no JSON is a page, JSON that was cut off, or nothing where something was asked for."""
    begins = body.lstrip()[:1]
    return begins in {"<", "{", "["} or (not begins and method == "GET")


@cache
def _socket(base: type) -> type:
    return type(base.__name__, (_Socket, base), {})


# --- caches -----------------------------------------------------------------------------------


def kind_of(row: Mapping[str, Any], *, own: bool) -> str | None:
    """Tell a unified row by its fields.

    Args:
        row: As ccxt parsed it.
        own: Whether it was stored by code that keeps own trades.

    Returns:
        `order`, `position`, `fill`, `trade`, or None for rows nobody wants (liquidations).
    """
    if "remaining" in row:
        return "order"
    if "entryPrice" in row:
        return "position"
    if "takerOrMaker" in row:
        return "fill" if own else "trade"
    return None


class _Cache:
    """Put before a cache of rows."""

    _hooks: Hooks
    _own: bool

    def append(self, item: Mapping[str, Any]) -> None:
        kind = kind_of(item, own=self._own)
        if kind is not None:
            self._hooks.row(kind, item)
        parent: Any = super()
        parent.append(item)


class _Bars:
    """Put before a cache of bars; rows do not say whose they are, the exchange's table does."""

    _hooks: Hooks
    _owner: Sequence[Any]

    def append(self, item: Sequence[Any]) -> None:
        for exchange in self._owner:
            for symbol, tables in (exchange.ohlcvs or {}).items():
                for timeframe, table in tables.items():
                    if table is self:
                        row = {"symbol": symbol, "timeframe": timeframe, "ohlcv": item}
                        self._hooks.row("ohlcv", row)
        parent: Any = super()
        parent.append(item)


def mentioned(code: CodeType) -> set[str]:
    """The names of caches that a function uses, in functions inside it, too."""
    found = set(code.co_names) & set(CACHES)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            found |= mentioned(constant)
    return found


def _rebound(base: type, hooks: Hooks, owner: Sequence[Any]) -> dict[str, Any]:
    """The functions of a class that make caches, made to make ours: same code, other globals.

    Nothing of a class calls such a function of its parent by `super()`; a test looks at all of ccxt.
    """
    scopes: dict[tuple[str, bool], dict[str, Any]] = {}
    rebound: dict[str, Any] = {}
    known: set[str] = set()
    for layer in base.__mro__:
        for name, value in vars(layer).items():
            if name in known:
                continue
            known.add(name)
            if not isinstance(value, FunctionType) or not mentioned(value.__code__):
                continue
            # Own and public trades look alike, but no function of ccxt keeps both.
            own = "myTrades" in value.__code__.co_names
            key = (value.__module__, own)
            if key not in scopes:
                scopes[key] = _scope(value.__globals__, hooks, owner, own=own)
            function = FunctionType(
                value.__code__, scopes[key], value.__name__, value.__defaults__, value.__closure__
            )
            function.__kwdefaults__ = value.__kwdefaults__
            rebound[name] = function
    return rebound


def _scope(
    original: Mapping[str, Any], hooks: Hooks, owner: Sequence[Any], *, own: bool
) -> dict[str, Any]:
    scope = dict(original)
    for name in CACHES:
        if name not in scope:
            continue
        if name == "ArrayCacheByTimestamp":
            body = {"_hooks": hooks, "_owner": owner}
            scope[name] = type(name, (_Bars, scope[name]), body)
        else:
            scope[name] = type(name, (_Cache, scope[name]), {"_hooks": hooks, "_own": own})
    return scope


# --- making one -------------------------------------------------------------------------------


def make(
    exchange_id: str,
    *,
    hooks: Hooks,
    config: Mapping[str, Any],
    endpoint: str | None = None,
    sandbox: bool = False,
) -> Any:
    """Make a ccxt exchange with a tap.

    Args:
        exchange_id: ccxt's, e.g. `binanceusdm`. Without sockets in ccxt it can be polled only.
        hooks: Told everything.
        config: ccxt's own (`apiKey`, `options` …). Rate limits of ccxt are replaced by `hooks.turn`.
        endpoint: `http://host:port` in place of scheme and host of every address; sockets get `ws`, paths stay.
        sandbox: Use the venue's test hosts.

    Returns:
        An instance; close it with `await exchange.close()`.

    Raises:
        Refused: `invalid`, when ccxt knows no such exchange; `not_supported`, when it has no sandbox.
    """
    base = _base(exchange_id)
    owner: list[Any] = []
    made = type(exchange_id, (_Exchange, base), {"hooks": hooks, **_rebound(base, hooks, owner)})
    # ccxt calls `throttle` only while its limiter is on: it is on, and `throttle` is ours.
    exchange = made({**config, "enableRateLimit": True})
    owner.append(exchange)
    if repeats(exchange.options):
        raise Refused(Code.INVALID, "maxRetriesOnFailure: no placement is ever repeated (P2)")
    if sandbox:
        if not exchange.urls.get("test"):
            raise Refused(
                Code.NOT_SUPPORTED, f"{exchange_id} has no sandbox", {"venue": exchange_id}
            )
        exchange.set_sandbox_mode(True)
    if endpoint is not None:
        exchange.urls = rebase(exchange.urls, endpoint)
        if hasattr(exchange, "is_spot_url"):
            # Binance's spot and contracts share ids; ccxt tells them apart by a host name, which is gone now.
            spot = "" if exchange_id in _CONTRACTS else exchange.urls["api"]["ws"]["spot"]
            exchange.is_spot_url = lambda client: bool(spot) and client.url.startswith(spot)
        if endpoint.startswith("http:"):
            # There is no TLS: neither certificates to load nor a pause for its end.
            exchange.verify = False
            exchange.timeout_on_exit = 0
    hooks.made(exchange)
    return exchange


def repeats(options: Mapping[str, Any]) -> bool:
    """Whether options of ccxt let it repeat requests that failed: all, or those of one endpoint."""
    names = ("maxRetriesOnFailure", "defaultMaxRetriesOnFailure")
    return any(
        value != 0 if name in names else isinstance(value, Mapping) and repeats(value)
        for name, value in options.items()
    )


def _base(exchange_id: str) -> type:
    import ccxt.async_support  # noqa: PLC0415 - 0.5 s and 108 MB, only for a real venue
    import ccxt.pro  # noqa: PLC0415 - as above

    for package in (ccxt.pro, ccxt.async_support):
        if exchange_id in package.exchanges:
            base: type = getattr(package, exchange_id)
            return base
    near = get_close_matches(exchange_id.lower(), ccxt.async_support.exchanges, n=3)
    hint = f"; near: {', '.join(near)}" if near else ""
    message = f"exchange: ccxt knows no {exchange_id!r}{hint}"
    raise Refused(Code.INVALID, message, {"exchange": exchange_id, "near": near})


def rebase(urls: Any, endpoint: str) -> Any:
    """Put every address in a nested structure onto another host.

    Args:
        urls: Strings in mappings and lists, as ccxt keeps them.
        endpoint: `http://host:port` or `https://host`, perhaps with a path that goes before theirs.

    Returns:
        The same structure; what is no address stays as it is.
    """
    if isinstance(urls, str):
        secure, _, rest = endpoint.rstrip("/").partition("://")
        tls = "s" if secure == "https" else ""
        return _HOST.sub(lambda found: f"{found[1]}{tls}://{rest}", urls)
    if isinstance(urls, Mapping):
        return {key: rebase(value, endpoint) for key, value in urls.items()}
    if isinstance(urls, list):
        return [rebase(value, endpoint) for value in urls]
    return urls
