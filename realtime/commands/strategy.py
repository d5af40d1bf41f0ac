"""Ops of strategies: what there is, with which parameters, and what they say now."""

import asyncio
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Annotated, Final

from pydantic import Field

from realtime.bots.loading import Strategies, placed
from realtime.bots.minds import Mind, StrategyFailed, filters_of
from realtime.bots.strangers import STRANGERS
from realtime.bots.strategy import Strategy
from realtime.commands import naming
from realtime.commands.indicator import Bars, BarsParams, Told
from realtime.commands.order import Fields
from realtime.commands.params import ChangeParams, Name, Params, Symbol
from realtime.commands.registry import Answer, Call, Op
from realtime.desk.config.book import ConfigBook
from realtime.desk.desk import Desk
from realtime.engine.combine import Combined, Method, Weight, combine, opinion
from realtime.engine.market import plain
from realtime.model.errors import Code, Refused
from realtime.model.market import MS
from realtime.model.signals import Action, Ohlcv, Signal


PATIENCE_S: Final = 10.0
"""How long the strategies of one question may take together, and the operator's files to load."""
ANALYSES: Final = 4
"""Questions whose strategies run at the same time."""


class NameParams(Params):
    """Which strategy."""

    name: Name


class SchemaParams(Params):
    """Which strategy; all without arguments."""

    name: Name | None = None


class AnalyzeParams(BarsParams):
    """Which strategies with which parameters, on which bars; those in use without `strategies`."""

    symbol: Symbol
    limit: Annotated[int, Field(ge=1, le=1500)] = 100
    strategies: (
        Annotated[
            dict[Name, Annotated[dict[str, object], Field(max_length=64)]],
            Field(min_length=1, max_length=32),
        ]
        | None
    ) = None


class StrategyOps:
    """The handlers."""

    def __init__(
        self,
        desk: Desk,
        book: ConfigBook,
        strategies: Strategies,
        bars: Bars,
        *,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._desk = desk
        self._book = book
        self._strategies = strategies
        self._bars = bars
        self._patience_s = patience_s
        self._loading = False
        self._running = 0

    # -- what there is -----------------------------------------------------------------------------

    def names(self, _call: Call[Params]) -> Answer:
        """List strategies, and files that failed."""
        return Answer(result=self._listing())

    def _listing(self) -> Fields:
        return {
            "strategies": [self._row(name) for name in self._strategies.names()],
            "failed": self._failed(),
        }

    def _failed(self) -> list[Fields]:
        return [{"file": file, "error": error} for file, error in self._strategies.failed().items()]

    def _row(self, name: str) -> Fields:
        known = self._strategies.get(name)
        use = self._book.current.strategies.get(name)
        return {
            "id": name,
            "description": known.made.summary,
            "source": known.source,
            "parameters": known.schema,
            "defaults": known.defaults,
            "warmup": known.warmup,
            "enabled": use is not None and use.enabled,
            "weight": 0.0 if use is None else use.weight,
            "min_confidence": None if use is None else use.min_confidence,
        }

    def get(self, call: Call[NameParams]) -> Answer:
        """Give one strategy, with the parameters it would run with."""
        row = self._row(call.params.name)
        try:
            row |= {"effective": self._book.parameters(call.params.name), "error": None}
        except Refused as refused:
            row |= {"effective": None, "error": refused.message}
        return Answer(result=row)

    def schema(self, call: Call[SchemaParams]) -> Answer:
        """Give the JSON schemas of parameters, by strategy."""
        name = call.params.name
        names = self._strategies.names() if name is None else [name]
        return Answer(result={"schemas": {n: self._strategies.get(n).schema for n in names}})

    async def reload(self, call: Call[ChangeParams]) -> Answer:
        """Read the operator's files anew, on a thread; bots that run keep what they have."""
        if self._loading:
            raise Refused(Code.BUSY, "the files are already being read", retry_after=PATIENCE_S)
        before = dict.fromkeys(self._strategies.names())
        loop = asyncio.get_running_loop()
        self._loading = True
        work = loop.run_in_executor(STRANGERS, self._strategies.reload)
        # A file that never ends keeps its thread; nobody may start a second beside it.
        work.add_done_callback(self._loaded)
        done, _ = await asyncio.wait({work}, timeout=self._patience_s)
        if not done:
            raise Refused(
                Code.BUSY,
                f"a file did not load within {self._patience_s:g} s; what was known before stays",
                retry_after=PATIENCE_S,
            )
        work.result()
        names = self._strategies.names()
        changes: Fields = {
            "added": [name for name in names if name not in before],
            "removed": [name for name in before if name not in names],
            "failed": self._failed(),
        }
        self._desk.note("strategies_reloaded", changes, naming.who_of(call))
        return Answer(result=self._listing() | changes)

    def _loaded(self, _work: object) -> None:
        self._loading = False

    # -- what they say -----------------------------------------------------------------------------

    async def analyze(self, call: Call[AnalyzeParams]) -> Answer:
        """Tell what strategies say after the newest bar, each and together."""
        params = call.params
        made, failed = self._made(params.strategies)
        told = await self._bars.told(params)
        said: dict[str, Signal] = {}
        if made:
            found = await self._run(made, told.bars)
            said = {n: one for n, one in found.items() if isinstance(one, Signal)}
            failed |= {n: one for n, one in found.items() if isinstance(one, str)}
        return Answer(result=self._analysis(told, made, said, failed))

    def _made(
        self, asked: Mapping[str, Mapping[str, object]] | None
    ) -> tuple[dict[str, Strategy], dict[str, str]]:
        """Make the strategies; what the caller got wrong is refused, what the configuration got wrong is told.

        Raises:
            Refused: `not_found` for a strategy; `invalid`, naming `strategies.NAME.PARAMETER`.
        """
        config = self._book.current
        filters = filters_of(config)
        made: dict[str, Strategy] = {}
        failed: dict[str, str] = {}
        for name, own in (asked or {name: {} for name in config.enabled}).items():
            try:
                accepts = self._strategies.get(name).made.Params.model_fields
                base = config.parameters(name, accepts)
                made[name] = self._strategies.make(name, base | dict(own), filters)
            except Refused as refused:
                if asked is not None:
                    raise placed(refused, f"strategies.{name}") from None
                failed[name] = refused.message
        return made, failed

    async def _run(
        self, made: Mapping[str, Strategy], bars: Sequence[Ohlcv]
    ) -> Mapping[str, Signal | str]:
        """Tell them the bars, on a thread, because they are anybody's code.

        Raises:
            Refused: `busy` while too many threads are at it.
        """
        if self._running >= ANALYSES:
            raise Refused(
                Code.BUSY, f"{ANALYSES} analyses are running already", retry_after=PATIENCE_S
            )
        work = asyncio.get_running_loop().run_in_executor(STRANGERS, run, made, bars)
        self._running += 1
        # One that never ends keeps its thread, and counts for ever.
        work.add_done_callback(self._ended)
        done, _ = await asyncio.wait({work}, timeout=self._patience_s)
        late = f"took over {self._patience_s:g} s"
        return work.result() if done else dict.fromkeys(made, late)

    def _ended(self, _work: object) -> None:
        self._running -= 1

    def _analysis(
        self,
        told: Told,
        made: Mapping[str, Strategy],
        said: Mapping[str, Signal],
        failed: Mapping[str, str],
    ) -> Fields:
        assert told.market is not None
        combined = self._combined(said)
        each: Fields = {name: signal_row(one) for name, one in said.items()}
        for name, error in failed.items():
            each[name] = {"error": error, "action": Action.HOLD, "confidence": 0.0}
        cold = {n: one.warmup for n, one in made.items() if one.warmup > len(told.bars)}
        return {
            "symbol": told.market.symbol,
            "timeframe": told.timeframe,
            "bars": len(told.bars),
            "gaps": list(told.gaps),
            "current_price": self._price(told),
            "ts": self._desk.now() // MS,
            "individual_signals": each,
            "combined_signal": combined_row(combined),
            "portfolio_summary": self._portfolio(),
            "strategies_analyzed": len(each),
            "valid_signals": len(said),
            "recommendations": self._advice(combined, cold, len(told.bars), failed),
        }

    def _combined(self, said: Mapping[str, Signal]) -> Combined:
        """Weigh them as the configuration does; strategies that were asked for by name all count."""
        config = self._book.current
        uses = {name: config.strategies.get(name) for name in said}
        weights = {name: 0.0 if use is None else use.weight for name, use in uses.items()}
        total = sum(weights.values())
        known = {
            name: Weight(
                weight=weights[name] / total if total else 1 / len(said),
                min_confidence=0.5 if use is None else use.min_confidence,
            )
            for name, use in uses.items()
        }
        return combine(
            [opinion(name, one) for name, one in said.items()],
            known,
            Method(config.probability.combination_method),
        )

    def _price(self, told: Told) -> str | None:
        """The last price: of the market's ticker, or the last close."""
        assert told.market is not None
        ticker = self._desk.engine.tickers.get(told.market.symbol)
        # Own bars are of any time; their price is that of the last of them.
        if ticker is not None and ticker.daily.last is not None and not told.own:
            return ticker.daily.last
        return plain(Decimal(repr(told.bars[-1].close))) if told.bars else None

    def _portfolio(self) -> Fields:
        """The figures of the portfolio, without its rows."""
        row = self._desk.outlet.portfolio_row()
        return {k: v for k, v in row.items() if not isinstance(v, list | dict | tuple)}

    def _advice(
        self, combined: Combined, cold: Mapping[str, int], bars: int, failed: Mapping[str, str]
    ) -> list[str]:
        """Say in words what a bot would make of it."""
        limits = self._book.current.probability
        least = {
            Action.BUY: limits.confidence_threshold_buy,
            Action.SELL: limits.confidence_threshold_sell,
            Action.HOLD: limits.confidence_threshold_hold,
        }[combined.action]
        score, most = combined.risk_score, limits.risk_score_threshold
        sure = f"confidence {combined.confidence:.3f}"
        said: list[str] = []
        if combined.action is Action.HOLD:
            said.append(f"hold: {combined.reason or 'neither buy nor sell is likelier'}")
        elif combined.confidence < least:
            said.append(f"hold: {combined.action} with {sure} is below {least:g}")
        elif score > most:
            said.append(f"hold: {combined.action}, but risk score {score:.3f} is above {most:g}")
        else:
            said.append(f"{combined.action}: {sure} reaches {least:g}, risk {combined.risk_level}")
        said += [f"{name} needs {need} bars, there are {bars}" for name, need in cold.items()]
        said += [f"{name} failed: {error}" for name, error in failed.items()]
        return said


def run(made: Mapping[str, Strategy], bars: Sequence[Ohlcv]) -> dict[str, Signal | str]:
    """Tell each strategy the bars; give what it says after the last, or how it failed."""
    found: dict[str, Signal | str] = {}
    for name, strategy in made.items():
        mind = Mind({name: strategy}, keep=1)
        try:
            for bar in bars:
                mind.feed(bar)
            said = mind.signals()
        except StrategyFailed as error:
            found[name] = str(error)
        else:
            found[name] = said.get(name, "there are no bars")
    return found


def signal_row(signal: Signal) -> Fields:
    """Make the wire row of what one strategy says."""
    chances = signal.probabilities
    return {
        "action": signal.action,
        "confidence": signal.confidence,
        "position_size": signal.position_size,
        "metadata": {
            "probability_buy": chances.buy,
            "probability_sell": chances.sell,
            "probability_hold": chances.hold,
            "conviction": signal.conviction,
            "indicators": dict(signal.indicators),
            "reason": signal.reason,
        },
    }


def combined_row(combined: Combined) -> Fields:
    """Make the wire row of what strategies say together."""
    return {
        "action": combined.action,
        "combined_confidence": combined.confidence,
        "probabilities": combined.probabilities._asdict(),
        "position_size": combined.position_size,
        "risk_score": combined.risk_score,
        "risk_level": combined.risk_level,
        "metadata": {
            "strategies_used": list(combined.used),
            "strategies_skipped": dict(combined.skipped),
            "total_weight": combined.total_weight,
            "combination_method": combined.method,
            "reason": combined.reason,
        },
    }


def ops(desk: Desk, book: ConfigBook, strategies: Strategies, bars: Bars) -> list[Op]:
    """Make the rows of the table."""
    handlers = StrategyOps(desk, book, strategies, bars)
    found = (Code.NOT_FOUND,)
    return [
        Op(
            name="strategy.list",
            params=Params,
            scope="read",
            lane="query",
            handler=handlers.names,
            summary="List the strategies with their parameters, and the files that failed to load",
            example={},
        ),
        Op(
            name="strategy.get",
            params=NameParams,
            scope="read",
            lane="query",
            handler=handlers.get,
            summary="Show a strategy with the parameters it would run with",
            errors=found,
            example={"name": "rsi"},
        ),
        Op(
            name="strategy.schema",
            params=SchemaParams,
            scope="read",
            lane="query",
            handler=handlers.schema,
            summary="Return the JSON Schemas of strategy parameters, with their ranges",
            errors=found,
            example={"name": "ema_crossover"},
        ),
        Op(
            name="strategy.analyze",
            params=AnalyzeParams,
            scope="read",
            lane="query",
            handler=handlers.analyze,
            http=("POST /api/strategy/analyze",),
            summary="Run strategies on the newest closed bar, each alone and combined",
            errors=(Code.INVALID, Code.NOT_FOUND, Code.BUSY, Code.VENUE_UNAVAILABLE),
            example={"symbol": "BTC/USDT", "strategies": {"rsi": {"rsi_period": 14}}},
        ),
        Op(
            name="strategy.reload",
            params=ChangeParams,
            scope="admin",
            lane="query",
            handler=handlers.reload,
            summary="Reload the operator's strategy files; running bots keep the version they have",
            errors=(Code.BUSY,),
            example={},
            command=True,
        ),
    ]
