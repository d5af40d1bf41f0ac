"""What the server knows of one account at one exchange, its keys included.

Rules of this file: (1) a secret shows its last four characters to whoever looks, and its text only to who asks for it by
name; (2) no value here changes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, NoReturn


SHOWN: Final = 4
"""Characters of a secret that people may see."""
HIDDEN: Final = "***"


class Secret:
    """A text that is neither logged nor sent: `repr`, `str` and format give `***` and its last four characters.

    Texts of fewer than twelve characters show none of them. Secrets are equal when their texts are.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Give the text: for who signs or redacts, and for nobody else."""
        return self._text

    @property
    def masked(self) -> str:
        """What people may see."""
        return HIDDEN + (self._text[-SHOWN:] if len(self._text) >= 3 * SHOWN else "")

    def __bool__(self) -> bool:
        """Whether there is one."""
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        """Compare texts."""
        return isinstance(other, Secret) and self._text == other._text

    def __hash__(self) -> int:
        """Hash it by its text."""
        return hash((Secret, self._text))

    def __repr__(self) -> str:
        """Mask it."""
        return self.masked

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        """Mask it, whatever the format."""
        return format(self.masked, spec)

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled or copied away."""
        raise TypeError("a secret is not pickled")


NONE: Final = Secret("")


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One account at one exchange; without a key it is the exchange's public data alone.

    Attributes:
        id: Its name in rows, channels and orders.
        exchange: Name of the exchange in ccxt, such as `kraken`.
        key: Public part of the API key; empty: public data alone.
        secret: What requests are signed with.
        password: Third part, where the exchange has one.
        allow_withdrawal_key: End of the key, four characters or more, that may be one that can withdraw; empty: none may.
        sandbox: The exchange's test site.
        types: Kinds of markets: `spot`, `swap`, `future`.
        subaccount: Name of the part of the account to trade in, None is the main one.
        native_deadman: Whether the exchange's own dead man's switch may be used.
        endpoint: Address to use instead of the exchange's, such as `http://127.0.0.1:9000`; None is its own.
        backoff_max_s: Longest wait between attempts [s].
        symbols: Markets to offer; empty: all of its `types`.
        options: Passed to ccxt as `options`.
    """

    id: str
    exchange: str
    key: Secret = NONE
    secret: Secret = NONE
    password: Secret = NONE
    allow_withdrawal_key: str = ""
    sandbox: bool = False
    types: tuple[str, ...] = ("spot",)
    subaccount: str | None = None
    native_deadman: bool = True
    endpoint: str | None = None
    backoff_max_s: float = 30.0
    symbols: tuple[str, ...] = ()
    options: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def has_keys(self) -> bool:
        """Whether it can do more than look."""
        return bool(self.key)

    @property
    def may_withdraw(self) -> bool:
        """Whether the operator wants this very key, although it may be one that can withdraw."""
        end = self.allow_withdrawal_key.removeprefix(HIDDEN)
        return len(end) >= SHOWN and self.key.reveal().endswith(end)

    @property
    def secrets(self) -> tuple[Secret, ...]:
        """The secrets there are."""
        return tuple(secret for secret in (self.key, self.secret, self.password) if secret)
