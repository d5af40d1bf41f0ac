"""All workloads by name, and the run that prints the table. Used by `realtime bench` and the tests."""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from realtime.bench.backtest import backtest
from realtime.bench.books import books
from realtime.bench.build import NoCompilerError
from realtime.bench.fanout import FULL, SMALL, Scale, w1, w2_jobs, w2_w3, w5
from realtime.bench.figures import Figure, table
from realtime.bench.host import machine, pace
from realtime.bench.orders import w4, w5_whole
from realtime.bench.replay import NoRecordingError, w6
from realtime.bench.start import start


Workload = Callable[[Scale], Iterator[Figure]]

WORKLOADS: Final[dict[str, tuple[Workload, ...]]] = {
    "w1": (w1,),
    "w2": (w2_w3, w2_jobs),
    "w3": (w2_w3,),
    "w4": (w4,),
    "w5": (w5, w5_whole),
    "w6": (w6,),
    "backtest": (backtest,),
    "books": (books,),
    "start": (start,),
}
SCALES: Final = {scale.name: scale for scale in (FULL, SMALL)}


def run(names: Sequence[str], scale: Scale, say: Callable[[str], None] = print) -> list[Figure]:
    """Run workloads and print their figures.

    Args:
        names: Of workloads, e.g. `w1`; none runs all.
        scale: How large.
        say: Prints a line.

    Raises:
        KeyError: No such workload.
    """
    chosen = dict.fromkeys(
        part for name in (names or WORKLOADS) for part in WORKLOADS[name.lower()]
    )
    say(machine())
    if scale.full:
        say(pace())
    figures: list[Figure] = []
    for workload in chosen:
        name = workload.__name__.replace("_", " ")
        say(f"{name} ...")
        try:
            figures += workload(scale)
        except (NoCompilerError, NoRecordingError) as reason:
            say(f"{name} skipped: {reason}")
    say(table(figures))
    return figures
