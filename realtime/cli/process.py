"""Commands that are done here: servers, recordings, measurements, and what looks at the settings."""

import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from realtime.cli.exits import Exit
from realtime.cli.options import AsJson, ConfigFile, Data, Host, Mode, Port, mute, refuse, tell


if TYPE_CHECKING:  # what only signatures name must not slow down `--help`
    import pydantic
    from rich.console import RenderableType

    from realtime.doctor import Finding
    from realtime.outside import Outside
    from realtime.settings import Settings
    from realtime.venues.ccxt.account import Account


def serve(
    config: ConfigFile = Path("realtime.toml"),
    host: Host = None,
    port: Port = None,
    data: Data = None,
    venue: Annotated[
        str | None,
        typer.Option(
            help="Run only this account: the id of a configured venue, or an exchange by its ccxt "
            "name, such as kraken. paper is the embedded exchange."
        ),
    ] = None,
    mode: Mode = None,
) -> None:
    """Run the server: embedded paper exchange, paper trading on live prices, or real trading."""
    from realtime.outside import Outside  # noqa: PLC0415

    _serve(config, host, port, data, Outside(), venue, mode)


def replay(
    file: Annotated[Path, typer.Argument(help="A recorded session.", exists=True, dir_okay=False)],
    speed: Annotated[
        str,
        typer.Option(
            help="1 is the original pace, 10 is ten times as fast, max is as fast as possible."
        ),
    ] = "1",
    config: ConfigFile = Path("realtime.toml"),
    host: Host = None,
    port: Port = None,
    data: Data = "",
) -> None:
    """Play back a recorded session, with a paper account that trades against it."""
    from realtime.outside import replaying  # noqa: PLC0415

    try:
        pace = None if speed == "max" else float(speed)
    except ValueError:
        raise typer.BadParameter("is a number such as 10, or max", param_hint="--speed") from None
    if pace is not None and not 0 < pace <= 1000:
        raise typer.BadParameter("must be above 0 and at most 1000", param_hint="--speed")
    _serve(config, host, port, data, replaying(file, pace))


def record(
    venue: Annotated[str, typer.Argument(help="ccxt name of the exchange, such as kraken.")],
    file: Annotated[Path, typer.Argument(help="File to create, such as btc.jsonl.gz.")],
    symbols: Annotated[
        str, typer.Option(help="Comma-separated markets, such as BTC/USDT,ETH/USDT.")
    ],
    streams: Annotated[
        str, typer.Option(help="Comma-separated, from: orderbook, trades, ticker.")
    ] = "orderbook,trades,ticker",
    seconds: Annotated[
        float | None, typer.Option(min=0, help="Duration in seconds; default: until Ctrl-C.")
    ] = None,
    endpoint: Annotated[
        str | None,
        typer.Option(help="Use this address, http://host:port, instead of the exchange's."),
    ] = None,
    part_mb: Annotated[
        int, typer.Option(min=1, help="Size in MB at which the next file begins.")
    ] = 256,
) -> None:
    """Record the data an exchange sends, for `realtime replay`; no key is needed."""
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
        refuse(str(error))
    print(f"{lines} lines in {file}")
    if why is not None:
        print(f"realtime: the recording ended early: {why}", file=sys.stderr)
        raise SystemExit(Exit.NO)


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
    if code == Exit.USAGE:
        refuse(reason)
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


class Wrong(Exception):
    """Settings that cannot be used.

    Attributes:
        lines: Each fault, with the setting's name.
    """

    def __init__(self, head: str, *lines: str) -> None:
        super().__init__("\n  ".join([head, *lines]) if lines else head)
        self.lines = lines or (head,)


def _settings(config: Path, flags: Mapping[str, object], venue: str | None = None) -> "Settings":
    """Read the settings, or say what is wrong and leave; with a `venue` only that account of them."""
    try:
        return _loaded(config, flags, venue)
    except Wrong as error:
        refuse(str(error))


def _loaded(config: Path, flags: Mapping[str, object], venue: str | None) -> "Settings":
    """Read the settings.

    Raises:
        Wrong: With all that is wrong.
    """
    import pydantic  # noqa: PLC0415

    from realtime import settings  # noqa: PLC0415

    head = "the settings are wrong:"
    try:
        if config != settings.FILE and not config.exists():
            raise Wrong(f"--config: there is no file {config}")
        read = settings.load(config, **flags)
    except pydantic.ValidationError as error:
        raise Wrong(head, *_wrong(error)) from None
    except settings.WrongName as error:
        raise Wrong(head, str(error)) from None
    except (OSError, ValueError) as error:
        raise Wrong(f"{config} cannot be read: {error}") from None
    try:
        return read if venue is None else settings.only(read, venue)
    except pydantic.ValidationError as error:
        raise Wrong(head, *(f"--venue: {line}" for line in _wrong(error))) from None


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


def _banner(facts: "dict[str, str]") -> None:
    """Say in a few lines where it is and what it is."""
    width = max(map(len, facts))
    lines = [f"  {name.ljust(width)}  {value}" for name, value in facts.items()]
    said = "\n".join(["", *lines, ""])
    try:
        print(said, flush=True)
    except OSError:
        # A full disk behind standard output, or nobody who reads it: no reason to end, and a token is told only now.
        mute()
        tell(said)


def emulate(
    exchange: Annotated[str, typer.Argument(help="Exchange to emulate: bybit.")],
    port: Annotated[int, typer.Option(help="Port to bind; 0 picks a free one.")] = 9000,
    host: Annotated[str, typer.Option(help="Address to bind.")] = "127.0.0.1",
    expose: Annotated[  # noqa: FBT002 - a flag of the command line
        bool, typer.Option("--expose", help="Allow a --host that other machines can reach.")
    ] = False,
    balance: Annotated[
        list[str] | None, typer.Option(help="Starting balance, such as USDT=10000; repeatable.")
    ] = None,
    key: Annotated[str, typer.Option(help="API key that clients use.")] = "emulated-key",
    secret: Annotated[str, typer.Option(help="Secret of that key.")] = "emulated-secret",  # noqa: S107
    seed: Annotated[int, typer.Option(help="Random seed of the market.")] = 1,
    limits: Annotated[  # noqa: FBT002 - a flag of the command line
        bool, typer.Option(help="Enforce the exchange's request rate limits.")
    ] = True,
) -> None:
    """Emulate an exchange: ccxt clients and bots trade on the paper exchange as if it were Bybit."""
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
        refuse(error.message)
    except OSError as error:
        refuse(f"{host} port {port} cannot be bound: {error.strerror or error}")


def bench(
    workloads: Annotated[
        list[str] | None,
        typer.Argument(
            help="Any of w1 to w6, backtest, books, start; default: all.", show_default=False
        ),
    ] = None,
    scale: Annotated[
        str, typer.Option(help="full, or small: a quick check without meaningful figures.")
    ] = "full",
) -> None:
    """Run the benchmarks next to their comparators and print ratios; exit code 1 if a bound is missed."""
    from realtime.bench.run import SCALES, WORKLOADS, run  # noqa: PLC0415

    if scale not in SCALES:
        refuse(f"no scale {scale!r}; there are {', '.join(SCALES)}")
    names = [name.lower() for name in workloads or ()]
    if unknown := [name for name in names if name not in WORKLOADS]:
        refuse(f"no workload {', '.join(unknown)}; there are {', '.join(WORKLOADS)}")
    figures = run(names, SCALES[scale])
    if any(figure.full and not figure.holds for figure in figures):
        raise SystemExit(Exit.NO)


def doctor(
    config: ConfigFile = Path("realtime.toml"),
    venue: Annotated[
        str | None,
        typer.Option(help="Check only this account; a ccxt name checks public data."),
    ] = None,
    host: Host = None,
    port: Port = None,
    data: Data = None,
    mode: Mode = None,
    as_json: AsJson = False,  # noqa: FBT002 - a flag of the command line
) -> None:
    """Check what would fail: port, journal, disk, keys, clock, latency; exit code 1 if something would.

    Takes the flags of `serve` and checks the server they would start. Changes nothing, here or at an exchange.
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
        raise SystemExit(Exit.NO)


def check(
    config: ConfigFile = Path("realtime.toml"),
    venue: Annotated[
        str | None, typer.Option(help="Check only this account, as in `realtime serve --venue`.")
    ] = None,
    host: Host = None,
    port: Port = None,
    data: Data = None,
    mode: Mode = None,
    as_json: AsJson = False,  # noqa: FBT002 - a flag of the command line
) -> None:
    """Validate the configuration and list the files it uses; exit code 2 if something is wrong.

    Takes the flags of `serve`. Opens, binds, writes and sends nothing; `realtime doctor` checks the environment, too.
    """
    import orjson  # noqa: PLC0415

    from realtime.cli import checking, drawing  # noqa: PLC0415

    read: Settings | None = None
    faults: list[str] = []
    try:
        read = _loaded(config, _flags(host, port, data, mode), venue)
    except Wrong as error:
        faults += error.lines
    else:
        faults += checking.faults(read)
    paths = checking.paths(config, read)
    names = checking.variables()
    if as_json:
        found = {"ok": not faults, "paths": paths, "environment": names, "faults": faults}
        print(orjson.dumps(found).decode())
    else:
        drawing.show({"paths": paths, "environment": names})
        for fault in faults:
            print(f"realtime: {fault}", file=sys.stderr)
        if not faults:
            print("the configuration is valid")
    if faults:
        raise SystemExit(Exit.USAGE)


_SUMMARY: Final[Mapping[str, str]] = {
    "good": "all checks passed",
    "mind": "this would work; see the marked lines",
    "bad": "something would fail; see the marked lines",
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
