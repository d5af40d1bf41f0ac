"""Ops about the server itself: health, status, its connections, and faults on the paper exchange."""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Protocol

from pydantic import Field

from realtime.commands.params import ChangeParams, Name, Params, suggest
from realtime.commands.registry import Answer, Call, Op
from realtime.model.errors import Code, Refused


class Faults(Protocol):
    """Switches of a paper exchange (trading document, X8)."""

    @property
    def names(self) -> Sequence[str]:
        """What can go wrong on request."""
        ...

    def switch(self, name: str, *, count: int, seconds: float | None) -> None:
        """Let something go wrong.

        Args:
            name: One of `names`.
            count: How many of the next times; 0 ends it.
            seconds: Its measure where it has one (a delay, a duration) [s].
        """
        ...


class FaultParams(ChangeParams):
    """Of `system.fault`; without `fault` it lists what there is."""

    fault: Name | None = None
    count: Annotated[int, Field(ge=0, le=1_000_000)] = 1
    seconds: Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)] | None = None


def ops(
    *,
    health: Callable[[], Mapping[str, object]],
    status: Callable[[], Mapping[str, object]],
    connections: Callable[[], Mapping[str, object]],
    faults: Faults | None,
) -> list[Op]:
    """Make the rows.

    Args:
        health: Result of `system.health`.
        status: Result of `system.status`, the object of channel `status`.
        connections: Result of `monitoring.connections`.
        faults: Of the paper exchange; None in live mode.
    """

    def fault(call: Call[FaultParams]) -> Answer:
        if faults is None:
            raise Refused(Code.NOT_SUPPORTED, "faults can be switched on a paper exchange only")
        params = call.params
        if params.fault is None:
            return Answer(result={"faults": list(faults.names)})
        if params.fault not in faults.names:
            meant = suggest(params.fault, faults.names)
            hint = f"did you mean {meant}?" if meant else f"it has {', '.join(faults.names)}"
            raise Refused(Code.NOT_FOUND, f"no fault '{params.fault}'; {hint}", {"what": "fault"})
        faults.switch(params.fault, count=params.count, seconds=params.seconds)
        return Answer(
            result={"fault": params.fault, "count": params.count, "seconds": params.seconds}
        )

    return [
        Op(
            name="system.health",
            params=Params,
            scope=None,
            lane="query",
            handler=lambda _call: Answer(result=health()),
            http=("GET /api/health",),
            summary="alive and ready?",
        ),
        Op(
            name="system.status",
            params=Params,
            scope="read",
            lane="query",
            handler=lambda _call: Answer(result=status()),
            http=("GET /api/status",),
            summary="version, mode, trading state, venues, components",
        ),
        Op(
            name="system.fault",
            params=FaultParams,
            scope="admin",
            lane="query",
            handler=fault,
            summary="let something go wrong on the paper exchange, on purpose",
            errors=(Code.NOT_SUPPORTED, Code.NOT_FOUND),
            command=True,
        ),
        Op(
            name="monitoring.connections",
            params=Params,
            scope="admin",
            lane="query",
            handler=lambda _call: Answer(result=connections()),
            http=("GET /ws/metrics",),
            summary="who is connected, and how far behind",
        ),
    ]
