"""Backtests as jobs: queued, run by workers, shown while they run, kept when they are over.

Rules of this file: (1) nothing here computes: bars are read and strategies run in workers (`pool`, `worker`), files are
touched on threads; (2) every state of a job but its progress is journaled before anybody waits for it, and a job that
ran when the process died is `interrupted` at the next start; (3) whatever goes wrong with one job is told by its row.
"""

import asyncio
import logging
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import orjson

from realtime.bots import optimize, series, worker
from realtime.bots.history import History
from realtime.bots.optimize import Constraint, Parameters, Sample
from realtime.bots.pool import Message, Pool
from realtime.bots.series import Series
from realtime.bots.strategies.filters import Filters
from realtime.desk.crew import Crew
from realtime.desk.desk import Desk
from realtime.engine.bars import TIMEFRAMES
from realtime.model.errors import Code, Failure, Refused, invalid
from realtime.model.events import Who
from realtime.model.market import MS
from realtime.store.rows import Projection


logger = logging.getLogger(__name__)

KIND: Final = "backtest"
"""Kind of its rows in the journal."""
RUNNING: Final = 2
"""Jobs at once."""
QUEUED: Final = 50
"""Jobs that may wait."""
KEPT: Final = 500
"""Jobs remembered; beyond it the oldest ended one is deleted."""
POINTS: Final = 2_000
"""Points of a curve that is thinned out."""
ENDED: Final = frozenset({"done", "failed", "canceled", "interrupted"})
Row = dict[str, Any]


# --- what is asked --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Bars:
    """Where the bars of one symbol come from: arrays, the operator's file, or else the venue.

    Attributes:
        given: Bars that were sent with the request.
        file: Name of a file in the folder of bars.
        grid: Of the market: `amount_step`, `min_amount`, `min_cost`.
    """

    symbol: str
    given: Series | None = None
    file: str | None = None
    grid: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What an optimisation wants beside what a run wants.

    Attributes:
        combinations: In the order in which they are tried; those that break a constraint are not among them.
        refused: How many were not, and are not.
    """

    combinations: Sequence[Parameters]
    refused: int
    objective: str
    train_fraction: float
    folds: int
    top: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """One job.

    Attributes:
        terms: As `worker.terms_of` reads them.
        start, end: Opening times of the bars wanted [ns], `end` excluded; None = all there are.
        filters: Before the strategy, those that bots have.
    """

    strategy: str
    parameters: Parameters
    bars: Sequence[Bars]
    timeframe: str
    start: int | None
    end: int | None
    terms: Mapping[str, Any]
    filters: Filters
    search: Search | None = None


def allowed(
    combinations: Sequence[Parameters], constraints: Sequence[Constraint]
) -> list[Parameters]:
    """Keep the combinations that satisfy every constraint."""
    return [one for one in combinations if all(c.holds(one) for c in constraints)]


@dataclass(slots=True)
class _Job:
    row: Row
    task: asyncio.Task[None] | None = None
    canceled: bool = False


# --- the jobs -------------------------------------------------------------------------------------


class Jobs:
    """All backtests, running and over.

    Args:
        desk: Journal, events, clock.
        crew: Owner of their tasks.
        pool: Runs them.
        history: Bars of the venue.
        publish: Takes the id and the row of a job.
        new_id: Makes an id.
        directory: Where results are kept; None keeps them as long as the process lives.
        data: Folder of the operator's files of bars.
        version: Of this code, told with each result.
    """

    def __init__(
        self,
        *,
        desk: Desk,
        crew: Crew,
        pool: Pool,
        history: Callable[[Path], History],
        publish: Callable[[str, Row], None],
        new_id: Callable[[], str],
        directory: Path | None,
        data: Path | None,
        version: str,
    ) -> None:
        self._desk = desk
        self._crew = crew
        self._pool = pool
        self._publish = publish
        self._new_id = new_id
        self._passing = tempfile.mkdtemp(prefix="realtime-") if directory is None else None
        self._directory = directory or Path(str(self._passing))
        self._history = history(self._directory / "bars")
        self._data = data
        self._version = version
        self._jobs: dict[str, _Job] = {}
        self._turn = asyncio.Semaphore(RUNNING)
        self._sweeping: asyncio.Future[None] | None = None

    @property
    def busy(self) -> bool:
        """Whether a worker is at work; for virtual clocks."""
        return self._pool.busy

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers that live."""
        return self._pool.pids

    def __contains__(self, backtest_id: object) -> bool:
        """Whether there is such a job: the hub asks for channels."""
        return backtest_id in self._jobs

    # -- life --------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Read the jobs of earlier lives; what ran then is interrupted."""
        for entry in await self._desk.store.rows("backtests"):
            row: Row = orjson.loads(entry.body)
            if row.get("deleted"):
                continue
            job = self._jobs[entry.key] = _Job(row)
            if row["status"] not in ENDED:
                why = "the server ended while it ran; start it again"
                error = _error(Code.INTERNAL, why, {"reason": "restart"})
                self._end(job, "interrupted", error=error)
                # Killed, it had no time to: bars that came with a request are up to 24 MB a symbol.
                await asyncio.to_thread(shutil.rmtree, self._work_of(entry.key), ignore_errors=True)
            else:
                self._publish(entry.key, dict(row))

    async def close(self) -> None:
        """End what runs, which the next start finds `interrupted`, and the workers."""
        running = [job.task for job in self._jobs.values() if job.task is not None]
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)
        await self._pool.close()
        if self._passing is not None:
            await asyncio.to_thread(shutil.rmtree, self._passing, ignore_errors=True)

    # -- reading -----------------------------------------------------------------------------------

    def get(self, backtest_id: str) -> Row:
        """Give the row of a job.

        Raises:
            Refused: `not_found`.
        """
        return dict(self._job(backtest_id).row)

    def page(self, limit: int, before: str | None) -> tuple[list[Row], str | None]:
        """List rows, newest first; `before` is the id a page ended with.

        Raises:
            Refused: `invalid`, for a cursor that is none.
        """
        ids = list(reversed(self._jobs))
        if before is not None and before not in self._jobs:
            raise invalid("cursor", "is not a next_cursor of an earlier reply")
        first = 0 if before is None else ids.index(before) + 1
        chosen = ids[first : first + limit]
        more = first + limit < len(ids)
        return [dict(self._jobs[i].row) for i in chosen], chosen[-1] if more else None

    async def equity(
        self, backtest_id: str, step: int | None, first: int, most: int
    ) -> tuple[list[tuple[int, float, float]], int | None]:
        """Read the curve of a run; see `worker.read_equity`.

        Raises:
            Refused: `not_found`; `conflict`, while there is none.
        """
        base, row = self._result(backtest_id)
        capital = row["terms"]["initial_capital"]
        return await asyncio.to_thread(
            worker.read_equity, base, capital, step, first, most if step else POINTS
        )

    async def trades(
        self, backtest_id: str, at: int, most: int
    ) -> tuple[list[Mapping[str, object]], int | None]:
        """Read trades of a run; see `worker.read_trades`.

        Raises:
            Refused: `not_found`; `conflict`, while there are none.
        """
        base, _ = self._result(backtest_id)
        return await asyncio.to_thread(worker.read_trades, base, at, most)

    def _result(self, backtest_id: str) -> tuple[Path, Row]:
        row = self._job(backtest_id).row
        if row["kind"] != "run" or row["status"] != "done":
            raise Refused(
                Code.CONFLICT,
                f"backtest {backtest_id} has no curve and no trades: it is {row['status']}, "
                f"its kind is {row['kind']}",
                {"status": row["status"]},
            )
        return self._base(backtest_id), row

    def _base(self, backtest_id: str) -> Path:
        return self._directory / "results" / backtest_id

    def _work_of(self, backtest_id: str) -> Path:
        return self._directory / "work" / backtest_id

    def _job(self, backtest_id: str) -> _Job:
        job = self._jobs.get(backtest_id)
        if job is None:
            raise Refused(Code.NOT_FOUND, f"no backtest {backtest_id}", {"what": "backtest"})
        return job

    # -- changing ----------------------------------------------------------------------------------

    def start(self, spec: Spec, who: Who) -> Row:
        """Queue a job.

        Raises:
            Refused: `busy`, when too many wait or the server stops.
        """
        waiting = sum(job.row["status"] == "queued" for job in self._jobs.values())
        if waiting >= QUEUED:
            raise Refused(
                Code.BUSY,
                f"{waiting} backtests are queued already; the maximum is {QUEUED}",
                retry_after=5.0,
            )
        self._desk.check_room()
        self._make_room()
        job = _Job(self._first_row(spec))
        key: str = job.row["id"]
        self._jobs[key] = job
        self._record(job)
        self._desk.note(
            "backtest_started",
            {"id": key, "kind": job.row["kind"], "strategy": spec.strategy},
            who,
        )
        job.task = self._crew.spawn(self._work(job, spec, who), f"backtest {key}")
        return dict(job.row)

    def _first_row(self, spec: Spec) -> Row:
        search = spec.search
        return {
            "id": self._new_id(),
            "kind": "run" if search is None else "optimize",
            "strategy": spec.strategy,
            "symbol": spec.bars[0].symbol,
            "symbols": [bars.symbol for bars in spec.bars],
            "timeframe": spec.timeframe,
            "start_ts": None if spec.start is None else spec.start // MS,
            "end_ts": None if spec.end is None else spec.end // MS,
            "parameters": dict(spec.parameters),
            "filters": asdict(spec.filters),
            "terms": dict(spec.terms),
            "look_ahead": spec.terms["fill"] == "close",
            "status": "queued",
            "progress": 0.0,
            "partial": None,
            "error": None,
            "results": None,
            "created_ts": self._desk.now() // MS,
            "started_ts": None,
            "finished_ts": None,
            "version": self._version,
        }

    async def cancel(self, backtest_id: str) -> Row:
        """End a job and give its last row; one that is over stays as it is.

        Raises:
            Refused: `not_found`.
        """
        job = self._job(backtest_id)
        if job.task is not None and job.row["status"] not in ENDED:
            job.canceled = True
            job.task.cancel()
            await asyncio.wait([job.task])
        return dict(job.row)

    async def delete(self, backtest_id: str) -> Row:
        """End a job if it runs, and forget it with its files; gives its last row.

        Raises:
            Refused: `not_found`; `busy`, where the journal has no room.
        """
        self._job(backtest_id)
        self._desk.check_room()
        row = await self.cancel(backtest_id)
        if backtest_id in self._jobs:
            self._strike(backtest_id)
            await self._desk.settled()  # else a restart might have the row, and no files
            await asyncio.to_thread(self._remove, backtest_id)
        return row | {"deleted": True}

    def _make_room(self) -> None:
        """Forget the oldest jobs that are over, where there are too many."""
        spare = len(self._jobs) - KEPT + 1
        old = [key for key, job in self._jobs.items() if job.row["status"] in ENDED]
        for key in old[: max(spare, 0)]:
            self._strike(key)
            self._crew.spawn(asyncio.to_thread(self._remove, key), f"remove {key}")

    def _strike(self, backtest_id: str) -> None:
        body = orjson.dumps({"id": backtest_id, "deleted": True})
        self._desk.store.append(
            KIND, backtest_id, body, None, [Projection("backtests", backtest_id, self._desk.now())]
        )
        self._publish(backtest_id, self._jobs.pop(backtest_id).row | {"deleted": True})

    def _remove(self, backtest_id: str) -> None:
        for suffix in (".equity", ".trades"):
            self._base(backtest_id).with_suffix(suffix).unlink(missing_ok=True)

    # -- what becomes of a job -----------------------------------------------------------------------

    def _record(self, job: _Job) -> None:
        """Journal and show a row."""
        row = dict(job.row)
        key: str = row["id"]
        at = row["created_ts"] * MS
        # Safety: what became of a job is a fact, and facts are not refused because others are fast.
        try:
            self._desk.store.append(
                KIND, key, orjson.dumps(row), None, [Projection("backtests", key, at)], safety=True
            )
        except Refused as refused:
            # The job goes on all the same; a restart finds it where the row before has left it.
            logger.warning("not journaled: %s", refused.message, extra={"trace": key})
            self._desk.no_room()
        self._publish(key, row)

    def _end(self, job: _Job, status: str, **change: object) -> None:
        job.row |= {"status": status, "finished_ts": self._desk.now() // MS, **change}
        self._record(job)

    def _told(self, job: _Job, message: Message) -> None:
        """Take a worker's word on a run."""
        self._show(job, message["progress"], message["partial"])

    def _show(self, job: _Job, progress: float, partial: object) -> None:
        job.row |= {"progress": round(progress, 4), "partial": partial}
        self._publish(job.row["id"], dict(job.row))

    async def _work(self, job: _Job, spec: Spec, who: Who) -> None:
        """Live through a job, whatever comes."""
        work = self._work_of(job.row["id"])
        try:
            async with self._turn:
                job.row |= {"status": "running", "started_ts": self._desk.now() // MS}
                self._record(job)
                await self._carry_out(job, spec, work)
        except Failure as error:
            self._end(job, "failed", error=_error(error.code, error.message, error.details))
        except OSError as error:
            self._end(job, "failed", error=_error(Code.INTERNAL, f"files: {error}"))
        except Exception:  # rule 3: also our own faults stay with their job
            logger.exception("backtest failed", extra={"trace": job.row["id"]})
            self._end(job, "failed", error=_error(Code.INTERNAL, "our fault; the log has it"))
        except asyncio.CancelledError:
            if not job.canceled:
                raise  # the server ends: the next start says so
            self._end(job, "canceled")
        finally:
            # Not awaited, for a canceled task may not wait: it is a small folder, on a thread's time.
            loop = asyncio.get_running_loop()
            self._sweeping = loop.run_in_executor(
                None, partial(shutil.rmtree, work, ignore_errors=True)
            )
        self._desk.note(
            "backtest_completed",
            {"id": job.row["id"], "status": job.row["status"], "strategy": spec.strategy},
            who,
        )

    async def _carry_out(self, job: _Job, spec: Spec, work: Path) -> None:
        task: Row = {
            "lanes": [await self._lane(spec, bars, work) for bars in spec.bars],
            "strategy": spec.strategy,
            "parameters": dict(spec.parameters),
            "filters": asdict(spec.filters),
            "terms": spec.terms,
        }
        if spec.search is None:
            whole = task | {"kind": "run", "out": str(self._base(job.row["id"]))}
            results = dict(await self._pool.run(whole, partial(self._told, job)))
            span = {name: results.pop(name) for name in ("start_ts", "end_ts")}
        else:
            results, span = await self._search(job, spec.search, task)
        self._end(job, "done", progress=1.0, partial=None, results=results, **span)

    async def _lane(self, spec: Spec, bars: Bars, work: Path) -> dict[str, object]:
        """Say where a worker finds the bars of one symbol."""
        lane: dict[str, object] = {
            "symbol": bars.symbol,
            "length": TIMEFRAMES[spec.timeframe],
            "grid": bars.grid,
            "start": spec.start,
            "end": spec.end,
        }
        if bars.given is not None:
            path = work / f"given-{bars.symbol.encode().hex()}.bars"
            await asyncio.to_thread(series.write, path, bars.given)
            return lane | {"files": [str(path)]}
        if bars.file is not None:
            return lane | {"csv": str(await asyncio.to_thread(self._inside, bars.file))}
        assert spec.start is not None
        assert spec.end is not None
        found = await self._history.files(bars.symbol, spec.timeframe, spec.start, spec.end, work)
        return lane | {"files": [str(path) for path in found]}

    def _inside(self, name: str) -> Path:
        """Find a file in the folder of bars, and nowhere else."""
        missing = Refused(Code.NOT_FOUND, f"no file {name[:64]!r}", {"what": "file"})
        if self._data is None:
            raise missing
        folder = self._data.resolve()
        path = (folder / name).resolve()
        if not path.is_relative_to(folder) or not path.is_file():
            raise missing
        return path

    # -- optimisation --------------------------------------------------------------------------------

    async def _search(self, job: _Job, search: Search, task: Row) -> tuple[Row, Row]:
        """Try all combinations, as many at once as there are workers."""
        looked = await self._pool.run(task | {"kind": "bars"}, _ignore)
        windows = optimize.windows(looked["bars"][0], search.train_fraction, search.folds)
        tried: dict[int, Sequence[Sample]] = {}
        skipped: Counter[str] = Counter({"constraint": search.refused} if search.refused else {})
        errors: list[Refused] = []
        left = iter(enumerate(search.combinations))
        ended = 0
        clock, shown = asyncio.get_running_loop().time, -worker.PACE_S

        async def feed() -> None:
            nonlocal ended, shown
            for place, parameters in left:
                one = task | {
                    "kind": "try",
                    "parameters": task["parameters"] | parameters,
                    "windows": [list(window) for window in windows],
                }
                try:
                    found = await self._pool.run(one, _ignore)
                except Refused as error:
                    if error.code is not Code.INVALID or (error.details or {}).get("reason"):
                        errors.append(error)
                        return
                    skipped["failed"] += 1
                else:
                    if found["samples"] is None:
                        skipped["parameters"] += 1
                    else:
                        tried[place] = [Sample(*pair) for pair in found["samples"]]
                ended += 1
                # Short ones end by the hundred a second: nobody needs to be woken for each.
                if clock() - shown >= worker.PACE_S or ended == len(search.combinations):
                    shown = clock()
                    so_far = {"tried": len(tried), **skipped}
                    self._show(job, ended / len(search.combinations), so_far)
                if errors:
                    return

        async with asyncio.TaskGroup() as group:
            for _ in range(self._pool.size):
                group.create_task(feed())
        if errors:
            raise errors[0]
        if not tried:
            raise Refused(
                Code.INVALID,
                "no combination could be run",
                {"skipped": dict(skipped), "what": "strategy"},
            )
        ranked = optimize.summarise(
            [(search.combinations[place], tried[place]) for place in sorted(tried)],
            search.objective,
            search.top,
        )
        results = {
            **ranked,
            "tried": len(tried),
            "skipped": dict(sorted(skipped.items())),
            "windows": [w._asdict() for w in windows],
            "bars": looked["bars"][0],
        }
        return results, {"start_ts": looked["start_ts"], "end_ts": looked["end_ts"]}


def _error(code: Code, message: str, details: Mapping[str, object] | None = None) -> Row:
    return {"code": code, "message": message, "details": details}


def _ignore(_message: Message) -> None:
    """A combination is short: its end is its progress."""
