"""Where exchange keys come from, and that only one process uses one.

Rules of this file: (1) a key comes from the environment, a file that only its owner reads, or the system's keyring, and
never from a client; (2) a file that others can read is refused, not read; (3) what is wrong is said with the setting to
change and without the secret.
"""

import fcntl
import hashlib
import os
import stat
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol, Self

from realtime.model.errors import Code, Refused, invalid
from realtime.venues.ccxt.account import NONE, Account, Secret


KEYRING: Final = "nexus-realtime"
"""Service under which the system's keyring keeps keys; the user name is `<id>.key`, `<id>.secret`, `<id>.password`."""
SUBACCOUNTS: Final[Mapping[str, str]] = {
    "apex": "accountId",
    "grvt": "accountId",
    "ndax": "accountId",
}
"""Exchanges where a request names the part of the account, and ccxt's option for it; elsewhere the key does."""
NO_OPTIONS: Final = frozenset(
    {"apikey", "secret", "password", "privatekey", "walletaddress", "token", "twofa", "login"}
)
"""ccxt's names of credentials, in small letters: they are no options."""
OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
LARGEST: Final = 65_536
"""Bytes of a file that is a secret."""


class Given(Protocol):
    """What the settings say of an account (`settings.VenueSettings`); secrets hide themselves there, too."""

    @property
    def id(self) -> str:
        """Its name."""

    @property
    def exchange(self) -> str:
        """Name in ccxt; empty is that of `id`."""

    @property
    def allow_withdrawal_key(self) -> str:
        """End of the key that may be one that can withdraw."""

    @property
    def sandbox(self) -> bool:
        """The exchange's test site."""

    @property
    def types(self) -> tuple[str, ...]:
        """Kinds of markets."""

    @property
    def subaccount(self) -> str | None:
        """Part of the account."""

    @property
    def native_deadman(self) -> bool:
        """Whether to use the exchange's switch."""

    @property
    def endpoint(self) -> str | None:
        """Another address."""

    @property
    def backoff_max_s(self) -> float:
        """Longest wait [s]."""

    @property
    def symbols(self) -> tuple[str, ...]:
        """Markets."""

    @property
    def options(self) -> Mapping[str, object]:
        """For ccxt."""

    @property
    def keyring(self) -> bool:
        """Whether the system's keyring has the keys."""

    def text(self, name: str) -> str:
        """Give `key`, `secret` or `password` as it stands in file or environment; empty when it does not."""

    def file(self, name: str) -> str:
        """Give the path of the file with it; empty when there is none."""


def account_of(given: Given) -> Account:
    """Make the account that the settings describe, with its keys read.

    Raises:
        Refused: `invalid`, with the setting to change.
    """
    key, secret, password = (_secret(given, name) for name in ("key", "secret", "password"))
    for name in given.options:
        if name.lower() in NO_OPTIONS:
            raise invalid(
                f"venues.{given.id}.options",
                f"{name} is a secret and no option: nothing hides it there, and ccxt does not read it there; "
                "use key and secret (exchanges that sign with a wallet are not supported)",
            )
    if bool(key) != bool(secret):
        lacking, there = ("secret", "key") if key else ("key", "secret")
        raise invalid(
            f"venues.{given.id}.{lacking}",
            f"is missing although there is a {there}; set both or none",
        )
    exchange = given.exchange or given.id
    options = dict(given.options)
    if given.subaccount is not None:
        if exchange not in SUBACCOUNTS:
            raise invalid(
                f"venues.{given.id}.subaccount",
                f"a key of {exchange} belongs to one subaccount: create one there, and remove this setting",
            )
        options[SUBACCOUNTS[exchange]] = given.subaccount
    return Account(
        id=given.id,
        exchange=exchange,
        key=key,
        secret=secret,
        password=password,
        allow_withdrawal_key=given.allow_withdrawal_key,
        sandbox=given.sandbox,
        types=given.types,
        subaccount=given.subaccount,
        native_deadman=given.native_deadman,
        endpoint=given.endpoint,
        backoff_max_s=given.backoff_max_s,
        symbols=given.symbols,
        options=options,
    )


def _secret(given: Given, name: str) -> Secret:
    text, path = given.text(name), given.file(name)
    if text and path:
        raise invalid(f"venues.{given.id}.{name}", f"is set twice, also as {name}_file; remove one")
    if text:
        return Secret(text.strip())
    if path:
        return read(Path(path), f"venues.{given.id}.{name}_file")
    if given.keyring:
        return from_keyring(given.id, name)
    return NONE


def read(path: Path, setting: str) -> Secret:
    """Read a secret from a file that only its owner can read.

    Args:
        path: The file; its text is taken without white space around it.
        setting: Named where something is wrong.

    Raises:
        Refused: `invalid`: no such file, others can read it, or it is empty.
    """
    try:
        # Asked of the open file: a name may be another file a moment later.
        with path.expanduser().open("rb") as file:
            open_to(file.fileno(), path, setting)
            raw = file.read(LARGEST + 1)
    except OSError as error:
        raise invalid(setting, f"{path} cannot be read: {error.strerror}") from error
    try:
        text = raw.decode().strip()
    except UnicodeDecodeError:
        raise invalid(setting, f"{path} is not a text") from None
    if not text or len(raw) > LARGEST:
        raise invalid(setting, f"{path} is {'empty' if not text else 'too large for a secret'}")
    return Secret(text)


def open_to(file: int | Path, path: Path, setting: str) -> None:
    """Refuse a file with secrets that others than its owner can use.

    Raises:
        Refused: `invalid`, with what to do.
        OSError: There is no such file.
    """
    mode = os.stat(file).st_mode  # noqa: PTH116 - a descriptor has no path
    if mode & OTHERS:
        raise invalid(
            setting,
            f"{path} has mode {stat.S_IMODE(mode):04o}: others can read the secret in it; "
            f"run `chmod 600 {path}` (mode 0400 for a secret of a container)",
        )


def from_keyring(account: str, name: str) -> Secret:
    """Read a secret from the system's keyring; empty when it has none.

    Raises:
        Refused: `invalid`: the package `keyring` is not installed, or the keyring is locked.
    """
    setting = f"venues.{account}.keyring"
    try:
        import keyring  # noqa: PLC0415 - optional
        from keyring.errors import KeyringError  # noqa: PLC0415
    except ImportError:
        raise invalid(
            setting, "is on, and the package keyring is not installed; run `pip install keyring`"
        ) from None
    try:
        found = keyring.get_password(KEYRING, f"{account}.{name}")
    except KeyringError as error:
        raise invalid(setting, f"the keyring cannot be read ({type(error).__name__})") from None
    return Secret(found.strip()) if found else NONE


# --- one process per key --------------------------------------------------------------------------


def fingerprint(account: Account) -> str:
    """Name a key without telling it: 16 hexadecimal digits of a hash of exchange and key."""
    text = f"nexus-realtime\0{account.exchange}\0{account.key.reveal()}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def lock_directory() -> Path:
    """Give where the locks of this user are, whatever started the process; made when it is missing."""
    home = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    place = Path(home).expanduser() / KEYRING / "locks"
    with suppress(OSError, RuntimeError):
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        if os.access(place, os.W_OK):
            return place
    # A container whose only writable folder is this one runs one process per machine.
    place = Path(tempfile.gettempdir()) / f"{KEYRING}-{os.getuid()}"
    place.mkdir(exist_ok=True, mode=0o700)
    return place


class Lock:
    """The right of this process to use a key; it ends with the process, however that ends."""

    def __init__(self, file: int) -> None:
        self._file: int | None = file

    @classmethod
    def take(cls, account: Account, directory: Path | None = None) -> Self:
        """Take it.

        Raises:
            Refused: `conflict`: another process has it; `venue_unavailable`: the lock file cannot be made.
        """
        path = (directory or lock_directory()) / f"{fingerprint(account)}.lock"
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise Refused(
                Code.VENUE_UNAVAILABLE,
                f"the lock file {path} cannot be made: {error.strerror}; "
                "XDG_STATE_HOME names a folder that can be written",
            ) from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            owner = os.pread(file, 32, 0).decode(errors="replace").strip()
            os.close(file)
            raise Refused(
                Code.CONFLICT,
                f"another process{f' ({owner})' if owner else ''} uses the key "
                f"{account.key} of {account.exchange}; stop it, or make a second key at the exchange",
            ) from None
        os.ftruncate(file, 0)
        os.write(file, f"pid {os.getpid()}\n".encode())
        return cls(file)

    def release(self) -> None:
        """Give it back."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
