"""Every command of the command line, in the order in which `--help` shows them.

What a command needs is imported inside it, so that `realtime --help` is quick.
"""

from collections.abc import Mapping

import typer

from realtime.cli import export, journal, process, wire


def _group(summary: str) -> typer.Typer:
    return typer.Typer(help=summary, no_args_is_help=True)


def _table(group: typer.Typer, table: Mapping[str, wire.Short]) -> None:
    for name, short in table.items():
        group.command(name)(wire.command(short))


app = typer.Typer(
    name="realtime",
    help="Nexus Realtime: one WebSocket from market to fill.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def common() -> None:
    """Nexus Realtime: one WebSocket from market to fill."""


for local in (process.serve, process.check, process.doctor, process.replay, process.record):
    app.command()(local)
for remote in (wire.tail, wire.call):
    app.command()(remote)
_table(app, wire.TOP)
app.command("export")(export.export)
app.command()(process.emulate)
app.command()(process.bench)

orders = _group("Place, amend, cancel and show orders.")
_table(orders, wire.ORDER)
app.add_typer(orders, name="order")

bots = _group("Start, stop and inspect bots.")
_table(bots, wire.BOTS)
app.add_typer(bots, name="bots")

backtests = _group("Test strategies on historical bars.")
for name, made in (("run", wire.run), ("optimize", wire.optimize), ("get", wire.get)):
    backtests.command(name)(made)
_table(backtests, wire.BACKTEST)
app.add_typer(backtests, name="backtest")

journals = _group("Verify, back up or recover a journal file.")
for kept in (journal.verify, journal.backup, journal.recover):
    journals.command()(kept)
app.add_typer(journals, name="journal")

files = _group("Convert configuration files.")
files.command("import")(wire.import_)
app.add_typer(files, name="config")
