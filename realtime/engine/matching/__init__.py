"""The paper exchange: matching, accounts and derivatives, pure and deterministic."""

from realtime.engine.matching.account import SelfTrade
from realtime.engine.matching.clearing import Told
from realtime.engine.matching.exchange import Exchange
from realtime.engine.matching.orders import Working
from realtime.engine.matching.rules import Tier


__all__ = ["Exchange", "SelfTrade", "Tier", "Told", "Working"]
