"""The tables, as numbered steps forward.

Rules of this file: (1) a released step is never edited; (2) every step runs inside one transaction with the new
`user_version`; (3) the columns a page can filter by stand in `COLUMNS`, in the order of the table.
"""

from collections.abc import Mapping, Sequence
from typing import Final, get_args

from realtime.store.driver import Connection, number
from realtime.store.rows import LOGS, Keyed, Log


COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    "orders": ("symbol", "client_order_id", "bot_id", "ended"),
    "days": (),
    "tokens": (),
    "equity": (),
    "acks": ("acked_by",),
    "bots": (),
    "bot_counters": (),
    "signals": ("symbol", "bot_id", "strategy"),
    "backtests": (),
    "config_versions": (),
    "plans": (),
    "fills": ("symbol", "order_id"),
    "events": ("type", "bot_id"),
    "alerts": ("level", "code"),
}
KEYED: Final[tuple[Keyed, ...]] = get_args(Keyed)

# Version 1. Indexes are paid on every commit, so each stands for one question of a page:
# history of ended orders (partial: written once per order, when it ends), an order by the client's id,
# a log under each filter (covering, so that the k-th entry of a filter is found without its rows).
_V1: Final = """
CREATE TABLE meta(name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE journal(
    seq INTEGER PRIMARY KEY, ts INTEGER NOT NULL, kind TEXT NOT NULL, key TEXT NOT NULL,
    body BLOB NOT NULL, hash BLOB NOT NULL);
CREATE TABLE orders(
    key TEXT PRIMARY KEY, ts INTEGER NOT NULL, symbol TEXT, client_order_id TEXT, bot_id TEXT,
    ended INTEGER, body BLOB NOT NULL);
CREATE INDEX orders_ended ON orders(ts, key) WHERE ended = 1;
CREATE INDEX orders_ended_symbol ON orders(symbol, ts, key) WHERE ended = 1;
CREATE INDEX orders_client ON orders(client_order_id) WHERE client_order_id IS NOT NULL;
CREATE TABLE days(key TEXT PRIMARY KEY, ts INTEGER NOT NULL, body BLOB NOT NULL);
CREATE TABLE tokens(key TEXT PRIMARY KEY, ts INTEGER NOT NULL, body BLOB NOT NULL);
CREATE TABLE equity(key TEXT PRIMARY KEY, ts INTEGER NOT NULL, body BLOB NOT NULL);
CREATE INDEX equity_ts ON equity(ts);
CREATE TABLE acks(
    key TEXT PRIMARY KEY, ts INTEGER NOT NULL, acked_by TEXT, body BLOB NOT NULL);
CREATE TABLE fills(
    n INTEGER PRIMARY KEY, seq INTEGER NOT NULL, key TEXT NOT NULL, ts INTEGER NOT NULL,
    symbol TEXT, order_id TEXT, body BLOB);
CREATE INDEX fills_symbol ON fills(symbol, n);
CREATE INDEX fills_order ON fills(order_id, n);
CREATE TABLE events(
    n INTEGER PRIMARY KEY, seq INTEGER NOT NULL, key TEXT NOT NULL, ts INTEGER NOT NULL,
    type TEXT, bot_id TEXT, body BLOB);
CREATE INDEX events_type ON events(type, n);
CREATE INDEX events_bot ON events(bot_id, n) WHERE bot_id IS NOT NULL;
CREATE TABLE alerts(
    n INTEGER PRIMARY KEY, seq INTEGER NOT NULL, key TEXT NOT NULL, ts INTEGER NOT NULL,
    level TEXT, code TEXT, body BLOB);
CREATE INDEX alerts_level ON alerts(level, n);
CREATE INDEX alerts_key ON alerts(key)
"""

# Version 2: what strategies, bots, backtests, the configuration and the portfolio's plans keep.
_V2: Final = """
CREATE TABLE bots(key TEXT PRIMARY KEY, ts INTEGER NOT NULL, body BLOB NOT NULL);
CREATE TABLE bot_counters(key TEXT PRIMARY KEY, ts INTEGER NOT NULL, body BLOB NOT NULL);
CREATE TABLE signals(
    key TEXT PRIMARY KEY, ts INTEGER NOT NULL, symbol TEXT, bot_id TEXT, strategy TEXT, body BLOB NOT NULL);
CREATE INDEX signals_ts ON signals(ts, key);
CREATE INDEX signals_bot ON signals(bot_id, ts, key) WHERE bot_id IS NOT NULL;
CREATE TABLE backtests(key TEXT PRIMARY KEY, ts INTEGER NOT NULL, body BLOB NOT NULL);
CREATE INDEX backtests_ts ON backtests(ts, key);
CREATE TABLE config_versions(key TEXT PRIMARY KEY, ts INTEGER NOT NULL, body BLOB NOT NULL);
CREATE TABLE plans(key TEXT PRIMARY KEY, ts INTEGER NOT NULL, body BLOB NOT NULL)
"""

MIGRATIONS: Final[tuple[str, ...]] = (_V1, _V2)

# A batch goes in as ONE statement, an insert into a view whose trigger writes all tables. Every statement gives up
# the interpreter's lock and has to win it back from a busy event loop (up to 5 ms each time): with a few statements
# per table 256 rows took 100 ms beside a loop at full load, this way one wait. Scalars come as JSON, bodies and hashes
# as two long blobs that rows name by offset, so no byte of a body is parsed.
SOURCES: Final = ("journal", *LOGS, *KEYED)
COMMIT: Final = (
    f"INSERT INTO batch({','.join(SOURCES)},bodies,hashes,head)"  # noqa: S608 - our names
    f" VALUES ({','.join('?' * (len(SOURCES) + 3))})"
)


def prepare(connection: Connection) -> None:
    """Make the view and the trigger of `COMMIT`; they live in the connection, not in the file."""
    connection.execute("PRAGMA temp_store = MEMORY")
    nulls = ",".join(f"NULL AS {name}" for name in (*SOURCES, "bodies", "hashes", "head"))
    connection.execute(f"CREATE TEMP VIEW batch AS SELECT {nulls}")
    steps: dict[str, str] = {"journal": _journal(), "head": _head()}
    steps.update((log, _log(log)) for log in LOGS)
    steps.update((table, _keyed(table)) for table in KEYED)
    for name, step in steps.items():
        # One for each table, not one for all: to find that a table gets nothing costs as much as a row of it.
        connection.execute(
            f"CREATE TEMP TRIGGER commit_{name} INSTEAD OF INSERT ON batch"
            f" WHEN new.{name} IS NOT NULL BEGIN {step} END"
        )


def _cell(place: int) -> str:
    return f"json_extract(value,'$[{place}]')"


def _body(place: int) -> str:
    """Cut a body out of the long blob; its offset and length stand at `place`, a null offset gives null."""
    return f"substr(new.bodies,{_cell(place)},{_cell(place + 1)})"


def _journal() -> str:
    cells = ",".join(_cell(place) for place in range(4))
    return (
        f"INSERT INTO journal(seq,ts,kind,key,body,hash) SELECT {cells},{_body(4)},"  # noqa: S608 - our names
        "substr(new.hashes,1+32*each.key,32) FROM json_each(new.journal) AS each;"
    )


def _log(table: Log) -> str:
    names = ("n", "seq", "key", "ts", *COLUMNS[table])
    cells = ",".join(_cell(place) for place in range(len(names)))
    return (
        f"INSERT INTO {table}({','.join(names)},body) SELECT {cells},{_body(len(names))}"  # noqa: S608 - our names
        f" FROM json_each(new.{table});"
    )


def _keyed(table: Keyed) -> str:
    names = ("key", "ts", *COLUMNS[table])
    cells = ",".join(_cell(place) for place in range(len(names)))
    update = ",".join(f"{name}=excluded.{name}" for name in (*names[1:], "body"))
    return (
        f"INSERT INTO {table}({','.join(names)},body) SELECT {cells},{_body(len(names))}"  # noqa: S608 - our names
        f" FROM json_each(new.{table}) WHERE true ON CONFLICT(key) DO UPDATE SET {update};"
    )


def _head() -> str:
    return (
        "INSERT INTO meta(name,value) VALUES ('head',new.head)"
        " ON CONFLICT(name) DO UPDATE SET value=excluded.value;"
    )


def version(connection: Connection) -> int:
    """Read the file's schema number; a new file has 0."""
    return number(connection, "PRAGMA user_version")


def migrate(connection: Connection, migrations: Sequence[str], found: int) -> None:
    """Bring the file from `found` to the newest schema, inside the caller's transaction."""
    for steps in migrations[found:]:
        for sql in steps.split(";"):
            connection.execute(sql)
    connection.execute(f"PRAGMA user_version = {len(migrations):d}")
