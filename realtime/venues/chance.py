"""Seeded chance that is the same on every machine and in every version of Python.

A key is a seed and names, e.g. `(1, "BTC/USDT", "flow")`: adding a symbol or a stream changes no other.
"""

from collections.abc import Callable, Iterator
from hashlib import blake2b
from math import cos, exp, log, pi, sqrt
from typing import Final


_MASK: Final = (1 << 64) - 1
_STEP: Final = 0x9E3779B97F4A7C15


def key_of(*names: object) -> int:
    """A 64-bit number for a seed and names."""
    text = "|".join(map(str, names)).encode()
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "big")


def mix(value: int) -> int:
    """Scatter 64 bits (splitmix64, Vigna 2015)."""
    value = (value + _STEP) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


def bell(value: int) -> float:
    """Turn 64 scattered bits into a nearly normal number: mean 0, deviation 1, never beyond 3.47."""
    total = (value & 0xFFFF) + (value >> 16 & 0xFFFF) + (value >> 32 & 0xFFFF) + (value >> 48)
    return (total / 65535.0 - 2.0) * 1.7320508075688772


def _stream(state: int) -> Iterator[int]:
    """Scatter the numbers behind `state`, one step apart: `mix` of each, without a call for each."""
    while True:
        state = (state + _STEP) & _MASK
        value = (state + _STEP) & _MASK
        value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
        yield value ^ (value >> 31)


class Chance:
    """A stream of random numbers.

    Attributes:
        bits: Gives the next 64 of them.
    """

    __slots__ = ("bits",)

    bits: Callable[[], int]

    def __init__(self, *names: object) -> None:
        self.bits = _stream(key_of(*names)).__next__

    def random(self) -> float:
        """Uniform in [0, 1)."""
        return (self.bits() >> 11) / 9007199254740992.0

    def below(self, bound: int) -> int:
        """A whole number from 0 to `bound` - 1."""
        return self.bits() % bound

    def exponential(self) -> float:
        """Mean 1."""
        return -log(1.0 - self.random())

    def gauss(self) -> float:
        """Mean 0, deviation 1, with tails."""
        random = self.random
        return sqrt(-2.0 * log(1.0 - random())) * cos(2.0 * pi * random())

    def lognormal(self, median: float, sigma: float) -> float:
        """Around `median`, heavy to the right."""
        return median * exp(sigma * self.gauss())

    def poisson(self, mean: float) -> int:
        """How many of something rare; for means up to some hundreds."""
        count, left = 0, mean - self.exponential()
        while left > 0:
            count += 1
            left -= self.exponential()
        return count
