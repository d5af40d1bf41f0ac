"""Bots: what they are told, what state they are in, and what is theirs of the account.

Rules of this file: (1) a bot changes its state only by a move of `MOVES`; every other pair is refused and changes
nothing; (2) a share is a sum over the fills of one bot in one symbol, money in the market's cash currency.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Final

from realtime.model.errors import Code, Refused
from realtime.model.market import ZERO


MAIN: Final = "main"
"""The bot that always exists."""


class BotState(StrEnum):
    """Where a bot is in its life."""

    STOPPED = "stopped"
    STARTING = "starting"
    RUNNING = "running"
    PAUSED = "paused"
    STOPPING = "stopping"
    ERROR = "error"
    HALTED = "halted"

    @property
    def alive(self) -> bool:
        """Whether it has a task (or, of a remote bot, a lease)."""
        return self in {
            BotState.STARTING,
            BotState.RUNNING,
            BotState.PAUSED,
            BotState.STOPPING,
        }


class Move(StrEnum):
    """What changes the state of a bot: people's wishes, and what becomes of its task."""

    START = "start"
    READY = "ready"
    STOP = "stop"
    ENDED = "ended"
    PAUSE = "pause"
    RESUME = "resume"
    FAIL = "fail"
    HALT = "halt"
    REARM = "rearm"


_S = BotState

MOVES: Final[Mapping[BotState, Mapping[Move, BotState]]] = {
    _S.STOPPED: {
        Move.START: _S.STARTING,
        Move.STOP: _S.STOPPED,
        Move.FAIL: _S.ERROR,
        Move.HALT: _S.HALTED,
    },
    _S.STARTING: {
        Move.START: _S.STARTING,
        Move.READY: _S.RUNNING,
        Move.PAUSE: _S.PAUSED,
        Move.STOP: _S.STOPPING,
        Move.FAIL: _S.ERROR,
        Move.HALT: _S.HALTED,
    },
    _S.RUNNING: {
        Move.START: _S.RUNNING,
        Move.READY: _S.RUNNING,
        Move.RESUME: _S.RUNNING,
        Move.PAUSE: _S.PAUSED,
        Move.STOP: _S.STOPPING,
        Move.FAIL: _S.ERROR,
        Move.HALT: _S.HALTED,
    },
    _S.PAUSED: {
        # Its bars are there; it stays paused until somebody says `resume`.
        Move.READY: _S.PAUSED,
        Move.PAUSE: _S.PAUSED,
        Move.RESUME: _S.RUNNING,
        Move.STOP: _S.STOPPING,
        Move.FAIL: _S.ERROR,
        Move.HALT: _S.HALTED,
    },
    _S.STOPPING: {
        Move.STOP: _S.STOPPING,
        # What fails on the way out has ended all the same; its error stays in the row.
        Move.FAIL: _S.STOPPED,
        Move.ENDED: _S.STOPPED,
        Move.HALT: _S.HALTED,
    },
    _S.ERROR: {
        Move.START: _S.STARTING,
        Move.STOP: _S.STOPPED,
        Move.FAIL: _S.ERROR,
        Move.HALT: _S.HALTED,
    },
    _S.HALTED: {
        Move.HALT: _S.HALTED,
        Move.STOP: _S.HALTED,
        Move.ENDED: _S.HALTED,
        Move.FAIL: _S.HALTED,
        Move.REARM: _S.STOPPED,
    },
}
"""From a state, by a move, to a state."""


def after(bot_id: str, state: BotState, move: Move) -> BotState:
    """Give the state a move leads to.

    Raises:
        Refused: `halted` where a halted bot would have to act; `conflict` for any other pair outside the table.
    """
    found = MOVES[state].get(move)
    if found is not None:
        return found
    if state is BotState.HALTED:
        raise Refused(
            Code.HALTED,
            f"bot {bot_id} is halted; bot.rearm (scope admin) comes before {move}",
            {"what": "bot", "bot_id": bot_id, "state": state},
        )
    raise Refused(
        Code.CONFLICT,
        f"bot {bot_id} is {state}; {move} is for {_sources(move)}",
        {"what": "bot", "bot_id": bot_id, "state": state},
    )


def _sources(move: Move) -> str:
    return " or ".join(state for state, moves in MOVES.items() if move in moves)


# --- what a bot is told ---------------------------------------------------------------------------


class Kind(StrEnum):
    """Who makes a bot's decisions."""

    STRATEGIES = "strategies"
    """Strategies in this server."""
    REMOTE = "remote"
    """A program outside that holds a lease."""


class Trigger(StrEnum):
    """When a bot looks."""

    BAR_CLOSE = "bar_close"
    INTERVAL = "interval"


class OnError(StrEnum):
    """What becomes of the orders of a bot in state `error`; its attached exits stay in any case but `flatten`."""

    CANCEL_ENTRIES = "cancel_entries"
    LEAVE = "leave"
    FLATTEN = "flatten"


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """How a bot uses a strategy.

    Attributes:
        weight: Of its voice, 0..1.
        min_confidence: Below it the strategy is not heard, 0..1.
        params: Its own parameters; what is missing is the configuration's.
    """

    weight: float = 1.0
    min_confidence: float = 0.0
    params: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class BotSpec:
    """What a bot is told (functional specification, 4.1).

    Attributes:
        id: `[a-z0-9-]{1,32}`.
        symbols: None is the configuration's one symbol.
        timeframe: None is the configuration's.
        strategies: By name; None is all that the configuration has enabled, at its weights.
        trigger: When it looks; `cycle_interval_s` is for `interval`.
        max_retries: Failures in a row that end it; `retry_delay_s` lies between them.
        dry_run: Decide and record, place nothing.
        auto_resume: Run again after a restart of the server, if it ran.
        budget: The most it may have in positions and working entries, changed by its own profit and loss
            [valuation currency]; None has no bound of its own.
        window: Its own trading window, keys that differ from the configuration's.
        lease_s: How long a remote bot may be silent [s].
        version: Rises by one with every change.
    """

    id: str
    kind: Kind = Kind.STRATEGIES
    symbols: tuple[str, ...] | None = None
    timeframe: str | None = None
    strategies: Mapping[str, Use] | None = None
    trigger: Trigger = Trigger.BAR_CLOSE
    cycle_interval_s: float = 300
    max_retries: int = 3
    retry_delay_s: float = 60
    dry_run: bool = False
    auto_resume: bool = False
    allow_short: bool = False
    pyramiding: bool = False
    on_error: OnError = OnError.CANCEL_ENTRIES
    budget: Decimal | None = None
    window: Mapping[str, object] = field(default_factory=dict)
    lease_s: float = 30
    version: int = 1


class Skip(StrEnum):
    """Why a cycle placed no order (functional specification, F6)."""

    PAUSED = "paused"
    WARMUP = "warmup"
    MARKET_CHECK = "market_check"
    WINDOW = "window"
    HOLD = "hold"
    UNCLEAR = "unclear"
    LOW_CONFIDENCE = "low_confidence"
    RISK_SCORE = "risk_score"
    PORTFOLIO_RISK = "portfolio_risk"
    IN_POSITION = "in_position"
    NOTHING_TO_SELL = "nothing_to_sell"
    SIZE_ZERO = "size_zero"
    DRY_RUN = "dry_run"
    ORDER_REFUSED = "order_refused"


# --- what is a bot's of the account ---------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What one bot has of one symbol: a position of its own inside the account's, and what it earned.

    Attributes:
        amount: Signed [base, contracts].
        cost: Signed entry cost of `amount` [cash currency].
        realized: Net of fees in the cash currency.
        fees: Paid, in the cash currency.
        trade_pnl: Of the trade under way.
        trades, wins: Closed trades, and those that earned.
        profit, loss: Sums of the trades that earned and, above zero, of those that lost.
        exit_ts: When it was last made smaller [ns]; 0 never.
    """

    amount: Decimal = ZERO
    cost: Decimal = ZERO
    realized: Decimal = ZERO
    fees: Decimal = ZERO
    trade_pnl: Decimal = ZERO
    trades: int = 0
    wins: int = 0
    profit: Decimal = ZERO
    loss: Decimal = ZERO
    exit_ts: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Earned:
    """What one bot has earned over all symbols [valuation currency where all have one cash currency].

    Attributes:
        realized, fees, trades, wins, profit, loss: Sums of `Share`.
    """

    realized: Decimal = ZERO
    fees: Decimal = ZERO
    trades: int = 0
    wins: int = 0
    profit: Decimal = ZERO
    loss: Decimal = ZERO

    def since(self, base: "Earned") -> "Earned":
        """What was earned after `base`."""
        return Earned(
            realized=self.realized - base.realized,
            fees=self.fees - base.fees,
            trades=self.trades - base.trades,
            wins=self.wins - base.wins,
            profit=self.profit - base.profit,
            loss=self.loss - base.loss,
        )

    @property
    def win_rate(self) -> float | None:
        """Of closed trades, 0..1; None without any."""
        return self.wins / self.trades if self.trades else None

    @property
    def profit_factor(self) -> float | None:
        """Sum of wins by sum of losses; None without a loss."""
        return float(self.profit / self.loss) if self.loss else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """What is counted of a bot's cycles, kept over restarts.

    Attributes:
        cycles, succeeded, failed: Since the last reset.
        cycle_ms: Sum of their durations; `last_cycle_ms` of the last one.
        last_cycle_ts: When it began [ns]; 0 never.
        base: What had been earned when the metrics were reset.
    """

    cycles: int = 0
    succeeded: int = 0
    failed: int = 0
    cycle_ms: float = 0.0
    last_cycle_ms: float = 0.0
    last_cycle_ts: int = 0
    base: Earned = Earned()

    @property
    def success_rate(self) -> float | None:
        """Of cycles, 0..1; None without any."""
        return self.succeeded / self.cycles if self.cycles else None

    @property
    def average_ms(self) -> float | None:
        """Mean duration of a cycle; None without any."""
        return self.cycle_ms / self.cycles if self.cycles else None
