"""Facts to state: which function takes which fact. A fact is never refused."""

from typing import assert_never

from realtime.engine import acts, evidence, fills, money
from realtime.engine.core import Core, Out
from realtime.engine.market import plain
from realtime.model.events import (
    Absent,
    Accepted,
    Adopted,
    AmendAsked,
    AmendDone,
    AmendFailed,
    BalanceSeen,
    BracketSet,
    CancelAsked,
    CancelFailed,
    Configured,
    CostBasisSet,
    DayRolled,
    Fact,
    Filled,
    Note,
    OrderSeen,
    PeakSet,
    Placed,
    PositionSeen,
    Ready,
    Record,
    Rejected,
    Resolved,
    RiskChanged,
    StateSet,
    Trailed,
    Transferred,
    Unknown,
    Withheld,
)


class Applier(Core):
    """Applies facts."""

    def apply(self, fact: Fact, out: Out) -> None:
        """Take one fact."""
        if type(fact) is not Placed:
            self.state.stood = None
        match fact:
            # Those that come most often stand first.
            case Filled():
                fills.filled(self, fact, out)
            case Placed():
                acts.placed(self, fact, out)
            case Accepted():
                acts.accepted(self, fact, out)
            case BalanceSeen():
                money.balance(self, fact, out)
            case OrderSeen():
                evidence.seen(self, fact, out)
            case PositionSeen():
                money.position(self, fact, out)
            case Withheld():
                acts.withheld(self, fact, out)
            case Rejected():
                acts.rejected(self, fact, out)
            case Unknown():
                acts.unknown(self, fact, out)
            case Absent():
                acts.absent(self, fact, out)
            case CancelAsked():
                acts.cancel_asked(self, fact, out)
            case CancelFailed():
                acts.cancel_failed(self, fact, out)
            case AmendAsked():
                acts.amend_asked(self, fact, out)
            case AmendDone():
                acts.amend_done(self, fact, out)
            case AmendFailed():
                acts.amend_failed(self, fact, out)
            case BracketSet():
                acts.bracket_set(self, fact, out)
            case Transferred():
                money.transferred(self, fact, out)
            case StateSet():
                money.state_set(self, fact, out)
            case Configured():
                self.state.configure(fact.limits)
                # The book of the configuration tells of it, with old and new values.
                out += [Record(fact), RiskChanged()]
            case Resolved():
                acts.resolved(self, fact, out)
            case Adopted():
                acts.adopted(self, fact, out)
            case CostBasisSet():
                money.cost_basis(self, fact, out)
            case DayRolled():
                self.state.account.roll(fact.day, fact.equity_start, fact.peak_equity, fact.ts)
                data = {"day": fact.day, "equity_start": plain(fact.equity_start)}
                if fact.reset is not None:
                    data["reset"] = fact.reset
                self.warned.clear()
                out += [Record(fact), RiskChanged(), Note("day_rolled", data)]
            case PeakSet():
                self.state.account.set_peak(fact.peak_equity, fact.ts)
                out.append(Record(fact))
            case Trailed():
                self.legs.on_trail(fact)
                out.append(Record(fact))
            case Ready():
                self.state.ready = fact.ready
                self.state.ready_reason = fact.reason
                out.append(RiskChanged())
                if fact.ready and not self.state.ever_ready:
                    self.state.ever_ready = True
                    planned: set[str] = set()
                    for symbol in list(self.legs.protected):
                        if symbol not in planned:
                            planned.update(self.state.siblings(symbol))
                            self.plan(symbol, fact.ts, out)
            case _:
                assert_never(fact)
