"""Ops of several accounts: which account an op is for, and what is said where it is not open.

Rules of this file: (1) an op is carried out by the account that its `venue` names; without one by the account whose
order it names, else by the first; (2) what stops trading goes to all accounts unless it names one, and to one that
is not open as soon as it is; (3) with one account no op has an argument more than it had.
"""

from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from pydantic import BaseModel, create_model

from realtime.commands.params import Name
from realtime.commands.registry import Answer, Call, Op
from realtime.model.errors import Code, Failure, Refused


EVERYWHERE: Final = frozenset(
    {"trading.halt", "trading.resume", "order.cancel_all", "position.close_all", "deadman"}
)
"""Ops that are for all accounts when they name none."""
ALWAYS: Final = frozenset({"market.status"})
"""Ops that are answered while their account is not open."""
HALT, RESUME = "trading.halt", "trading.resume"
MOST_KEPT: Final = 100
"""Halts of different scopes that are kept for an account that is not open."""


@dataclass(slots=True)
class Account:
    """An account as the ops see it.

    Attributes:
        id: Its name.
        ops: Its rows of the table, by name.
        shut: Says why it is not open; None when it is.
        touch: Told the symbol of what is about to be traded or looked at.
        kept: Halts that it was told while it was not open, by scope: it does not open to trade.
    """

    id: str
    ops: Mapping[str, Op] = field(default_factory=dict)
    shut: Callable[[], Refused | None] = lambda: None
    touch: Callable[[str], None] = lambda _symbol: None
    kept: dict[tuple[object, ...], Call[Any]] = field(default_factory=dict)

    def keep(self, name: str, call: Call[Any]) -> None:
        """Keep a halt until the account is open, or forget the one that is resumed."""
        params = call.params
        if self.shut() is None or name not in {HALT, RESUME} or getattr(params, "dry_run", False):
            return
        scope = (getattr(params, "symbol", None), getattr(params, "bot_id", None))
        self.kept.pop(scope, None)
        if name == HALT and len(self.kept) < MOST_KEPT:
            self.kept[scope] = call

    def stop(self, ready: Callable[[], Awaitable[object]]) -> Coroutine[Any, Any, None]:
        """Halt as was told; it is done in this step, and what is given back waits for what comes of it.

        Args:
            ready: Waits until the account is reconciled: what closes positions has to know them.
        """
        kept, self.kept = list(self.kept.values()), {}
        halt = self.ops[HALT].handler
        return self._stopped([halt(call) for call in kept], kept, ready)

    async def _stopped(
        self,
        begun: Sequence[Answer | Awaitable[Answer]],
        kept: Sequence[Call[Any]],
        ready: Callable[[], Awaitable[object]],
    ) -> None:
        await _heard(begun)
        again = [call for call in kept if call.params.flatten]
        if again:
            await ready()
            await _heard([self.ops[HALT].handler(call) for call in again])


async def _heard(begun: Sequence[Answer | Awaitable[Answer]]) -> None:
    """Wait for answers that nobody reads."""
    for one in begun:
        if not isinstance(one, Answer):
            await one


class Accounts:
    """All accounts by id, the first of which is meant where none is named."""

    def __init__(self, first: Account, *others: Account) -> None:
        self._first = first
        self._all = {account.id: account for account in (first, *others)}

    @property
    def several(self) -> bool:
        """Whether there is a choice."""
        return len(self._all) > 1

    def routed(self, row: Op) -> Op:
        """Make the row that finds the account: `row` is the first account's."""
        name, several = row.name, self.several
        params = row.params
        if several and "venue" not in params.model_fields:
            params = with_venue(params)
        wide = several and name in EVERYWHERE

        def handler(call: Call[Any]) -> Answer | Awaitable[Answer]:
            if wide and call.params.venue is None:
                return self._everywhere(name, call)
            account = self._account(call)
            account.keep(name, self._plain(account.ops[name], call))
            self._check_open(account, name)
            op = account.ops[name]
            symbol = getattr(call.params, "symbol", None)
            if isinstance(symbol, str):
                account.touch(symbol)
            return op.handler(self._plain(op, call))

        def effect(call: Call[Any]) -> Mapping[str, object] | None:
            if wide and call.params.venue is None:
                effects = [op.effect(self._plain(op, call)) for op in self._each(name) if op.effect]
                shown = [one for one in effects if one is not None]
                return merged(shown) if shown else None
            account = self._account(call)
            self._check_open(account, name)
            op = account.ops[name]
            return None if op.effect is None else op.effect(self._plain(op, call))

        def repeated(call: Call[Any]) -> bool:
            account = self._account(call)
            op = account.ops[name]
            if op.repeated is None or account.shut() is not None:
                return False
            return op.repeated(self._plain(op, call))

        return replace(
            row,
            params=params,
            handler=handler,
            effect=None if row.effect is None else effect,
            repeated=None if row.repeated is None else repeated,
        )

    # -- which ---------------------------------------------------------------------------------

    def _account(self, call: Call[Any]) -> Account:
        """Find the account of a call.

        Raises:
            Refused: `not_found`, for an id that no account has.
        """
        if not self.several:
            return self._first
        named = call.params.venue
        if named is None:
            return self._all.get(_marked(getattr(call.params, "order_id", None)), self._first)
        account = self._all.get(named)
        if account is None:
            raise Refused(
                Code.NOT_FOUND,
                f"no venue {named}; there are {', '.join(self._all)}",
                {"what": "venue"},
            )
        return account

    def _plain(self, op: Op, call: Call[Any]) -> Call[Any]:
        """The call as an account without others would have got it: resending is judged by its content."""
        if "venue" in op.params.model_fields or not self.several:
            return call
        raw = {name: value for name, value in call.raw.items() if name != "venue"}
        return replace(call, params=without_venue(op.params, call.params), raw=raw)

    def _check_open(self, account: Account, name: str) -> None:
        shut = None if name in ALWAYS else account.shut()
        if shut is not None and name == HALT:
            raise Refused(
                shut.code,
                f"{shut.message}; it will open halted",
                shut.details,
                retry_after=shut.retry_after,
            )
        if shut is not None:
            raise shut

    # -- all -----------------------------------------------------------------------------------

    def _each(self, name: str) -> list[Op]:
        """The rows of an op at all open accounts."""
        return [a.ops[name] for a in self._all.values() if a.shut() is None]

    def _everywhere(self, name: str, call: Call[Any]) -> Answer | Awaitable[Answer]:
        """Begin everywhere in this very step; what one account does not know is for the others."""
        begun: list[Answer | Awaitable[Answer]] = []
        refused: list[Refused] = []
        for account in self._all.values():
            account.keep(name, self._plain(account.ops[name], call))
        rows = self._each(name)
        if not rows:
            self._check_open(self._first, name)
        for op in rows:
            try:
                begun.append(op.handler(self._plain(op, call)))
            except Refused as error:
                refused.append(error)
        if not begun:
            raise refused[0]
        return _all_of(name, begun, [e for e in refused if e.code is not Code.NOT_FOUND])


async def _all_of(
    name: str, begun: Sequence[Answer | Awaitable[Answer]], refused: Sequence[Failure]
) -> Answer:
    """Wait for every account, then say what they said; a failure of one is told when all have been heard."""
    answers: list[Answer] = []
    failed: list[Failure] = [*refused]
    for one in begun:
        try:
            answers.append(one if isinstance(one, Answer) else await one)
        except Failure as error:
            failed.append(error)
    if failed:
        raise failed[0]
    at: dict[str, object] = {}
    for answer in answers:
        at.update(answer.at or {})
    results = [answer.result for answer in answers]
    # Every account has the same switch; its times are not sums.
    result = results[0] if name == "deadman" else merged(results)
    return Answer(result=result, at=at or None)


def merged(results: Sequence[Mapping[str, object]]) -> Mapping[str, object]:
    """Join what several accounts say: lists and counts add up, and only what holds for all is said to hold.

    `changed` holds where it holds for one; texts are those of the first.
    """
    made: dict[str, object] = dict(results[0])
    for result in results[1:]:
        for name, value in result.items():
            made[name] = _joined(name, made.get(name), value)
    return made


def _joined(name: str, one: object, other: object) -> object:
    match one, other:
        case bool(), bool():
            return one or other if name == "changed" else one and other
        case int(), int():
            return one + other
        case list(), list():
            return [*one, *other]
        case dict(), dict():
            return merged([one, other])
        case _:
            return other if one is None else one


def _marked(order_id: object) -> str:
    """The account that an order's id names, as in `o-kraken-17`."""
    if not isinstance(order_id, str):
        return ""
    _, _, rest = order_id.partition("-")
    account, mark, _ = rest.rpartition("-")
    return account if mark else ""


def with_venue(params: type[BaseModel]) -> type[BaseModel]:
    """The same arguments, and the account that is meant."""
    made: type[BaseModel] = create_model(
        params.__name__, __base__=params, __doc__=params.__doc__, venue=(Name | None, None)
    )
    return made


def without_venue(params: type[BaseModel], given: BaseModel) -> BaseModel:
    """The arguments as they were before `with_venue`; they have been checked."""
    fields = {name: getattr(given, name) for name in params.model_fields}
    made: BaseModel = params.model_construct(given.model_fields_set - {"venue"}, **fields)
    return made
