"""The command line: arguments, signals, exit codes.

Exit codes of `serve` and `replay`: 0 drained, 2 refused to start, 70 a part died (the next start recovers).
One function per command; what a command needs is imported inside it, so that `realtime --help` is quick.
"""

import gc
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Final, NoReturn

import typer


if TYPE_CHECKING:  # what only signatures name must not slow down `--help`
    from typing import TypeGuard

    import pydantic
    from rich.console import Console, ConsoleOptions, RenderableType

    from realtime.client import Book, Client, Closed, Stream
    from realtime.doctor import Finding
    from realtime.outside import Outside
    from realtime.settings import Settings
    from realtime.venues.ccxt.account import Account


REFUSED: Final = 2
DIED: Final = 70

app = typer.Typer(
    name="realtime",
    help="Nexus Realtime: one WebSocket from market to fill.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

ConfigFile = Annotated[Path, typer.Option("--config", help="Settings file.", show_default=True)]
Host = Annotated[str | None, typer.Option(help="Address to bind.")]
Port = Annotated[int | None, typer.Option(help="Port to bind; 0 takes a free one.")]
Data = Annotated[str | None, typer.Option(help="Journal file; an empty text keeps it in memory.")]
Mode = Annotated[
    str | None,
    typer.Option(help="paper trades with play money, also on live prices; live for real."),
]
Url = Annotated[str, typer.Option(envvar="REALTIME_URL", help="Address of the server's socket.")]
Token = Annotated[
    str | None,
    typer.Option(
        envvar="REALTIME_TOKEN", help="Better in the environment: others can see arguments."
    ),
]
AsJson = Annotated[
    bool,
    typer.Option("--json", help="Print lines of JSON, with all that a table has no place for."),
]
Journal = Annotated[Path, typer.Argument(help="The journal file.", show_default=False)]
LOCAL: Final = "ws://127.0.0.1:8000/ws"


journal = typer.Typer(help="Look after a journal file.", no_args_is_help=True)
app.add_typer(journal, name="journal")
config_files = typer.Typer(help="Look after the configuration.", no_args_is_help=True)
app.add_typer(config_files, name="config")

# What a terminal holds.
_ROWS: Final = 20
_LEVELS: Final = 10
_LAST_MS: Final = 253_402_300_800_000  # the year 10000, which no clock time of Python reaches
_CELL: Final = 40
_LEAST: Final = 6
_LOOK_S: Final = 1.0
_NAMES: Final = frozenset({"id", "name"})
_FIRST: Final[Mapping[str, str]] = {
    "orders": "id symbol side type status amount price stop_price filled average fee reason",
    "fills": "id symbol side amount price fee realized_pnl order_id ts",
    "positions": "id symbol side amount unrealized_pnl entry_price mark_price realized_pnl liquidation_price",
    "balances": "id currency total available reserved value",
}
"""What a person looks for first in rows of which a terminal has no place for all."""
_SILENT: Final[tuple[object, ...]] = (None, "", [], {}, "none", False)


@app.callback()
def common() -> None:
    """Nexus Realtime: one WebSocket from market to fill."""


@app.command()
def serve(
    config: ConfigFile = Path("realtime.toml"),
    host: Host = None,
    port: Port = None,
    data: Data = None,
    venue: Annotated[
        str | None,
        typer.Option(
            help="One account, and no other: of the settings' venues by its id, or an exchange "
            "by its name in ccxt, such as kraken; paper is the embedded one."
        ),
    ] = None,
    mode: Mode = None,
) -> None:
    """Run the server: the embedded paper exchange, paper on an exchange's live prices, or real trading."""
    from realtime.outside import Outside  # noqa: PLC0415

    _serve(config, host, port, data, Outside(), venue, mode)


@app.command()
def replay(
    file: Annotated[Path, typer.Argument(help="A recorded session.", exists=True, dir_okay=False)],
    speed: Annotated[
        str,
        typer.Option(
            help="1 is the pace of the recording, 100 is fast, max is as fast as it goes."
        ),
    ] = "1",
    config: ConfigFile = Path("realtime.toml"),
    host: Host = None,
    port: Port = None,
    data: Data = "",
) -> None:
    """Serve a recorded session, with a paper account on top that trades against it."""
    from realtime.outside import replaying  # noqa: PLC0415

    try:
        pace = None if speed == "max" else float(speed)
    except ValueError:
        raise typer.BadParameter("is a number such as 10, or max", param_hint="--speed") from None
    if pace is not None and not 0 < pace <= 1000:
        raise typer.BadParameter("must be above 0 and at most 1000", param_hint="--speed")
    _serve(config, host, port, data, replaying(file, pace))


@app.command()
def record(
    venue: Annotated[str, typer.Argument(help="Name of the exchange in ccxt, such as kraken.")],
    file: Annotated[Path, typer.Argument(help="The new file, such as btc.jsonl.gz.")],
    symbols: Annotated[
        str, typer.Option(help="With commas between them, such as BTC/USDT,ETH/USDT.")
    ],
    streams: Annotated[
        str, typer.Option(help="Of orderbook, trades and ticker.")
    ] = "orderbook,trades,ticker",
    seconds: Annotated[
        float | None, typer.Option(min=0, help="How long; else until Ctrl-C.")
    ] = None,
    endpoint: Annotated[
        str | None, typer.Option(help="Address instead of the exchange's, http://host:port.")
    ] = None,
    part_mb: Annotated[int, typer.Option(min=1, help="Size at which the next file begins.")] = 256,
) -> None:
    """Write down what an exchange sends, to be played by `realtime replay`; no key is needed."""
    import asyncio  # noqa: PLC0415

    from realtime.model.errors import Refused, VenueRejected  # noqa: PLC0415
    from realtime.venues.ccxt.account import Account  # noqa: PLC0415
    from realtime.venues.ccxt.recording import types_of  # noqa: PLC0415

    wanted, kinds = _listed(symbols), _listed(streams)
    if not wanted or not kinds:
        raise typer.BadParameter("names nothing", param_hint="--symbols")
    account = Account(
        id=venue, exchange=venue, endpoint=endpoint, symbols=wanted, types=types_of(wanted)
    )
    try:
        lines, why = asyncio.run(_record(account, file, wanted, kinds, seconds, part_mb))
    except (Refused, VenueRejected) as error:
        _refuse(str(error))
    print(f"{lines} lines in {file}")
    if why is not None:
        print(f"realtime: the recording ended early: {why}", file=sys.stderr)
        raise SystemExit(1)


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


async def _record(
    account: "Account",
    file: Path,
    symbols: tuple[str, ...],
    streams: tuple[str, ...],
    seconds: float | None,
    part_mb: int,
) -> tuple[int, str | None]:
    """Record until the time is over or a signal comes; give the lines, and why it ended early."""
    import asyncio  # noqa: PLC0415
    import signal  # noqa: PLC0415
    from time import monotonic_ns  # noqa: PLC0415

    from rich.console import Console  # noqa: PLC0415
    from rich.progress import Progress, SpinnerColumn, TextColumn  # noqa: PLC0415

    from realtime.outside import Clock, Outside  # noqa: PLC0415
    from realtime.venues.ccxt.recording import (  # noqa: PLC0415
        Limits,
        RecordedData,
        Recorder,
        record as follow,
    )

    outside = Outside()
    clock = Clock(outside.wall(), monotonic_ns)
    data = RecordedData(
        file,
        account=account,
        now=clock.now,
        sleep=outside.sleep,
        limits=Limits(part_bytes=part_mb * 1_000_000),
    )
    columns = (SpinnerColumn(), TextColumn("{task.description}"))
    console = Console(stderr=True)
    disable = not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=disable) as progress:
        shown = progress.add_task("reading the markets", total=None)

        def told(recorder: Recorder) -> None:
            text = f"{recorder.lines} lines, {recorder.size / 1e6:.1f} MB, part {recorder.part}"
            if recorder.dropped:
                text += f", {recorder.dropped} left out"
            progress.update(shown, description=text)

        here = asyncio.current_task()
        assert here is not None
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, here.cancel)
        with suppress(asyncio.CancelledError):
            await follow(data, symbols, streams, seconds=seconds, sleep=outside.sleep, told=told)
    return data.recorder.lines, data.recorder.failed


def _serve(
    config: Path,
    host: str | None,
    port: int | None,
    data: str | None,
    outside: "Outside",
    venue: str | None = None,
    mode: str | None = None,
) -> None:
    """Run a server until a signal ends it, and turn its end into an exit code."""
    from realtime.serving import run  # noqa: PLC0415

    read = _settings(config, _flags(host, port, data, mode), venue)
    code, reason = run(read, outside, _banner)
    if code == REFUSED:
        _refuse(reason)
    if code:
        print(reason, file=sys.stderr)
        raise SystemExit(code)


def _flags(
    host: str | None, port: int | None, data: str | None, mode: str | None
) -> dict[str, object]:
    """Make settings of the flags that were given."""
    server = {k: v for k, v in (("host", host), ("port", port)) if v is not None}
    given = {"server": server, "store": None if data is None else {"path": data}, "mode": mode}
    # An empty path of a journal is one: it keeps it in memory.
    return {name: value for name, value in given.items() if value}


def _settings(config: Path, flags: Mapping[str, object], venue: str | None = None) -> "Settings":
    """Read the settings, or say what is wrong and leave; with a `venue` only that account of them."""
    import pydantic  # noqa: PLC0415

    from realtime import settings  # noqa: PLC0415

    try:
        if config != settings.FILE and not config.exists():
            _refuse(f"--config: there is no file {config}")
        read = settings.load(config, **flags)
    except pydantic.ValidationError as error:
        _refuse("the settings are wrong:\n  " + "\n  ".join(_wrong(error)))
    except settings.WrongName as error:
        _refuse(f"the settings are wrong:\n  {error}")
    except (OSError, ValueError) as error:
        _refuse(f"{config} cannot be read: {error}")
    try:
        return read if venue is None else settings.only(read, venue)
    except pydantic.ValidationError as error:
        _refuse("the settings are wrong:\n  " + "\n  ".join(f"--venue: {e}" for e in _wrong(error)))


def _wrong(error: "pydantic.ValidationError") -> list[str]:
    """Say of each mistake where it stands and what is wanted there."""
    lines = []
    for one in error.errors():
        said = one["msg"].removeprefix("Value error, ")
        if one["type"] in {"tuple_type", "dict_type", "model_type"} and isinstance(
            one["input"], str
        ):
            said += "; in the environment as JSON, such as " + (
                '["a","b"]' if one["type"] == "tuple_type" else '{"a":"b"}'
            )
        lines.append(": ".join(part for part in (".".join(map(str, one["loc"])), said) if part))
    return lines


def _refuse(reason: str) -> NoReturn:
    print(f"realtime: {reason}", file=sys.stderr)
    raise SystemExit(REFUSED)


def _banner(facts: "dict[str, str]") -> None:
    """Say in a few lines where it is and what it is."""
    width = max(map(len, facts))
    lines = [f"  {name.ljust(width)}  {value}" for name, value in facts.items()]
    print("\n".join(["", *lines, ""]), flush=True)


@app.command()
def tail(
    channels: Annotated[list[str], typer.Argument(help="Such as ticker:BTC/USDT, or orders.")],
    url: Url = LOCAL,
    token: Token = None,
    count: Annotated[int, typer.Option(min=0, help="Stop after so many messages; 0 goes on.")] = 0,
    as_json: AsJson = False,  # noqa: FBT002 - a flag of the command line
) -> None:
    """Watch channels live, as tables; as lines of JSON with --json or into a pipe."""
    import asyncio  # noqa: PLC0415

    with suppress(KeyboardInterrupt):
        _answering(asyncio.run(_tail(channels, url, token, count, plain=as_json)))


@app.command()
def call(
    op: Annotated[str, typer.Argument(help="Such as order.place; `help` lists all.")],
    args: Annotated[
        list[str] | None,
        typer.Argument(
            help="key=value; JSON where it is JSON, order_id='\"7\"' for a text of digits."
        ),
    ] = None,
    url: Url = LOCAL,
    token: Token = None,
    timeout: Annotated[
        float, typer.Option(min=0.01, help="Seconds to wait for the answer.")
    ] = 15.0,
    as_json: AsJson = False,  # noqa: FBT002 - a flag of the command line
) -> None:
    """Send one command and show its answer; exit code 1 when the server says no."""
    import asyncio  # noqa: PLC0415

    given: dict[str, object] = {}
    for name, value in map(_argument, args or ()):
        if name in given:
            raise typer.BadParameter(f"{name} is given twice", param_hint="ARGS")
        given[name] = value
    _answering(asyncio.run(_call(op, given, url, token, timeout, plain=as_json)))


@app.command()
def emulate(
    exchange: Annotated[str, typer.Argument(help="bybit")],
    port: Annotated[int, typer.Option(help="Port to bind; 0 takes a free one.")] = 9000,
    host: Annotated[str, typer.Option(help="Address to bind.")] = "127.0.0.1",
    expose: Annotated[  # noqa: FBT002 - a flag of the command line
        bool, typer.Option("--expose", help="Allow an address that others can reach.")
    ] = False,
    balance: Annotated[
        list[str] | None, typer.Option(help="Such as USDT=10000; may be repeated.")
    ] = None,
    key: Annotated[str, typer.Option(help="API key.")] = "emulated-key",
    secret: Annotated[str, typer.Option(help="Its secret.")] = "emulated-secret",  # noqa: S107
    seed: Annotated[int, typer.Option(help="Of the market.")] = 1,
    limits: Annotated[  # noqa: FBT002 - a flag of the command line
        bool, typer.Option(help="Refuse too many requests a second, as the exchange does.")
    ] = True,
) -> None:
    """Be an exchange: any ccxt client or bot trades on the paper exchange as if it were Bybit."""
    from realtime.emulate import command  # noqa: PLC0415
    from realtime.model.errors import Refused  # noqa: PLC0415

    try:
        options = command.Options(
            exchange=exchange,
            host=host,
            port=port,
            expose=expose,
            key=key,
            secret=secret,
            balances=command.read_balances(balance or ()),
            seed=seed,
            limits=limits,
        )
        command.check(options)
        command.run(options, lambda text: print(text, flush=True))
    except Refused as error:
        _refuse(error.message)
    except OSError as error:
        _refuse(f"{host} port {port} cannot be bound: {error.strerror or error}")


@app.command()
def bench(
    workloads: Annotated[
        list[str] | None,
        typer.Argument(
            help="Of w1 to w6, backtest, books and start; all when left out.", show_default=False
        ),
    ] = None,
    scale: Annotated[str, typer.Option(help="small is quick and proves nothing.")] = "full",
) -> None:
    """Measure beside the comparators and print ratios; exit code 1 when a bound is missed."""
    from realtime.bench.run import SCALES, WORKLOADS, run  # noqa: PLC0415

    if scale not in SCALES:
        _refuse(f"no scale {scale!r}; there are {', '.join(SCALES)}")
    names = [name.lower() for name in workloads or ()]
    if unknown := [name for name in names if name not in WORKLOADS]:
        _refuse(f"no workload {', '.join(unknown)}; there are {', '.join(WORKLOADS)}")
    figures = run(names, SCALES[scale])
    if any(figure.full and not figure.holds for figure in figures):
        raise SystemExit(1)


@app.command()
def doctor(
    config: ConfigFile = Path("realtime.toml"),
    venue: Annotated[
        str | None,
        typer.Option(help="Only this account; a name of ccxt looks at its public data."),
    ] = None,
    host: Host = None,
    port: Port = None,
    data: Data = None,
    mode: Mode = None,
    as_json: AsJson = False,  # noqa: FBT002 - a flag of the command line
) -> None:
    """Say what would fail: port, journal, disk, keys, clock, latency; exit code 1 when something would.

    It takes the flags of `serve`, to judge the server that they would start, and changes nothing, neither here nor at an
    exchange.
    """
    import asyncio  # noqa: PLC0415
    import time  # noqa: PLC0415

    import orjson  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415

    from realtime import doctor as root  # noqa: PLC0415

    read = _settings(config, _flags(host, port, data, mode), venue)
    findings: list[root.Finding] = []

    def found(finding: root.Finding) -> None:
        findings.append(finding)
        if as_json:
            print(orjson.dumps(finding).decode(), flush=True)

    console = Console(width=None if sys.stdout.isatty() else 160)
    with nullcontext() if as_json else console.status("looking"):
        asyncio.run(root.examine(read, found, now=time.time_ns))
    verdict = root.verdict_of(findings)
    if not as_json:
        console.print(_findings(findings))
        console.print(_SUMMARY[verdict])
    if verdict is root.Verdict.BAD:
        raise SystemExit(1)


_SUMMARY: Final[Mapping[str, str]] = {
    "good": "nothing would fail",
    "mind": "it would work; see what is marked",
    "bad": "something would fail; see what is marked",
}
_COLOURS: Final[Mapping[str, str]] = {"good": "green", "mind": "yellow", "bad": "red"}


def _findings(findings: "Sequence[Finding]") -> "RenderableType":
    from rich.markup import escape  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("about", "check", "", "finding"):
        table.add_column(heading, overflow="fold")
    for finding in findings:
        says = escape(finding.says)
        if finding.do:
            says += f"\n→ {escape(finding.do)}"
        colour = _COLOURS[finding.verdict]
        table.add_row(finding.about, finding.check, f"[{colour}]{finding.verdict}[/]", says)
    return table


@journal.command()
def verify(path: Journal) -> None:
    """Prove the hash chain and print the first break; exit code 1 when there is one."""
    from realtime import store  # noqa: PLC0415

    with _store_errors():
        with _counting() as progress:
            verdict = store.verify(path, progress=progress)
        if verdict.ok:
            print(f"whole: {verdict.rows} rows, head {verdict.head}")
            return
        print(
            f"broken at row {verdict.broken_at}: {verdict.reason}; {verdict.rows} rows before it are whole"
        )
    raise SystemExit(1)


@journal.command()
def backup(
    path: Journal, target: Annotated[Path, typer.Argument(help="The copy; replaced if it exists.")]
) -> None:
    """Copy the journal of a stopped server (a running one makes its own backups)."""
    from realtime import store  # noqa: PLC0415

    with _store_errors():
        store.backup(path, target)
        print(f"copied to {target}")


@journal.command()
def recover(
    path: Journal, target: Annotated[Path, typer.Argument(help="The new file; must not exist.")]
) -> None:
    """Salvage what can be read of a damaged journal into a new file."""
    from uuid import uuid4  # noqa: PLC0415

    from realtime import store  # noqa: PLC0415

    with _store_errors():
        with _counting() as progress:
            found = store.recover(
                path, target, new_id=lambda: f"j-{uuid4().hex[:12]}", progress=progress
            )
        print(f"{found.rows} rows and {found.entries} entries of projections are in {target}")
        for first, last in found.missing:
            print(f"missing: rows {first} to {last}")
        for seq in found.altered:
            print(f"altered: row {seq}")
        print("start the server on it: it reconciles everything with the venues first")


@contextmanager
def _counting() -> Iterator[Callable[[int], None]]:
    """Show a person how many rows are done, as far as the caller tells."""
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import Progress, SpinnerColumn, TextColumn  # noqa: PLC0415

    columns = (SpinnerColumn(), TextColumn("{task.completed} rows"))
    console = Console(stderr=True)
    disable = not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=disable) as shown:
        task = shown.add_task("", total=None)
        yield lambda rows: shown.update(task, completed=rows)


@contextmanager
def _store_errors() -> Iterator[None]:
    """Turn what the store says into a line and an exit code."""
    from realtime import store  # noqa: PLC0415

    try:
        yield
    except (store.StoreCorrupt, store.StoreLocked, store.StoreNewer, OSError) as error:
        print(f"realtime: {str(error) or type(error).__name__}", file=sys.stderr)
        raise SystemExit(1) from None


@config_files.command("import")
def import_(
    file: Annotated[
        Path, typer.Argument(help="config.json of the original.", exists=True, dir_okay=False)
    ],
    apply: Annotated[  # noqa: FBT002 - a flag of the command line
        bool, typer.Option("--apply", help="Send it to a running server.")
    ] = False,
    url: Url = LOCAL,
    token: Token = None,
) -> None:
    """Turn the original's configuration into ours: percentages become fractions.

    Prints sections as JSON, as `config.path` of the settings takes them; what has no place is named on standard error.
    """
    import asyncio  # noqa: PLC0415

    import orjson  # noqa: PLC0415

    from realtime.desk.config import original  # noqa: PLC0415

    try:
        found = orjson.loads(file.read_bytes())
    except ValueError as error:
        _refuse(f"{file} is broken: {error}")
    if not isinstance(found, dict):
        _refuse(f"{file} must be an object")
    made = original.read(found)
    for path, why in made.dropped.items():
        print(f"{path} {why}", file=sys.stderr)
    if apply:
        args: dict[str, object] = {"patch": made.patch}
        _answering(asyncio.run(_call("config.update", args, url, token, 15.0, plain=False)))
    else:
        print(orjson.dumps(made.patch, option=orjson.OPT_INDENT_2).decode())


def _answering(code: int) -> None:
    if code:
        raise SystemExit(code)


def _argument(text: str) -> tuple[str, object]:
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
    import shlex  # noqa: PLC0415
    from uuid import uuid4  # noqa: PLC0415

    import orjson  # noqa: PLC0415

    from realtime.client import Closed, CommandError  # noqa: PLC0415
    from realtime.client.commands import identified, reads  # noqa: PLC0415

    me = _client(url, token)
    # Named here, so that a person can ask for the order whatever becomes of the answer.
    args = identified(op, args, lambda: uuid4().hex)

    def doubt() -> None:
        """Say what is not known of a command that went out."""
        if me.connections and not reads(op):
            named = args.get("client_order_id")
            ask = f"; look: realtime call order.get client_order_id={named}" if named else ""
            print(f"realtime: {op} was sent and may have been done{ask}", file=sys.stderr)

    try:
        async with asyncio.timeout(patience), me as client:
            reply = await client.call(op, **args)
    except asyncio.CancelledError:  # Ctrl-C
        doubt()
        raise
    except CommandError as error:
        details = orjson.dumps(error.details).decode() if error.details else ""
        print(
            f"{error.code} ({error.outcome}): {error.message} {details}".rstrip(), file=sys.stderr
        )
        if asked := error.details.get("confirm"):
            # The ids are made here, and what is confirmed is the command with all its arguments.
            more = (
                [f"client_order_id={args['client_order_id']}"] if "client_order_id" in args else []
            )
            if op == "order.batch":
                more.append(shlex.quote(f"items={orjson.dumps(args.get('items')).decode()}"))
            said = " ".join([*more, f"confirm={asked}"])
            print(f"realtime: to confirm, repeat with {said}", file=sys.stderr)
        return 1
    except Closed as error:
        print(f"realtime: {_ended(error)}", file=sys.stderr)
        if error.outcome == "unknown":
            doubt()
        return 1
    except TimeoutError:
        said = f"no answer from {url} in {patience:g} s: {me.trouble}"
        print(f"realtime: {said.removesuffix(': ')}", file=sys.stderr)
        doubt()
        return 1
    if plain:
        print(orjson.dumps({"result": reply.result, "at": reply.at}).decode())
    else:
        from rich.console import Console  # noqa: PLC0415

        console = Console(width=None if sys.stdout.isatty() else 200)
        for name, rows in reply.result.items():
            if _is_rows(rows):
                console.print(_table(name, rows, title=name))
        console.print(_fields({k: v for k, v in reply.result.items() if not _is_rows(v)}))
    return 0


def _client(url: str, token: str | None) -> "Client":
    from realtime.client import Client  # noqa: PLC0415

    try:
        return Client(url, token=token)
    except ValueError as error:
        _refuse(f"{'--token' if str(error).startswith('the token') else '--url'}: {error}")


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
    me = _client(url, token)

    def paint() -> None:
        if live is not None:
            live.update(Group(*(_panel(name, me.stream(name)) for name in names)), refresh=True)

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
        return 1
    except Closed as error:
        print(f"realtime: {_ended(error)}", file=sys.stderr)
        return 1
    except asyncio.CancelledError:
        if not watch.done():
            raise
        return 1  # as the other ways to write into a pipe that nobody reads
    finally:
        watch.cancel()
    return 0


def _is_rows(value: object) -> "TypeGuard[list[object]]":
    return isinstance(value, list) and bool(value) and all(isinstance(row, dict) for row in value)


def _panel(name: str, stream: "Stream | None") -> "RenderableType":
    """Show what is known of a channel."""
    from rich.panel import Panel  # noqa: PLC0415

    from realtime.client import Book  # noqa: PLC0415

    if stream is None:
        return Panel("ended", title=name)
    state = stream.state
    kind = name.partition("?")[0]
    body: RenderableType
    if isinstance(state, Book):
        body = _book(state)
    elif stream.kind == "table" and isinstance(state, Mapping):
        body = _table(kind, list(state.values())[-_ROWS:])
    elif isinstance(state, Mapping):
        body = _fields(state)
    elif isinstance(state, Sequence) and state:
        body = _table(kind, list(state)[-_ROWS:][::-1])
    else:
        body = "nothing yet"
    marks = [
        word for word, shown in (("stale", stream.stale), ("behind", not stream.synced)) if shown
    ]
    return Panel(body, title=" ".join([name, *marks]), title_align="left")


def _book(book: "Book") -> "RenderableType":
    from rich.table import Table  # noqa: PLC0415

    table = Table(box=None)
    bids, asks = book.top(_LEVELS)
    for heading in ("amount", "bid", "ask", "amount"):
        # On a narrow terminal rather the amounts are cut than the prices.
        table.add_column(heading, justify="right", no_wrap=heading != "amount")
    for place in range(max(len(bids), len(asks))):
        bid = bids[place] if place < len(bids) else ("", "")
        ask = asks[place] if place < len(asks) else ("", "")
        table.add_row(bid[1], f"[green]{bid[0]}[/]", f"[red]{ask[0]}[/]", ask[1])
    return table


def _table(kind: str, rows: "Sequence[object]", *, title: str = "") -> "RenderableType":
    """Show rows with the columns that say something; the first ones where there are too many."""
    return _Rows(kind, [row for row in rows if isinstance(row, Mapping)], title)


class _Rows:
    """A table that leaves out columns which have no place, instead of cutting all of them short."""

    def __init__(self, kind: str, rows: "Sequence[Mapping[str, object]]", title: str) -> None:
        self._first = _FIRST.get(kind, "").split()
        self._rows = rows
        self._title = title

    def __rich_console__(
        self, console: "Console", options: "ConsoleOptions"
    ) -> "Iterator[RenderableType]":
        from rich.table import Table  # noqa: PLC0415

        table = Table(box=None, title=self._title or None, title_justify="left")
        room = options.max_width
        names: list[str] = []
        for name in self._names():
            wanted = max(len(name), *(len(_text(name, row.get(name))) for row in self._rows))
            whole = name in _NAMES or name.endswith("_id")
            width = min(wanted if whole else min(wanted, _CELL), max(room - 2, 0))
            # A part of a name cannot be typed, two characters of a time say nothing.
            if names and width < (wanted if whole else min(_LEAST, wanted)):
                continue
            names.append(name)
            table.add_column(name, overflow="ellipsis", no_wrap=True, width=width)
            room -= width + 2
        for row in self._rows:
            table.add_row(*(_text(name, row.get(name)) for name in names))
        yield table

    def _names(self) -> list[str]:
        """Put first what a person looks for, then names, which one types next; what has parts of its own last."""
        found = dict.fromkeys(
            name for row in self._rows for name, value in row.items() if value not in _SILENT
        )
        nested = {
            name
            for row in self._rows
            for name, value in row.items()
            if isinstance(value, dict | list)
        }
        first = [name for name in self._first if name in found]
        rest = sorted(found, key=lambda name: (name in nested, name not in _NAMES))
        return list(dict.fromkeys((*first, *rest)))


def _fields(values: "Mapping[str, object]") -> "RenderableType":
    from rich.table import Table  # noqa: PLC0415

    table = Table(box=None, show_header=False)
    table.add_column()
    table.add_column(overflow="fold")
    for name, value in values.items():
        table.add_row(name, _text(name, value))
    return table


def _text(name: str, value: object) -> str:
    """Show a value as a person reads it: times as clock times, the rest as it was sent."""
    from datetime import UTC, datetime  # noqa: PLC0415

    import orjson  # noqa: PLC0415
    from rich.markup import escape  # noqa: PLC0415

    if value is None:
        return ""
    if name == "fee" and isinstance(value, Mapping) and value.keys() == {"cost", "currency"}:
        return escape(f"{value['cost']} {value['currency']}")
    is_time = name in {"ts", "asof"} or name.endswith(("_ts", "_at"))
    if is_time and isinstance(value, int) and 0 <= value < _LAST_MS:
        stamp = datetime.fromtimestamp(value / 1_000, UTC)
        return stamp.strftime("%Y-%m-%d %H:%M:%S.") + f"{value % 1_000:03d}"
    return escape(value if isinstance(value, str) else orjson.dumps(value).decode())


def main() -> None:
    """Run the command line."""
    # Imports make a hundred thousand objects and no cycle: looked at by sevens of hundreds they take a seventh longer.
    gc.set_threshold(50_000, 20, 100)
    app()
