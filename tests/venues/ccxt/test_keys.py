"""Where exchange keys come from, that one process uses each, and that they never leave (V7, O14, S4)."""

import base64
import copy
import pickle
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from urllib.parse import quote

import orjson
import pytest
from hypothesis import given, settings as profile, strategies as st

from realtime import settings
from realtime.model.errors import Code, Refused
from realtime.settings import VenueSettings
from realtime.venues.ccxt.account import Account, Secret
from realtime.venues.ccxt.keys import Lock, account_of, fingerprint, lock_directory
from realtime.venues.ccxt.redaction import Redaction


KEY = "canary-key-0123456789"
SECRET = "canary/secret+with==signs"


# -- the type --------------------------------------------------------------------------------------


def test_a_secret_shows_its_last_four_characters_and_nothing_else() -> None:
    secret = Secret(KEY)

    assert [str(secret), repr(secret), f"{secret}", f"{secret:>10}", "%s" % secret] == [  # noqa: UP031 - this form, too
        "***6789",
        "***6789",
        "***6789",
        "   ***6789",
        "***6789",
    ]
    assert str(Secret("short")) == "***"
    assert KEY not in repr(Account(id="a", exchange="kraken", key=secret))
    assert secret.reveal() == KEY


def test_a_secret_is_neither_pickled_nor_copied() -> None:
    for way in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            way(Secret(KEY))


def test_secrets_are_equal_when_their_texts_are() -> None:
    assert Secret(KEY) == Secret(KEY)
    assert Secret(KEY) != Secret(SECRET)
    assert Secret(KEY) != KEY
    assert len({Secret(KEY), Secret(KEY)}) == 1
    assert not Secret("")


# -- where they come from --------------------------------------------------------------------------


def test_the_environment_adds_keys_to_an_account_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "realtime.toml"
    file.write_text(
        '[[venues]]\nid = "main"\nexchange = "kraken"\n[[venues]]\nid = "bybit"\ntypes = ["swap"]\n'
    )
    monkeypatch.setenv("REALTIME_VENUES__MAIN__KEY", KEY)
    monkeypatch.setenv("REALTIME_VENUES__MAIN__SECRET", SECRET)
    monkeypatch.setenv("REALTIME_VENUES__MAIN__TYPES", "spot, swap")
    monkeypatch.setenv("REALTIME_VENUES__MAIN__OPTIONS", '{"x": 1}')
    read = settings.load(file, venues={"okx": {}})
    main, bybit, okx = (account_of(venue) for venue in sorted(read.venues, key=_order))

    assert (main.id, main.exchange, main.types) == ("main", "kraken", ("spot", "swap"))
    assert (main.key.reveal(), main.secret.reveal()) == (KEY, SECRET)
    assert main.options == {"x": 1}
    assert (bybit.exchange, bybit.types, bybit.has_keys) == ("bybit", ("swap",), False)
    assert okx.exchange == "okx"
    assert KEY not in repr(read)
    assert SECRET not in repr(read.model_dump())


def _order(venue: VenueSettings) -> int:
    return ("main", "bybit", "okx").index(venue.id)


def test_a_part_of_an_account_is_named_where_requests_name_it() -> None:
    account = account_of(VenueSettings(id="ndax", subaccount="7", options={"x": 1}))

    assert account.options == {"x": 1, "accountId": "7"}
    assert account.subaccount == "7"


def test_a_key_is_read_from_a_file_of_its_owner(tmp_path: Path) -> None:
    for name, text in (("key", KEY), ("secret", SECRET)):
        (tmp_path / name).write_text(f"{text}\n")
        (tmp_path / name).chmod(0o600)
    venue = VenueSettings(
        id="kraken", key_file=str(tmp_path / "key"), secret_file=str(tmp_path / "secret")
    )
    account = account_of(venue)

    assert (account.key.reveal(), account.secret.reveal()) == (KEY, SECRET)
    assert account.password == Secret("")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_file_that_others_can_read_is_refused_with_what_to_do(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "key"
    file.write_text(KEY)
    file.chmod(mode)
    with pytest.raises(Refused) as refusal:
        account_of(VenueSettings(id="kraken", key_file=str(file)))

    assert refusal.value.code is Code.INVALID
    assert f"chmod 600 {file}" in refusal.value.message
    assert "venues.kraken.key_file" in refusal.value.message
    assert KEY not in refusal.value.message


@pytest.mark.parametrize(
    ("given_", "said"),
    [
        ({"key": KEY}, "venues.kraken.secret: is missing"),
        ({"secret": SECRET}, "venues.kraken.key: is missing"),
        ({"key": KEY, "key_file": "/nowhere", "secret": SECRET}, "is set twice"),
        ({"key_file": "/nowhere", "secret": SECRET}, "cannot be read"),
        ({"keyring": True}, "pip install keyring"),
        ({"subaccount": "two"}, "create one there"),
    ],
)
def test_what_is_wrong_is_said_with_the_setting_and_without_the_secret(
    given_: dict[str, object], said: str
) -> None:
    with pytest.raises(Refused) as refusal:
        account_of(VenueSettings(id="kraken", **given_))

    assert said in refusal.value.message
    assert SECRET not in refusal.value.message
    assert KEY not in refusal.value.message


@pytest.mark.parametrize(("content", "said"), [(b"\n", "empty"), (b"\xff\xfe", "not a text")])
def test_a_file_without_a_secret_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    file = tmp_path / "key"
    file.write_bytes(content)
    file.chmod(0o600)
    with pytest.raises(Refused, match=said):
        account_of(VenueSettings(id="kraken", key_file=str(file)))


def test_the_keyring_is_asked_where_it_is_switched_on(monkeypatch: pytest.MonkeyPatch) -> None:
    keyring, errors = ModuleType("keyring"), ModuleType("keyring.errors")
    kept = {"kraken.key": KEY, "kraken.secret": SECRET}
    keyring.get_password = lambda service, name: (  # type: ignore[attr-defined]
        kept.get(name) if service == "nexus-realtime" else None
    )
    errors.KeyringError = RuntimeError  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "keyring", keyring)
    monkeypatch.setitem(sys.modules, "keyring.errors", errors)
    account = account_of(VenueSettings(id="kraken", keyring=True))

    assert (account.key.reveal(), account.secret.reveal()) == (KEY, SECRET)

    def locked(_service: str, _name: str) -> str:
        raise RuntimeError(SECRET)

    keyring.get_password = locked  # type: ignore[attr-defined]
    with pytest.raises(Refused) as refusal:
        account_of(VenueSettings(id="kraken", keyring=True))
    assert SECRET not in refusal.value.message


def test_settings_with_a_secret_that_others_can_read_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "realtime.toml"
    file.write_text(f'[[venues]]\nid = "kraken"\nkey = "{KEY}"\nsecret = "{SECRET}"\n')
    file.chmod(0o644)
    with pytest.raises(ValueError, match="chmod 600") as refusal:
        settings.load(file)

    assert KEY not in str(refusal.value)
    file.chmod(0o600)
    assert account_of(settings.load(file).venues[0]).key == Secret(KEY)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o620])
def test_settings_with_a_secret_are_the_owners_alone(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "realtime.toml"
    file.write_text(f'[[venues]]\nid = "kraken"\nsecret = "{SECRET}"\n')
    file.chmod(mode)
    with pytest.raises(ValueError, match="chmod 600"):
        settings.load(file)


@pytest.mark.parametrize(
    "venues",
    [
        [{"id": "a"}, {"id": "a"}],
        [{"id": "A"}],
        [{"id": "a__b"}],
        [{"id": "a", "types": []}],
        [{"id": "a", "types": ["margin"]}],
        [{"id": "a", "endpoint": "ftp://x"}],
        [{"id": "a", "unknown": 1}],
        {"a": 1},
    ],
)
def test_accounts_that_make_no_sense_are_refused(tmp_path: Path, venues: object) -> None:
    with pytest.raises(ValueError, match="venues"):
        settings.load(tmp_path / "none", venues=venues)


# -- one process per key ---------------------------------------------------------------------------

TAKE = """
import sys
from pathlib import Path
from realtime.model.errors import Refused
from realtime.venues.ccxt.account import Account, Secret
from realtime.venues.ccxt.keys import Lock
try:
    lock = Lock.take(Account(id="other", exchange=sys.argv[2], key=Secret(sys.argv[3])), Path(sys.argv[1]))
except Refused as refusal:
    print(refusal.code, refusal.message)
else:
    print("taken")
"""


def take(directory: Path, exchange: str, key: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", TAKE, str(directory), exchange, key],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    return done.stdout.strip()


@pytest.mark.promise("O14")
def test_a_second_process_with_the_same_key_is_refused(tmp_path: Path) -> None:
    account = Account(id="kraken", exchange="kraken", key=Secret(KEY))
    lock = Lock.take(account, tmp_path)
    second = take(tmp_path, "kraken", KEY)
    print(f"O14: a second process with the same key: {second[:60]} …")

    assert second.startswith("conflict another process (pid ")
    assert "***6789" in second
    assert KEY not in second
    assert KEY not in "".join(file.name + file.read_text() for file in tmp_path.iterdir())
    with pytest.raises(Refused):
        Lock.take(account, tmp_path)
    assert take(tmp_path, "bybit", KEY) == "taken"
    assert take(tmp_path, "kraken", KEY + "0") == "taken"
    lock.release()
    lock.release()
    assert take(tmp_path, "kraken", KEY) == "taken"


def test_a_lock_that_cannot_be_made_says_so(tmp_path: Path) -> None:
    account = Account(id="kraken", exchange="kraken", key=Secret(KEY))
    with pytest.raises(Refused) as refusal:
        Lock.take(account, tmp_path / "missing")

    assert refusal.value.code is Code.VENUE_UNAVAILABLE
    assert "XDG_STATE_HOME" in refusal.value.message


def test_locks_lie_with_the_user_not_with_what_started_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    place = lock_directory()
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    other = lock_directory()

    assert place == tmp_path / "state/nexus-realtime/locks"
    assert place.stat().st_mode & 0o077 == 0
    assert other.parent == tmp_path
    assert other.is_dir()


def test_a_fingerprint_tells_keys_apart_and_not_what_they_are() -> None:
    one = fingerprint(Account(id="a", exchange="kraken", key=Secret(KEY)))

    assert one == fingerprint(Account(id="b", exchange="kraken", key=Secret(KEY)))
    assert one != fingerprint(Account(id="a", exchange="bybit", key=Secret(KEY)))
    assert len(one) == 16


# -- redaction -------------------------------------------------------------------------------------


@pytest.mark.promise("S4")
@given(
    st.text(st.characters(codec="ascii", categories=["L", "N", "P", "S"]), min_size=12, max_size=64)
)
@profile(max_examples=60, deadline=None)
def test_a_secret_is_found_in_every_form(text: str) -> None:
    redact = Redaction([Secret(text)])
    raw = text.encode()
    forms = [
        text,
        base64.b64encode(raw).decode(),
        base64.urlsafe_b64encode(raw).decode(),
        raw.hex(),
        quote(text, safe=""),
        orjson.dumps(text).decode()[1:-1],
    ]
    for form in forms:
        assert form not in redact(f"before {form} after")
        assert form not in str(redact.deep({"a": [form, {"b": form}], form: 1}))


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        (
            "bybit GET http://h/v5?api_key=abcdefgh&timestamp=1&sign=0123456789",
            "bybit GET http://h/v5?api_key=***&timestamp=1&sign=***",
        ),
        ("{'X-BAPI-SIGN': '0123456789', 'x': 1}", "{'X-BAPI-SIGN': '***', 'x': 1}"),
        ('{"apiKey":"abcdefgh","sig":1}', '{"apiKey":"***","sig":1}'),
        ("Authorization: Bearer abcdefgh.ijk", "Authorization: Bearer ***"),
        ("bfx-signature=abcdef0123", "bfx-signature=***"),
        ("design: an idea; assigned=someone", "design: an idea; assigned=someone"),
        ("order 17 of BTC/USDT was refused: Insufficient funds", None),
    ],
)
def test_what_signs_a_request_goes_by_its_name(text: str, clean: str | None) -> None:
    assert Redaction()(text) == (clean or text)


def test_fields_that_are_named_so_are_masked_whatever_they_hold() -> None:
    row = {"apiKey": "abcdefgh", "password": 12345678, "amount": "1", "n": 5, "secret": ""}

    assert Redaction().deep(row) == {
        "apiKey": "***",
        "password": "***",
        "amount": "1",
        "n": 5,
        "secret": "",
    }


def test_a_key_of_several_lines_is_found_line_by_line() -> None:
    line = "MHcCAQEEIabcdefghijklmnopqrstuvwxyz"
    redact = Redaction([Secret(f"-----BEGIN EC PRIVATE KEY-----\n{line}\n-----END-----")])

    assert line not in redact(f"what is {line} for")


@pytest.mark.parametrize("name", ["privateKey", "walletAddress", "secret"])
def test_a_secret_is_no_option(name: str) -> None:
    """R1: it was taken, shown by `repr`, not redacted, and without effect."""
    with pytest.raises(Refused, match="is a secret and no option") as caught:
        account_of(VenueSettings(id="hyperliquid", options={name: "0x" + "deadbeef" * 8}))

    assert "deadbeef" not in str(caught.value)
