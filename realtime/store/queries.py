"""Pages and ranges of the projections: SQL in, plain rows out. Runs in the writer's thread, between commits.

Rules of this file: (1) every statement has a limit; (2) text that a client sent goes in as a parameter; (3) a cursor
names the last row seen, so rows that come in between shift nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import orjson

from realtime.model.errors import Code, Refused
from realtime.store.driver import Connection, Value, number
from realtime.store.rows import Cell, Entry, Keyed, Log, Page
from realtime.store.schema import COLUMNS


MOST_ROWS: Final = 1_000
MOST_BYTES: Final = 786_432
"""Bytes of the rows of a page, which has one row at least: a reply of 1 MiB says more than its rows."""
MOST_FILLS: Final = 20_000
# A venue's clock may be ahead of ours, so an entry may be older by our clock than by its own [ns].
_SKEW: Final = 600_000_000_000
_ENTRY: Final = (
    "SELECT e.n, e.seq, e.key, e.ts, coalesce(e.body, j.body), j.hash{extra}"
    " FROM {log} AS e JOIN journal AS j ON j.seq = e.seq{join}"
)
Filters = Mapping[str, Cell | tuple[Cell, ...]]
"""Column to the value that it must have, or to several of which one will do; null asks nothing."""


def page_of_log(
    connection: Connection,
    log: Log,
    *,
    filters: Filters,
    since: int | None,
    until: int | None,
    limit: int,
    cursor: str | None,
    acked: bool | None = None,
) -> Page:
    """Read a page of a log, newest entry first.

    Args:
        connection: The open journal.
        log: Which log.
        filters: Column to value; null values ask nothing.
        since: Least time of an entry [ns], included.
        until: Greatest time of an entry [ns], excluded.
        limit: Most rows, 1..1000; of long ones there are fewer.
        cursor: `next_cursor` of the page before.
        acked: Alerts only: acknowledged ones, open ones, or (None) all.

    Raises:
        Refused: `invalid`, for a cursor that no page gave or a limit out of range.
    """
    where, params = _conditions(log, filters)
    if cursor is not None:
        where.append("e.n < ?")
        params.append(_number(cursor))
    if since is not None:
        where.append("e.ts >= ? AND e.n >= ?")
        params += [since, _first_since(connection, log, since - _SKEW)]
    if until is not None:
        where.append("e.ts < ?")
        params.append(until)
    if acked is not None:
        where.append(f"a.key IS {'NOT ' if acked else ''}NULL")
    extra, join = "", ""
    if log == "alerts":
        extra, join = ", a.acked_by", " LEFT JOIN acks AS a ON a.key = e.key"
    sql = _ENTRY.format(log=log, extra=extra, join=join)
    sql += f"{_where(where)} ORDER BY e.n DESC LIMIT ?"
    found = map(_entry, connection.execute(sql, (*params, _limit(limit) + 1)))
    rows, more = _cut(found, limit)
    return Page(rows=tuple(rows), next_cursor=str(rows[-1].n) if more else None)


def _first_since(connection: Connection, log: Log, recorded: int) -> int:
    """Find the first entry that was recorded at or after a time, by halving: the journal's time never falls.

    An index on the time of entries would be paid with every commit, for a question that is rarely asked.
    """
    low, high = 1, number(connection, f"SELECT max(n) FROM {log}") + 1  # noqa: S608 - our names
    sql = f"SELECT j.ts FROM {log} AS e JOIN journal AS j ON j.seq = e.seq WHERE e.n = ?"  # noqa: S608 - our names
    while low < high:
        middle = (low + high) // 2
        if number(connection, sql, (middle,)) < recorded:
            low = middle + 1
        else:
            high = middle
    return low


def fills_of(connection: Connection, order_ids: Sequence[str]) -> list[Entry]:
    """Read the fills of some orders, oldest first; of more than `MOST_FILLS` the newest."""
    sql = _ENTRY.format(log="fills", extra="", join="")
    # The plus keeps the planner from walking the whole log backwards for the sake of its order.
    sql += " WHERE e.order_id IN (SELECT value FROM json_each(?)) ORDER BY +e.n DESC LIMIT ?"
    asked = orjson.dumps(list(order_ids)).decode()
    return [_entry(row) for row in connection.execute(sql, (asked, MOST_FILLS))][::-1]


def count(connection: Connection, log: Log, filters: Filters) -> int:
    """Count the entries of a log under a filter: the position of the filtered stream."""
    where, params = _conditions(log, filters)
    if not where:
        return number(connection, f"SELECT max(n) FROM {log}")  # noqa: S608 - our names
    return number(connection, f"SELECT count(*) FROM {log} AS e{_where(where)}", params)  # noqa: S608 - our names


def entries(
    connection: Connection, log: Log, first: int, last: int, filters: Filters
) -> list[Entry]:
    """Read entries by their number, oldest first; under a filter the number counts what passes it.

    Args:
        connection: The open journal.
        log: Which log.
        first: Number of the first entry wanted, from 1.
        last: Number of the last one wanted.
        filters: Column to value; null values ask nothing.

    Returns:
        The entries that exist, `n` counted under the filter.
    """
    wanted = max(0, last - first + 1)
    where, params = _conditions(log, filters)
    sql = _ENTRY.format(log=log, extra="", join="")
    if not where:
        found = connection.execute(f"{sql} WHERE e.n BETWEEN ? AND ? ORDER BY e.n", (first, last))
        return [_entry(row) for row in found]
    # Numbers first: the filter's index holds them, so the entries skipped cost no look-up.
    numbers = [
        row[0]
        for row in connection.execute(
            f"SELECT e.n FROM {log} AS e{_where(where)} ORDER BY e.n LIMIT ? OFFSET ?",  # noqa: S608 - our names
            (*params, wanted, first - 1),
        )
    ]
    return [
        _entry(row)._replace(n=first + place)
        for place, n in enumerate(numbers)
        for row in connection.execute(f"{sql} WHERE e.n = ?", (n,))
    ]


def ended_orders(
    connection: Connection,
    *,
    symbol: str | None,
    since: int | None,
    until: int | None,
    limit: int,
    cursor: str | None,
) -> Page:
    """Read a page of ended orders, newest first by their `ts`; arguments as for `page_of_log`."""
    where, params = _conditions("orders", {"symbol": symbol})
    # Written out, because only then it is the condition of the index.
    where.append("e.ended = 1")
    return _page_of_table(connection, "orders", where, params, since, until, limit, cursor)


def signals(
    connection: Connection,
    *,
    filters: Filters,
    since: int | None,
    limit: int,
    cursor: str | None,
) -> Page:
    """Read a page of decisions, newest first by their `ts`; arguments as for `page_of_log`."""
    where, params = _conditions("signals", filters)
    return _page_of_table(connection, "signals", where, params, since, None, limit, cursor)


def _page_of_table(
    connection: Connection,
    table: Keyed,
    where: list[str],
    params: list[Value],
    since: int | None,
    until: int | None,
    limit: int,
    cursor: str | None,
) -> Page:
    """Read a page of a keyed table; the cursor is the place of the last row of the page before."""
    if since is not None:
        where.append("e.ts >= ?")
        params.append(since)
    if until is not None:
        where.append("e.ts < ?")
        params.append(until)
    if cursor is not None:
        ts, _, key = cursor.partition(".")
        where.append("(e.ts, e.key) < (?, ?)")
        params += [_number(ts), key]
    sql = f"SELECT e.key, e.ts, e.body FROM {table} AS e{_where(where)}"  # noqa: S608 - our names
    sql += " ORDER BY e.ts DESC, e.key DESC LIMIT ?"
    found = map(_keyed, connection.execute(sql, (*params, _limit(limit) + 1)))
    rows, more = _cut(found, limit)
    return Page(rows=tuple(rows), next_cursor=f"{rows[-1].ts}.{rows[-1].key}" if more else None)


def _cut(found: Iterable[Entry], limit: int) -> tuple[list[Entry], bool]:
    """Take what a page may have, by number and by size, and say whether there is more."""
    rows: list[Entry] = []
    size = 0
    for row in found:
        size += len(row.body)
        if len(rows) == limit or (rows and size > MOST_BYTES):
            return rows, True
        rows.append(row)
    return rows, False


def order(connection: Connection, *, key: str | None, client_order_id: str | None) -> Entry | None:
    """Find one order by its id, or the newest with a client's id."""
    column, value = ("key", key) if key is not None else ("client_order_id", client_order_id)
    found = connection.execute(
        f"SELECT key, ts, body FROM orders WHERE {column} = ? ORDER BY ts DESC LIMIT 1",  # noqa: S608 - our names
        (value,),
    )
    return next((_keyed(row) for row in found), None)


def rows(
    connection: Connection,
    table: Keyed,
    *,
    since: int | None,
    until: int | None,
    limit: int,
    before: Entry | None = None,
) -> list[Entry]:
    """Read rows of a keyed table, newest first by `ts`; those behind the row `before` in that order."""
    last = until if until is not None else 2**63 - 1
    found = connection.execute(
        f"SELECT key, ts, body FROM {table} WHERE ts >= ? AND ts < ? AND (ts, key) < (?, ?)"  # noqa: S608 - our names
        " ORDER BY ts DESC, key DESC LIMIT ?",
        (since or 0, last, *((last, "") if before is None else (before.ts, before.key)), limit),
    )
    return [_keyed(row) for row in found]


def _conditions(table: Keyed | Log, filters: Filters) -> tuple[list[str], list[Value]]:
    known = COLUMNS[table]
    where: list[str] = []
    params: list[Value] = []
    for name, value in filters.items():
        if name not in known:
            raise Refused(
                Code.INVALID, f"{table} cannot be filtered by {name}; known: {', '.join(known)}"
            )
        if isinstance(value, tuple):
            where.append(f"e.{name} IN ({','.join('?' * len(value))})")
            params += value
        elif value is not None:
            where.append(f"e.{name} = ?")
            params.append(value)
    return where, params


def _where(conditions: Sequence[str]) -> str:
    return " WHERE " + " AND ".join(conditions) if conditions else ""


def _limit(limit: int) -> int:
    if not 1 <= limit <= MOST_ROWS:
        raise Refused(Code.INVALID, f"limit was {limit}, allowed are 1 to {MOST_ROWS}")
    return limit


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 19 and int(text) < 2**63):
        message = f"no page gave the cursor {text[:40]!r}; use next_cursor as it came"
        details = {"fields": [{"field": "cursor", "message": message}]}
        raise Refused(Code.INVALID, message, details)
    return int(text)


def _entry(row: Sequence[Value]) -> Entry:
    n, seq, key, ts, body, digest, *acked = row
    assert isinstance(n, int)
    assert isinstance(seq, int)
    assert isinstance(ts, int)
    assert isinstance(body, bytes)
    assert isinstance(digest, bytes)
    by = acked[0] if acked else None
    return Entry(n, seq, str(key), ts, body, digest.hex(), None if by is None else str(by))


def _keyed(row: Sequence[Value]) -> Entry:
    key, ts, body = row
    assert isinstance(ts, int)
    assert isinstance(body, bytes)
    return Entry(0, 0, str(key), ts, body)
