"""Ops of several accounts: which account an op is for, and what is said where it is not open.

Rules of this file: (1) an op is carried out by the account that its `venue` names; without one by the account whose
order it names, else by the first; (2) what stops trading goes to all accounts unless it names one, and to one that
is not open as soon as it is; (3) with one account no op has an argument more than it had.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Final, TypeAlias

import orjson
from pydantic import BaseModel, create_model

from realtime.commands.params import Name, invalid
from realtime.commands.registry import Answer, Call, Op
from realtime.commands.trading import HaltParams, check_scope
from realtime.desk.desk import SETTLE_S
from realtime.desk.recovery import OVER
from realtime.engine.market import figure
from realtime.model.errors import Code, Failure, Refused
from realtime.model.principal import Principal
from realtime.model.risk import TradingState


logger = logging.getLogger(__name__)

EVERYWHERE: Final = frozenset(
    {"trading.halt", "trading.resume", "order.cancel_all", "position.close_all", "deadman"}
)
"""Ops that are for all accounts when they name none."""
ALWAYS: Final = frozenset({"market.status"})
"""Ops that are answered while their account is not open."""
HALT, RESUME, EMERGENCY = "trading.halt", "trading.resume", "bot.emergency_stop"
Scope: TypeAlias = tuple[str | None, ...]
MOST_KEPT: Final = 100
"""Halts of different scopes that are kept for an account that is not open; what goes beyond halts all of it."""


@dataclass(slots=True)
class Account:
    """An account as the ops see it.

    Attributes:
        id: Its name.
        ops: Its rows of the table, by name.
        shut: Says why it is not open; None when it is.
        touch: Told the symbol of what is about to be traded or looked at; None where nobody has to know.
        kept: Halts that it was told while it was not open, by scope: it does not open to trade.
        journal: Writes such a halt down by the text of its scope, or (`OVER`) that it is over; done when it is on disk.
    """

    id: str
    ops: Mapping[str, Op] = field(default_factory=dict)
    shut: Callable[[], Refused | None] = lambda: None
    touch: Callable[[str], None] | None = None
    kept: dict[Scope, Call[Any]] = field(default_factory=dict)
    journal: Callable[[str, bytes], Awaitable[object]] | None = None
    _keys: dict[Scope, str] = field(default_factory=dict)

    def keep(self, name: str, call: Call[Any]) -> Awaitable[object] | None:
        """Keep a halt until the account is open, or forget the one that is resumed.

        Returns:
            Is done when a restart would know it, too; None where there is nothing to wait for.

        Raises:
            Refused: As the op itself, where it is wrong whatever the account has.
        """
        params = call.params
        if self.shut() is None or name not in {HALT, RESUME} or getattr(params, "dry_run", False):
            return None
        check_scope(params, self.id)
        scope = scope_of(call)
        if name == HALT and scope not in self.kept and len(self.kept) >= MOST_KEPT:
            # Rather all of it than less than was asked.
            all_of_it = {"symbol": None, "bot_id": None, "flatten": False}
            call = replace(call, params=params.model_copy(update=all_of_it))
            scope = scope_of(call)
        was = self.kept.pop(scope, None)
        if name == HALT:
            self.kept[scope] = call
            return self._write(scope, written(call))
        return None if was is None else self._write(scope, OVER)

    def state(self) -> TradingState:
        """What all of it is to open as."""
        told = {call.params.state for scope, call in self.kept.items() if not any(scope[:2])}
        return next(
            (state for state in (TradingState.HALTED, TradingState.REDUCING) if state in told),
            TradingState.ACTIVE,
        )

    def remember(self, rows: Mapping[str, bytes]) -> None:
        """Take in halts of before this process, as `journal` was given them."""
        for key, body in rows.items():
            call = reread(body)
            scope = scope_of(call)
            self.kept[scope] = call
            self._keys[scope] = key  # an older server's is another

    def _write(self, scope: Scope, body: bytes) -> Awaitable[object] | None:
        if self.journal is None:
            return None
        try:
            return self.journal(self._keys.get(scope) or orjson.dumps(scope).decode(), body)
        except Refused as refused:
            # As of one that fails later: in this process it holds, and all others have to be told.
            logger.warning("kept halt", extra={"venue": self.id, "why": refused.message})
            return None

    def stop(self, ready: Callable[[], Awaitable[object]]) -> Coroutine[Any, Any, None]:
        """Halt as was told; it is done in this step, and what is given back waits for what comes of it.

        Args:
            ready: Waits until the account is reconciled: what closes positions has to know them.
        """
        kept, self.kept = list(self.kept.values()), {}
        begun: list[Answer | Awaitable[Answer]] = []
        done: list[Call[Any]] = []
        for call in kept:
            try:
                begun.append(self.ops[HALT].handler(call))
            except Refused as refused:
                # It has no such market, so there is nothing to stop; what it was told is no reason not to open.
                logger.warning("kept halt", extra={"venue": self.id, "why": refused.message})
                self._over([call])
            else:
                done.append(call)
        return self._stopped(begun, done, ready)

    async def _stopped(
        self,
        begun: Sequence[Answer | Awaitable[Answer]],
        kept: Sequence[Call[Any]],
        ready: Callable[[], Awaitable[object]],
    ) -> None:
        await _heard(begun)
        again = [call for call in kept if call.params.flatten]
        self._over([call for call in kept if not call.params.flatten])
        if again:
            await ready()
            await _heard([self.ops[HALT].handler(call) for call in again])
            self._over(again)

    def _over(self, done: Sequence[Call[Any]]) -> None:
        """Write down that halts have been carried out: what they have changed is in the journal before this."""
        for call in done:
            self._write(scope_of(call), OVER)


def _touch(account: Account, call: Call[Any]) -> None:
    """Tell an account what is about to be traded or looked at."""
    symbol = getattr(call.params, "symbol", None)
    if account.touch is not None and isinstance(symbol, str):
        account.touch(symbol)


async def _heard(begun: Sequence[Answer | Awaitable[Answer]]) -> None:
    """Wait for answers that nobody reads; a failure, which nobody could be told, is logged."""
    for one in begun:
        if not isinstance(one, Answer):
            try:
                await one
            except Failure as error:
                logger.warning("kept halt", extra={"why": error.message})


class Accounts:
    """All accounts by id, the first of which is meant where none is named.

    Attributes:
        several: Whether there is a choice.
    """

    def __init__(self, first: Account, *others: Account) -> None:
        self._first = first
        self._all = {account.id: account for account in (first, *others)}
        self.several = len(self._all) > 1

    def routed(self, row: Op) -> Op:
        """Make the row that finds the account: `row` is the first account's."""
        name, several = row.name, self.several
        params = row.params
        if several and "venue" not in params.model_fields:
            params = with_venue(params)

        def call_is_wide(call: Call[Any]) -> bool:
            if not several or call.params.venue is not None:
                return False
            return name in EVERYWHERE or (name == EMERGENCY and call.params.bot_id is None)

        def handler(call: Call[Any]) -> Answer | Awaitable[Answer]:
            if call_is_wide(call):
                return self._everywhere(name, call)
            account = self._account(call) if several else self._first
            op = self._op(account, name)
            plain = self._plain(op, call) if several else call
            if account.shut() is not None:
                kept = account.keep(name, plain)
                if kept is not None:
                    return self._kept(account, name, [kept])
                self._check_open(account, name)
            _touch(account, call)
            return op.handler(plain)

        def judge(call: Call[Any]) -> None:
            account = self._account(call)
            op = self._op(account, name)
            # Without prices it is refused: who asks again has to find some.
            _touch(account, call)
            if op.judge is not None:
                op.judge(self._plain(op, call))

        def effect(call: Call[Any]) -> Mapping[str, object] | None:
            if call_is_wide(call):
                effects = [op.effect(self._plain(op, call)) for op in self._each(name) if op.effect]
                shown = [one for one in effects if one is not None]
                if name == RESUME and (forgets := self._forgets(call)):
                    shown.append({"forgets": forgets})
                return merged(shown) if shown else None
            account = self._account(call)
            if name == RESUME and (forgets := self._forgets(call)):
                return {"forgets": forgets}
            self._check_open(account, name)
            op = self._op(account, name)
            return None if op.effect is None else op.effect(self._plain(op, call))

        def repeated(call: Call[Any]) -> bool:
            account = self._account(call)
            op = self._op(account, name)
            if op.repeated is None or account.shut() is not None:
                return False
            return op.repeated(self._plain(op, call))

        return replace(
            row,
            params=params,
            handler=handler,
            effect=None if row.effect is None else effect,
            judge=None if row.judge is None else judge,
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

    def _op(self, account: Account, name: str) -> Op:
        """The row of an account.

        Raises:
            Refused: `invalid`, for what only the first account has.
        """
        op = account.ops.get(name)
        if op is None:
            raise invalid("venue", f"must be {self._first.id}, which {name} is of, or left out")
        return op

    def _plain(self, op: Op, call: Call[Any]) -> Call[Any]:
        """The call as an account without others would have got it: resending is judged by its content."""
        if not self.several or "venue" in op.params.model_fields:
            return call
        raw = {name: value for name, value in call.raw.items() if name != "venue"}
        return replace(call, params=without_venue(op.params, call.params), raw=raw)

    async def _kept(self, account: Account, name: str, kept: Sequence[Awaitable[object]]) -> Answer:
        """Refuse what is kept for later once a restart would know it, too."""
        await _on_disk(kept)
        shut = account.shut()
        if shut is not None and name == RESUME:
            text = f"{shut.message}; it will not open halted by this"
            raise Refused(shut.code, text, shut.details, retry_after=shut.retry_after)
        self._check_open(account, name)
        raise account.shut() or Refused(Code.CONFLICT, f"{account.id} has opened; ask again")

    def _forgets(self, call: Call[Any]) -> list[str]:
        """Name the accounts that are not open and would not open halted any more."""
        scope = scope_of(call)
        return [a.id for a in self._all.values() if a.shut() is not None and scope in a.kept]

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
        asked = [(account, *self._wide(account, name, call)) for account in self._all.values()]
        kept = [
            writing
            for account, op, plain in asked
            if (writing := account.keep(op.name, plain)) is not None
        ]
        rows = [(op, plain) for account, op, plain in asked if account.shut() is None]
        said = asked[0][1].name
        if not rows and kept:
            return self._kept(self._first, said, kept)
        if not rows:
            self._check_open(self._first, said)
        for op, plain in rows:
            try:
                begun.append(op.handler(plain))
            except Refused as error:
                refused.append(error)
        if not begun:
            raise refused[0]
        failed = [error for error in refused if error.code is not Code.NOT_FOUND]
        return _all_of(name, begun, failed, kept)

    def _wide(self, account: Account, name: str, call: Call[Any]) -> tuple[Op, Call[Any]]:
        """What an account is asked where all are meant: one that has no bots, or does not run them, stops trading."""
        if name == EMERGENCY and (account is not self._first or account.shut() is not None):
            told = call.params
            reason = told.reason or "emergency stop"
            halt = HaltParams(flatten=told.flatten, reason=reason, dry_run=told.dry_run)
            name, call = HALT, replace(call, params=halt)
        op = account.ops[name]
        return op, self._plain(op, call)


def scope_of(call: Call[Any]) -> Scope:
    """What a halt is for: symbol and bot, both None for everything; behind them the account where it is named.

    A halt of one account is another than the halt of all, here as in the engine: each is left by its own resume.
    """
    symbol, bot_id, venue = (
        getattr(call.params, name, None) for name in ("symbol", "bot_id", "venue")
    )
    return (symbol, bot_id) if venue is None else (symbol, bot_id, venue)


def written(call: Call[Any]) -> bytes:
    """Write a halt down."""
    principal = call.principal
    return orjson.dumps(
        {
            "params": call.params.model_dump(mode="json"),
            "subject": principal.subject,
            "scopes": sorted(principal.scopes),
            "token_id": principal.token_id,
            "client": call.client,
            "source": call.source,
            "received": call.received,
        }
    )


def reread(body: bytes) -> Call[Any]:
    """Make a halt again of what `written` gave; it was judged when it was told, by the rules of then."""
    raw = orjson.loads(body)
    return Call(
        params=HaltParams.model_construct(**raw["params"]),
        principal=Principal(
            subject=raw["subject"], scopes=frozenset(raw["scopes"]), token_id=raw["token_id"]
        ),
        client=raw["client"],
        source=raw["source"],
        session=None,
        received=raw["received"],
    )


async def _on_disk(kept: Sequence[Awaitable[object]]) -> None:
    """Wait until all is on disk, but not for a journal that fails: in this process it holds all the same."""
    with suppress(TimeoutError):
        async with asyncio.timeout(SETTLE_S):
            for one in kept:
                await one


async def _all_of(
    name: str,
    begun: Sequence[Answer | Awaitable[Answer]],
    refused: Sequence[Failure],
    kept: Sequence[Awaitable[object]],
) -> Answer:
    """Wait for every account, then say what they said; a failure of one is told when all have been heard."""
    answers: list[Answer] = []
    failed: list[Failure] = [*refused]
    for one in begun:
        try:
            answers.append(one if isinstance(one, Answer) else await one)
        except Failure as error:
            failed.append(error)
    await _on_disk(kept)
    if failed:
        raise failed[0]
    at: dict[str, object] = {}
    for answer in answers:
        at.update(answer.at or {})
    results = [answer.result for answer in answers]
    # Every account has the same switch; its times are not sums.
    result = results[0] if name == "deadman" else merged(results)
    if name == EMERGENCY:
        result = of_bots(result)
    if name == RESUME and kept:
        result = {**result, "changed": True}  # of an account that is not open a halt is forgotten
    return Answer(result=result, at=at or None)


def of_bots(result: Mapping[str, object]) -> Mapping[str, object]:
    """Make the answer of an emergency stop of what accounts say: one that has no open bots says what a halt does."""
    if "dry_run" in result:
        effect = result["effect"]
        assert isinstance(effect, dict)
        return {**result, "effect": {"bots": {}, **effect}}
    bots: dict[str, object] = {"bots": [], "closed": []}
    return {
        key: value
        for key, value in {**bots, **result}.items()
        if key not in {"scope", "changed", "flat", "positions"}
    }


def merged(results: Sequence[Mapping[str, object]]) -> Mapping[str, object]:
    """Join what several accounts say: lists and counts add up, and only what holds for all is said to hold.

    `changed` holds where it holds for one; texts are those of the first. `notional` adds up, too: all accounts have
    the same valuation currency; where one does not know it, nobody does.
    """
    made: dict[str, object] = dict(results[0])
    for result in results[1:]:
        for name, value in result.items():
            made[name] = _joined(name, made[name], value) if name in made else value
    return made


def _joined(name: str, one: object, other: object) -> object:
    match one, other:
        case bool(), bool():
            return one or other if name == "changed" else one and other
        case int(), int():
            return one + other
        case _ if name == "notional":
            known = isinstance(one, str) and isinstance(other, str)
            return figure(Decimal(str(one)) + Decimal(str(other))) if known else None
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
