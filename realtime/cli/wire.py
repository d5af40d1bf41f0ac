"""Commands that talk to a running server, by the Python client.

Rules of this file: (1) whatever places an order has its client order id before it is sent, and a person can know it; (2) a
command that went out without an answer is in doubt and said to be; it is sent again under its own id or not at all.
"""

import re
import sys
from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple

import typer

from realtime.cli import drawing
from realtime.cli.exits import Exit, of_close, of_error, of_result
from realtime.cli.options import (
    LOCAL,
    Account,
    AsJson,
    Timeout,
    Token,
    Url,
    answering,
    refuse,
    tell,
    written,
)


if TYPE_CHECKING:  # what only signatures name must not slow down `--help`
    from realtime.client import Client, Closed, CommandError


_LOOK_S: Final = 1.0
_NAMED: Final = re.compile(r"[a-z][a-z_]*=")
_ENDED: Final = frozenset({"done", "failed", "canceled", "interrupted"})
"""Of a backtest."""


class Short(NamedTuple):
    """A command that is an op under a name that a person types.

    Attributes:
        op: The op.
        words: Its arguments that need no name, in the order in which they are typed; `order` is either id of an order, and
            `*reason` is all that is left.
        summary: What it does.
    """

    op: str
    words: str
    summary: str


ORDER: Final[Mapping[str, Short]] = {
    "place": Short(
        "order.place",
        "symbol side type amount price",
        "Place an order; prints its client order id before sending it.",
    ),
    "preview": Short(
        "order.preview",
        "symbol side type amount price",
        "Show what `place` would do, without placing anything.",
    ),
    "get": Short("order.get", "order", "Show an order with its fills."),
    "list": Short(
        "order.list", "symbol", "Show working orders; status=all, filled, ... shows others."
    ),
    "history": Short("order.history", "symbol", "Show ended orders, newest first."),
    "amend": Short(
        "order.amend", "order", "Amend an order, for example price=64000 or amount=0.02."
    ),
    "cancel": Short("order.cancel", "order", "Cancel an order."),
}
BOTS: Final[Mapping[str, Short]] = {
    "list": Short("bot.list", "", "Show all bots."),
    "status": Short("bot.status", "bot_id", "Show a bot's state, metrics and last decision."),
    "start": Short("bot.start", "bot_id", "Start a bot."),
    "stop": Short("bot.stop", "bot_id", "Stop a bot and cancel its entry orders."),
    "pause": Short("bot.pause", "bot_id", "Pause a bot: no new entries."),
    "resume": Short("bot.resume", "bot_id", "Resume a paused bot."),
    "emergency-stop": Short(
        "bot.emergency_stop", "bot_id", "Stop a bot immediately and cancel its orders."
    ),
    "rearm": Short("bot.rearm", "bot_id", "Clear the halt of a bot."),
    "run-once": Short("bot.run_once", "bot_id", "Run one cycle of a bot."),
    "validate": Short("bot.validate", "bot_id", "Check a bot's configuration before it starts."),
    "decisions": Short("bot.decisions", "bot_id", "Show the decisions of a bot, newest first."),
}
BACKTEST: Final[Mapping[str, Short]] = {
    "list": Short("backtest.list", "", "Show backtests, newest first."),
    "strategies": Short("backtest.strategies", "", "Show the strategies that can be tested."),
    "trades": Short("backtest.trades", "backtest_id", "Show the trades of a backtest."),
    "cancel": Short("backtest.cancel", "backtest_id", "Cancel a backtest."),
    "delete": Short("backtest.delete", "backtest_id", "Delete a backtest."),
}
TOP: Final[Mapping[str, Short]] = {
    "cancel-all": Short("order.cancel_all", "symbol", "Cancel all orders, or those of one symbol."),
    "halt": Short(
        "trading.halt",
        "*reason",
        "Halt trading and cancel resting orders; flatten=true also closes positions.",
    ),
    "resume": Short("trading.resume", "*reason", "Resume trading after a halt."),
}


def command(short: Short) -> Callable[..., None]:
    """Make the function of a command of the table."""
    words = short.words.split()
    shown = " ".join(f"[{word.strip('*').upper()}]" for word in words)

    def run(
        args: Annotated[
            list[str] | None,
            typer.Argument(
                metavar=f"{shown} [key=value]...".strip(),
                help=f"`realtime call help about={short.op}` lists the arguments.",
                show_default=False,
            ),
        ] = None,
        account: Account = None,
        url: Url = LOCAL,
        token: Token = None,
        timeout: Timeout = 15.0,
        as_json: AsJson = False,  # noqa: FBT002 - a flag of the command line
    ) -> None:
        import asyncio  # noqa: PLC0415

        given = arguments(words, args or ())
        if account is not None:
            given["venue"] = account
        if short.op == "order.place":
            named(given)
        answering(asyncio.run(_call(short.op, given, url, token, timeout, plain=as_json)))

    run.__doc__ = short.summary
    return run


def named(order: dict[str, object]) -> None:
    """Give an order its id, and say it before it goes out: whatever ends us then, it can be asked for."""
    from uuid import uuid4  # noqa: PLC0415

    if order.get("client_order_id") is None:
        order["client_order_id"] = uuid4().hex
    print(f"realtime: client_order_id {order['client_order_id']}", file=sys.stderr, flush=True)


def arguments(words: "list[str]", given: "list[str] | tuple[str, ...]") -> dict[str, object]:
    """Read what was typed: `key=value` wherever it stands, the others in the order of `words`.

    Raises:
        typer.BadParameter: One is given twice, or there are too many.
    """
    read: dict[str, object] = {}
    told = [argument(text) for text in given if _NAMED.match(text)]
    rest = [text for text in given if not _NAMED.match(text)]
    for number, word in enumerate(words):
        if not rest[number:]:
            break
        if word.startswith("*"):
            told.append((word[1:], " ".join(rest[number:])))
            del rest[number:]
        elif word == "order":
            text = rest[number]
            told.append(("order_id" if text.startswith("o-") else "client_order_id", text))
        elif word in {"start", "end"}:
            told.append((word, moment(rest[number], word.upper())))
        else:
            told.append((word, rest[number]))
    if rest[len(words) :]:
        raise typer.BadParameter(f"{rest[len(words)]!r} is not key=value", param_hint="ARGS")
    for name, value in told:
        if name in read:
            raise typer.BadParameter(f"{name} is given twice", param_hint="ARGS")
        read[name] = value
    return read


def moment(text: str, hint: str) -> int:
    """Read a time as wire ms: a date or a time of ISO 8601, in UTC where it has no zone, or wire ms.

    Raises:
        typer.BadParameter: It is none.
    """
    from datetime import UTC, datetime  # noqa: PLC0415

    if text.isascii() and text.isdigit() and len(text) > 8:
        return int(text)
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is not a time such as 2026-01-31 or 2026-01-31T12:00:00Z", param_hint=hint
        ) from None
    since = (read if read.tzinfo else read.replace(tzinfo=UTC)) - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000 + since.microseconds // 1_000


def tail(
    channels: Annotated[
        list[str], typer.Argument(help="Channel names, such as ticker:BTC/USDT or orders.")
    ],
    url: Url = LOCAL,
    token: Token = None,
    count: Annotated[int, typer.Option(min=0, help="Stop after this many messages; 0: never.")] = 0,
    as_json: AsJson = False,  # noqa: FBT002 - a flag of the command line
) -> None:
    """Watch channels live, as tables; as JSON lines with --json or in a pipe."""
    import asyncio  # noqa: PLC0415

    with suppress(KeyboardInterrupt):
        answering(asyncio.run(_tail(channels, url, token, count, plain=as_json)))


def call(
    op: Annotated[
        str, typer.Argument(help="Op, such as order.place; `realtime call help` lists all.")
    ],
    args: Annotated[
        list[str] | None,
        typer.Argument(
            help="key=value. A value that parses as JSON is sent as JSON; a string of digits: id='\"7\"'."
        ),
    ] = None,
    url: Url = LOCAL,
    token: Token = None,
    timeout: Timeout = 15.0,
    as_json: AsJson = False,  # noqa: FBT002 - a flag of the command line
) -> None:
    """Send one op and show its result; the exit code is 0 only if it succeeded."""
    import asyncio  # noqa: PLC0415

    given: dict[str, object] = {}
    for name, value in map(argument, args or ()):
        if name in given:
            raise typer.BadParameter(f"{name} is given twice", param_hint="ARGS")
        given[name] = value
    answering(asyncio.run(_call(op, given, url, token, timeout, plain=as_json)))


def argument(text: str) -> tuple[str, object]:
    """Read `key=value`: JSON where it is JSON, text where it is not.

    A number of more than 15 digits stays text, because a float would change it.
    """
    import orjson  # noqa: PLC0415

    name, equals, value = text.partition("=")
    if not (name and equals):
        raise typer.BadParameter(f"{text!r} is not key=value", param_hint="ARGS")
    try:
        read = orjson.loads(value)
    except orjson.JSONDecodeError:
        return name, value
    if isinstance(read, float) or (isinstance(read, int) and abs(read) >= 10**15):
        return name, value
    return name, read


async def _call(
    op: str, args: "dict[str, object]", url: str, token: str | None, patience: float, *, plain: bool
) -> int:
    import asyncio  # noqa: PLC0415
    from uuid import uuid4  # noqa: PLC0415

    import orjson  # noqa: PLC0415

    from realtime.client import Closed, CommandError  # noqa: PLC0415
    from realtime.client.commands import identified, reads  # noqa: PLC0415

    me = connecting(url, token)
    # Named here, so that a person can ask for the order whatever becomes of the answer.
    args = identified(op, args, lambda: uuid4().hex)

    try:
        async with asyncio.timeout(patience), me as client:
            reply = await client.call(op, **args)
    except asyncio.CancelledError:  # Ctrl-C
        doubt(me, op, args)
        raise
    except CommandError as error:
        _refused(op, args, error)
        return of_error(error.code, error.outcome)
    except Closed as error:
        tell(f"realtime: {_ended(error)}")
        return doubt(me, op, args) if error.outcome == "unknown" else of_close(error.code)
    except TimeoutError:
        silence(me, url, patience)
        return doubt(me, op, args)
    plainly = orjson.dumps({"result": reply.result, "at": reply.at}).decode()
    if not written(lambda: print(plainly) if plain else drawing.show(reply.result)) and reads(op):
        return Exit.USAGE
    return of_result(op, args, reply.result)


def doubt(me: "Client", op: str, args: Mapping[str, object]) -> Exit:
    """Say what is not known of a command that may have gone out, and give the exit code."""
    from realtime.client.commands import reads  # noqa: PLC0415

    if not me.connections or reads(op):
        return Exit.AWAY
    more = ""
    if known := args.get("client_order_id"):
        more = f"; look: realtime call order.get client_order_id={known}"
    elif same := args.get("request_id"):
        more = f"; repeat it with request_id={same} to get the same one"
    tell(f"realtime: {op} was sent and may have been done{more}")
    return Exit.UNKNOWN


def _refused(op: str, args: Mapping[str, object], error: "CommandError") -> None:
    """Say why not, and where the server asks back what to repeat."""
    import shlex  # noqa: PLC0415

    import orjson  # noqa: PLC0415

    details = orjson.dumps(error.details).decode() if error.details else ""
    tell(f"{error.code} ({error.outcome}): {error.message} {details}".rstrip())
    if asked := error.details.get("confirm"):
        # The ids are made here, and what is confirmed is the command with all its arguments.
        more = [f"client_order_id={args['client_order_id']}"] if "client_order_id" in args else []
        if op == "order.batch":
            more.append(shlex.quote(f"items={orjson.dumps(args.get('items')).decode()}"))
        said = " ".join([*more, f"confirm={asked}"])
        tell(f"realtime: to confirm, repeat with {said}")


def silence(me: "Client", url: str, patience: float) -> None:
    """Say that there was no answer, and why as far as that is known."""
    said = f"no answer from {url} in {patience:g} s: {me.trouble}"
    tell(f"realtime: {said.removesuffix(': ')}")


def stopped(
    error: "CommandError | Closed | TimeoutError", me: "Client", url: str, patience: float
) -> Exit:
    """Say why a question had no result, and give the exit code."""
    from realtime.client import Closed, CommandError  # noqa: PLC0415

    match error:
        case CommandError():
            _refused("", {}, error)
            return of_error(error.code, error.outcome)
        case Closed():
            tell(f"realtime: {_ended(error)}")
            return of_close(error.code)
        case _:
            silence(me, url, patience)
            return Exit.AWAY


def connecting(url: str, token: str | None) -> "Client":
    """Make the client of a command, or say what is wrong with the address or the token and leave."""
    from realtime.client import Client  # noqa: PLC0415

    try:
        return Client(url, token=token)
    except ValueError as error:
        refuse(f"{'--token' if str(error).startswith('the token') else '--url'}: {error}")


def _ended(error: "Closed") -> str:
    """Say how a connection ended, and what helps."""
    unknown = error.code in {401, 4401}
    return f"{error}; give one by --token or REALTIME_TOKEN" if unknown else str(error)


def _unread() -> bool:
    """Tell whether nobody reads any more what we write, as behind `| head -1`."""
    import select  # noqa: PLC0415

    if not hasattr(select, "poll"):  # Windows: the next line that is written will say so
        return False
    poll = select.poll()
    try:
        poll.register(sys.stdout, 0)
    except (OSError, ValueError):  # no file of the system's
        return False
    return any(state & (select.POLLERR | select.POLLHUP) for _, state in poll.poll(0))


async def _told(
    client: "Client", url: str, paint: Callable[[], object], leave: Callable[[], object]
) -> None:
    """Say when there is no connection, and when there is one again; leave when nobody reads.

    A quiet channel would say neither.
    """
    import asyncio  # noqa: PLC0415

    away = False
    while True:
        await asyncio.sleep(_LOOK_S)
        if _unread():
            leave()
            return
        if client.connected == away:
            away = not client.connected
            said = (
                f"no connection to {url}, trying again: {client.trouble}" if away else "connected"
            )
            print(f"realtime: {said.removesuffix(': ')}", file=sys.stderr, flush=True)
            paint()


async def _tail(
    channels: "list[str]", url: str, token: str | None, count: int, *, plain: bool
) -> int:
    import asyncio  # noqa: PLC0415

    import orjson  # noqa: PLC0415
    from rich.console import Console, Group  # noqa: PLC0415
    from rich.live import Live  # noqa: PLC0415

    from realtime.client import Closed, CommandError  # noqa: PLC0415

    console = Console()
    quiet = plain or not console.is_terminal
    names: dict[str, None] = {}
    live: Live | None = None
    me = connecting(url, token)

    def paint() -> None:
        if live is not None:
            live.update(
                Group(*(drawing.panel(name, me.stream(name)) for name in names)), refresh=True
            )

    here = asyncio.current_task()
    assert here is not None
    watch = asyncio.create_task(_told(me, url, paint, here.cancel))
    try:
        async with me as client, await client.subscribe(*channels) as events:
            left = count
            with nullcontext() if quiet else Live(console=console, auto_refresh=False) as live:
                painted = 0.0
                async for event in events:
                    names[event.channel] = None
                    if quiet:
                        print(
                            orjson.dumps({"kind": event.kind, **event.message}).decode(), flush=True
                        )
                    # A person reads ten pictures a second at most; the last one before a pause is always painted.
                    elif live is not None and (not events.waiting or monotonic() - painted > 0.1):
                        painted = monotonic()
                        paint()
                    left -= 1
                    if left == 0:
                        break
    except CommandError as error:
        print(f"{error.code}: {error.message}", file=sys.stderr)
        return of_error(error.code, error.outcome)
    except Closed as error:
        print(f"realtime: {_ended(error)}", file=sys.stderr)
        return of_close(error.code)
    except asyncio.CancelledError:
        if not watch.done():
            raise
        return Exit.NO  # as the other ways to write into a pipe that nobody reads
    finally:
        watch.cancel()
    return Exit.DONE


# --- backtests ------------------------------------------------------------------------------------


def following(op: str, summary: str, such: str) -> Callable[..., None]:
    """Make the function of a command that begins a job over bars of the past and waits for it."""

    def run(
        args: Annotated[
            list[str] | None,
            typer.Argument(
                metavar="[STRATEGY] [SYMBOL] [TIMEFRAME] [START] [END] [key=value]...",
                help=such,
                show_default=False,
            ),
        ] = None,
        url: Url = LOCAL,
        token: Token = None,
        timeout: Timeout = 15.0,
        as_json: AsJson = False,  # noqa: FBT002 - a flag of the command line
    ) -> None:
        _backtest(op, args or (), url, token, timeout, plain=as_json)

    run.__doc__ = summary
    return run


run = following(
    "backtest.run",
    "Run a backtest, show its progress, then its metrics.",
    "For example: ema_crossover BTC/USDT 1h 2026-01-01. `realtime call help about=backtest.run` lists all arguments.",
)
optimize = following(
    "backtest.optimize",
    "Search for the best parameters, in-sample and out-of-sample.",
    "As for `run`, plus param_grid='{\"length\":[10,20]}' or ranges=...",
)


def get(
    backtest_id: Annotated[str, typer.Argument(help="Id of the backtest, as `run` printed it.")],
    url: Url = LOCAL,
    token: Token = None,
    timeout: Timeout = 15.0,
    as_json: AsJson = False,  # noqa: FBT002 - a flag of the command line
) -> None:
    """Wait for a backtest to finish, and show its metrics."""
    _backtest("backtest.get", [f"backtest_id={backtest_id}"], url, token, timeout, plain=as_json)


def _backtest(
    op: str,
    args: "list[str] | tuple[str, ...]",
    url: str,
    token: str | None,
    patience: float,
    *,
    plain: bool,
) -> None:
    import asyncio  # noqa: PLC0415
    from uuid import uuid4  # noqa: PLC0415

    given = arguments(["strategy", "symbol", "timeframe", "start", "end"], args)
    if op != "backtest.get":
        # So that it may be asked again for the same one when the connection takes the answer.
        given.setdefault("request_id", uuid4().hex)
    answering(asyncio.run(_followed(op, given, url, token, patience, plain=plain)))


async def _followed(
    op: str, args: "dict[str, object]", url: str, token: str | None, patience: float, *, plain: bool
) -> int:
    """Start a backtest or look for one, and follow it to its end."""
    import asyncio  # noqa: PLC0415

    import orjson  # noqa: PLC0415

    from realtime.client import Closed, CommandError  # noqa: PLC0415

    me = connecting(url, token)
    row: Mapping[str, object] = {}
    try:
        async with asyncio.timeout(patience) as waiting, me as client:
            row = (await client.call(op, **args)).result
            key = str(row["id"])
            if row["status"] not in _ENDED:
                tell(f"realtime: backtest {key}")
                waiting.reschedule(None)
                await _end_of(client, url, key)
                waiting.reschedule(asyncio.get_running_loop().time() + patience)
                row = (await client.call("backtest.get", backtest_id=key)).result
    except asyncio.CancelledError:  # Ctrl-C
        if row:
            tell(
                f"realtime: it continues on the server: realtime backtest get {row['id']} (or cancel)"
            )
        else:
            doubt(me, op, args)
        raise
    except (CommandError, Closed, TimeoutError) as error:
        ended = stopped(error, me, url, patience)
        lost = not isinstance(error, CommandError | Closed) or error.outcome == "unknown"
        return doubt(me, op, args) if lost and not row else ended
    plainly = orjson.dumps({"result": row}).decode()
    if not written(lambda: print(plainly) if plain else drawing.backtest(row)):
        return Exit.USAGE
    return Exit.DONE if row["status"] == "done" else Exit.NO


async def _end_of(client: "Client", url: str, key: str) -> None:
    """Show how far a backtest is, until it has ended."""
    import asyncio  # noqa: PLC0415

    from rich.console import Console  # noqa: PLC0415
    from rich.progress import Progress  # noqa: PLC0415

    console = Console(stderr=True)
    disable = not console.is_terminal
    watch = asyncio.create_task(_told(client, url, lambda: None, lambda: None))
    try:
        async with await client.subscribe(f"backtest:{key}") as events:
            with Progress(console=console, transient=True, disable=disable) as progress:
                shown = progress.add_task("queued", total=1.0)
                async for event in events:
                    state = event.state
                    if not isinstance(state, Mapping):
                        continue
                    if state.get("deleted") or state.get("status") in _ENDED:
                        return
                    done = state.get("progress")
                    if isinstance(done, float | int):
                        progress.update(shown, completed=done, description=str(state["status"]))
    finally:
        watch.cancel()


# --- configuration --------------------------------------------------------------------------------


def import_(
    file: Annotated[
        Path,
        typer.Argument(help="config.json of the original system.", exists=True, dir_okay=False),
    ],
    apply: Annotated[  # noqa: FBT002 - a flag of the command line
        bool, typer.Option("--apply", help="Send the result to a running server.")
    ] = False,
    url: Url = LOCAL,
    token: Token = None,
) -> None:
    """Convert the configuration of the original system; percentages become fractions.

    Prints the sections as JSON, in the form that the setting `config.path` takes; lists what it drops on standard error.
    """
    import asyncio  # noqa: PLC0415

    import orjson  # noqa: PLC0415

    from realtime.desk.config import original  # noqa: PLC0415

    try:
        found = orjson.loads(file.read_bytes())
    except ValueError as error:
        refuse(f"{file} is broken: {error}")
    if not isinstance(found, dict):
        refuse(f"{file} must be an object")
    made = original.read(found)
    for path, why in made.dropped.items():
        print(f"{path} {why}", file=sys.stderr)
    if apply:
        args: dict[str, object] = {"patch": made.patch}
        answering(asyncio.run(_call("config.update", args, url, token, 15.0, plain=False)))
    else:
        print(orjson.dumps(made.patch, option=orjson.OPT_INDENT_2).decode())
