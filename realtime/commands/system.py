"""Ops about the server itself: health, status, and faults on the paper exchange."""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Protocol

from pydantic import Field

from realtime.commands import naming
from realtime.commands.params import (
    ChangeParams,
    Name,
    Params,
    Part,
    Symbol,
    invalid,
    suggest,
)
from realtime.commands.registry import Answer, Call, Op
from realtime.model.errors import Code, Refused
from realtime.model.market import Market


class Faults(Protocol):
    """Switches of a paper exchange (trading document, X8)."""

    @property
    def kinds(self) -> Sequence[str]:
        """What can go wrong on request."""
        ...

    @property
    def markets(self) -> Mapping[str, Market]:
        """Where it can go wrong."""
        ...

    def switched(self) -> Sequence[Mapping[str, object]]:
        """Give the faults that are on, each as `FaultPart` names it."""
        ...

    def switch(self, faults: Sequence[Mapping[str, Any]]) -> None:
        """Switch these on and all others off."""
        ...


class FaultPart(Part):
    """One fault: where, how likely on each occasion, for how long [s] and how many times at most."""

    kind: Name
    symbol: Symbol | None = None
    probability: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 1.0
    duration_s: Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)] | None = None
    times: Annotated[int, Field(ge=1, le=1_000_000)] | None = None


class FaultParams(ChangeParams):
    """Of `system.fault`: all faults that shall be on; without `faults` it tells which are."""

    faults: Annotated[list[FaultPart], Field(max_length=64)] | None = None


def ops(
    *,
    health: Callable[[], Mapping[str, object]],
    status: Callable[[], Mapping[str, object]],
    faults: Faults | None,
) -> list[Op]:
    """Make the rows.

    Args:
        health: Result of `system.health`.
        status: Result of `system.status`, the object of channel `status`.
        faults: Of the paper exchange; None in live mode.
    """

    def fault(call: Call[FaultParams]) -> Answer:
        if faults is None:
            raise Refused(Code.NOT_SUPPORTED, "faults can be switched on a paper exchange only")
        wanted = call.params.faults
        changed = False
        if wanted is not None:
            rows = [checked(faults, place, part) for place, part in enumerate(wanted)]
            changed = rows != list(faults.switched())
            # The same list again starts no clock and no count anew: repeating changes nothing.
            if changed:
                faults.switch(rows)
        return Answer(
            result={
                "kinds": list(faults.kinds),
                "faults": list(faults.switched()),
                "changed": changed,
            }
        )

    return [
        Op(
            name="system.health",
            params=Params,
            scope=None,
            lane="query",
            handler=lambda _call: Answer(result=health()),
            http=("GET /api/health",),
            summary="Check whether the server is alive and ready",
        ),
        Op(
            name="system.status",
            params=Params,
            scope="read",
            lane="query",
            handler=lambda _call: Answer(result=status()),
            http=("GET /api/status",),
            summary="Show the version, mode, trading state, venues and components of the server",
        ),
        Op(
            name="system.fault",
            params=FaultParams,
            scope="admin",
            lane="query",
            handler=fault,
            summary="Inject faults into the paper exchange, or show the active ones",
            errors=(Code.NOT_SUPPORTED, Code.NOT_FOUND),
            example={"faults": [{"kind": "lost_after", "probability": 0.1, "duration_s": 60}]},
            command=True,
        ),
    ]


def checked(faults: Faults, place: int, part: FaultPart) -> dict[str, Any]:
    """Read one fault of the list.

    Raises:
        Refused: `invalid` for a kind that there is not, `not_found` for a market.
    """
    if part.kind not in faults.kinds:
        meant = suggest(part.kind, faults.kinds)
        hint = f"did you mean {meant}?" if meant else f"it has {', '.join(faults.kinds)}"
        raise invalid(f"faults.{place}.kind", f"is not a fault; {hint}")
    row = part.model_dump()
    if part.symbol is not None:
        row["symbol"] = naming.market_of(faults.markets, part.symbol).symbol
    return row
