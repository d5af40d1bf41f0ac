"""Bybit v5 on our paper exchange: REST and sockets that an unpatched client takes for the exchange."""

from realtime.emulate.bybit.face import Bybit, Emulated, emulated, urls


__all__ = ["Bybit", "Emulated", "emulated", "urls"]
