"""The HTTP twin: the same ops, codes and scopes; conformance items 6, 53 and 54."""

import asyncio
import threading
from dataclasses import replace
from typing import Any

import orjson
import pytest
from starlette.types import Receive, Scope, Send

from realtime.commands.config import ValidateParams
from realtime.commands.params import Params
from realtime.commands.registry import BOUND, HTTP_ONLY, Answer, Registry
from realtime.model.errors import Code, Refused
from realtime.server import schema
from realtime.server.http import aliases, typed
from realtime.server.limits import RATES, Rate
from tests.server.front import EPOCH, HOST, PAGE, TOKENS, request, stack


BEARER = {"authorization": "Bearer rt_tom"}


# --- ops ------------------------------------------------------------------------------------------


async def test_an_op_is_posted_with_flat_arguments() -> None:
    async with stack() as s:
        page = await s.request("POST", "/api/toy.place?client=bot-7", {"text": "hi"})

        assert page.status == 200
        assert page.json() == {
            "op": "toy.place",
            "ok": True,
            "ts": EPOCH,
            "result": {"text": "hi", "n": 1},
        }
        assert page.headers["content-type"] == "application/json"
        assert page.headers["cache-control"] == "no-store"
        call = s.toys.seen[0]
        assert (call.client, call.source, call.session) == ("bot-7", "http", None)
        assert call.peer.address == "10.0.0.9"


async def test_a_client_without_a_name_is_called_http() -> None:
    async with stack() as s:
        await s.request("POST", "/api/toy.place", {})
        page = await s.request("POST", "/api/toy.place?client=a b", {})

        assert s.toys.seen[0].client == "http"
        assert (page.status, page.json()["error"]["code"]) == (400, "bad_request")


async def test_an_op_that_takes_time_is_waited_for() -> None:
    async with stack() as s:
        page = await s.request("POST", "/api/toy.slow", {"request_id": "r"})

        assert page.json()["result"] == {"n": 1}
        assert page.json()["ts"] == EPOCH + 1000


@pytest.mark.parametrize("code", [code for code in Code if code is not Code.ABSENT])
async def test_53_every_code_has_its_status_and_is_the_same_as_over_a_socket(code: Code) -> None:
    async with stack() as s, s.connect() as c:
        s.toys.raises = Refused(code, "no", {"a": 1}, retry_after=1.5)
        page = await s.request("POST", "/api/toy.place", {})
        reply = await c.call("toy.place")

        assert page.status == code.http
        assert page.json()["error"] == reply["error"]
        assert page.headers["retry-after"] == "2"


async def test_53_every_op_gives_the_same_result_over_http() -> None:
    async with stack() as s, s.connect() as c:
        for name, op in s.registry.ops.items():
            if name in BOUND | HTTP_ONLY | {"ping", "monitoring.connections"}:
                continue
            s.toys.seen.clear()
            reply = await c.call(name, **op.example)
            s.toys.seen.clear()
            page = await s.request("POST", f"/api/{name}", dict(op.example))
            assert page.status == (200 if reply["ok"] else Code(reply["error"]["code"]).http)
            assert page.json().get("result") == reply.get("result")


async def test_at_is_part_of_the_answer() -> None:
    async with stack() as s:
        s.toys.at = {"orders": {"epoch": "k1", "seq": 1}}
        page = await s.request("POST", "/api/toy.place", {})

        assert page.json()["at"] == s.toys.at


@pytest.mark.parametrize("op", sorted(BOUND))
async def test_ops_of_a_connection_are_not_supported(op: str) -> None:
    async with stack() as s:
        page = await s.request("POST", f"/api/{op}", {})

        assert (page.status, page.json()["error"]["code"]) == (501, "not_supported")


async def test_a_deadman_over_http_knows_no_grace() -> None:
    async with stack() as s:
        toy = s.registry.ops["toy.stop"]
        s.registry.add(replace(toy, name="deadman"))

        grace = await s.request("POST", "/api/deadman", {"grace": 5})
        assert (grace.status, grace.json()["error"]["code"]) == (501, "not_supported")
        assert (await s.request("POST", "/api/deadman", {"text": "60"})).status == 200


async def test_an_unknown_op_is_404_with_a_hint() -> None:
    async with stack() as s:
        page = await s.request("POST", "/api/toy.plaec", {})

        assert page.status == 404
        assert "did you mean toy.place?" in page.json()["error"]["message"]


# --- bodies ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "code", "status"),
    [
        (b"hello", "bad_request", 400),
        (b"[]", "bad_request", 400),
        (b'{"text":"\xff"}', "bad_request", 400),
        (b'{"amount":NaN}', "bad_request", 400),
        (b"[" * 3000, "bad_request", 400),
        (b'{"amount":99999999999999999999}', "invalid", 422),
        (b'{"id":1}', "invalid", 422),
        (b'{"text":"' + b"x" * 70_000 + b'"}', "bad_request", 413),
    ],
)
async def test_bad_bodies_get_coded_errors(body: bytes, code: str, status: int) -> None:
    async with stack() as s:
        page = await s.request("POST", "/api/toy.place", body)

        assert (page.json()["error"]["code"], page.status) == (code, status)
        assert s.toys.seen == []


@pytest.mark.parametrize("length", ["70000", "9" * 30, "x"])
async def test_a_body_that_announces_too_much_is_not_read(length: str) -> None:
    async with stack() as s:
        page = await s.request("POST", "/api/toy.place", b"{}", headers={"content-length": length})

        assert page.status == (200 if length == "x" else 413)


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "", "application/json-patch+json"]
)
async def test_only_json_is_taken(kind: str) -> None:
    async with stack() as s:
        page = await s.request("POST", "/api/toy.place", b"{}", headers={"content-type": kind})

        assert page.status == 400
        assert "Content-Type" in page.json()["error"]["message"]


async def test_a_charset_does_no_harm_and_an_empty_body_has_no_arguments() -> None:
    async with stack() as s:
        kind = {"content-type": "application/json; charset=utf-8"}

        assert (await s.request("POST", "/api/toy.place", b"", headers=kind)).status == 200


async def test_unknown_query_arguments_are_refused() -> None:
    async with stack() as s:
        for path in (
            "/api/toy.place?amount=1",
            "/api/toy.place?client=a&client=b",
            "/api/ping?=&=x",
        ):
            assert (await s.request("POST", path, {})).status == 400
        many = "&".join(f"a{n}=1" for n in range(70))
        assert (await s.request("POST", f"/api/toy.place?{many}", {})).status == 400


# --- aliases --------------------------------------------------------------------------------------


async def test_aliases_take_arguments_from_path_and_query() -> None:
    async with stack() as s:
        page = await s.request(
            "GET", "/api/toys/BTC%2FUSDT?amount=1.5&items=1,2&wait=false&client=me"
        )
        assert page.status == 422  # items of texts
        page = await s.request("GET", "/api/toys/BTC%2FUSDT?amount=1.5&wait=false&client=me")

        assert page.json()["op"] == "toy.place"
        params = s.toys.seen[0].params
        assert (params.text, str(params.amount), params.wait) == ("BTC/USDT", "1.5", False)
        assert s.toys.seen[0].client == "me"


async def test_literal_paths_go_before_parameters() -> None:
    async with stack() as s:
        literal = await s.request("GET", "/api/toys/literal")
        other = await s.request("HEAD", "/api/toys/other")

        assert literal.json()["result"]["text"] == ""
        assert other.status == 200
        order = [alias.parts for alias in aliases(s.registry) if alias.parts[:2] == ("api", "toys")]
        assert order == [("api", "toys"), ("api", "toys", "literal"), ("api", "toys", "{text}")]


async def test_an_alias_with_a_body_takes_arguments_from_both_once() -> None:
    async with stack() as s:
        page = await s.request("POST", "/api/toys?text=x", {"amount": "1"})
        twice = await s.request("POST", "/api/toys?text=x", {"text": "y"})

        assert page.json()["result"]["text"] == "x"
        assert twice.status == 400


async def test_the_wrong_method_is_405_and_says_which() -> None:
    async with stack() as s:
        for method, path, allowed in (
            ("DELETE", "/api/toys", "POST"),
            ("GET", "/api/toy.place", "POST"),
            ("POST", "/api/toys/x", "GET, HEAD"),
            ("PUT", "/api/ping", "POST"),
            ("OPTIONS", "/api/snapshot?channel=orders", "GET, HEAD"),
        ):
            page = await s.request(method, path)
            assert (page.status, page.headers["allow"]) == (405, allowed)
            assert page.json()["error"]["code"] == "bad_request"
            assert (page.json()["ok"], page.json()["ts"]) == (False, EPOCH)


async def test_arguments_of_a_query_are_read_as_their_op_wants_them() -> None:
    async with stack() as s:
        toy = s.registry.ops["toy.place"]

        assert typed(toy, "amount", "5") == "5"
        assert typed(toy, "wait", "true") is True
        assert typed(toy, "wait", "yes") == "yes"
        assert typed(toy, "items", "a,b,") == ["a", "b"]
        assert typed(toy, "nope", "5") == "5"
        judge = replace(toy, params=ValidateParams)
        assert typed(judge, "candidate", '{"risk":{"x":1}}') == {"risk": {"x": 1}}
        assert typed(judge, "candidate", "[]") == "[]"
        with pytest.raises(Refused, match="not JSON"):
            typed(judge, "candidate", "{")
        assert typed(toy, "count", "5") == 5
        assert typed(toy, "count", "5x") == "5x"
        assert typed(toy, "seconds", "1.5") == 1.5
        assert typed(toy, "seconds", "0.05") == 0.05


async def test_who_leaves_before_the_body_is_whole_is_no_mistake_of_ours() -> None:
    said: list[Any] = []
    inbox = [
        {"type": "http.request", "body": b'{"text":', "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive() -> Any:
        return inbox.pop(0)

    async def send(message: Any) -> None:
        said.append(message)

    headers = [(b"host", HOST.encode()), (b"content-type", b"application/json")]
    scope = {
        "type": "http",
        "method": "POST",
        "scheme": "http",
        "path": "/api/toy.place",
        "query_string": b"",
        "headers": headers,
        "server": ("127.0.0.1", 8000),
    }
    async with stack() as s:
        await s.front(scope, receive, send)

        assert (said, inbox, s.toys.seen) == ([], [], [])


# --- identity -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("op", "body", "code"),
    [
        ("toy.place", {"amount": 2**60}, "invalid"),
        ("deadman", {"grace": 5}, "not_supported"),
    ],
)
async def test_what_cannot_be_taken_is_told_to_who_may_ask_and_counted(
    op: str, body: dict[str, object], code: str
) -> None:
    async with stack(locked=True, rates=RATES) as s:
        s.registry.add(replace(s.registry.ops["toy.stop"], name="deadman"))
        stranger = await s.request("POST", f"/api/{op}", body)
        pages = [await s.request("POST", f"/api/{op}", body, headers=BEARER) for _ in range(201)]

        assert (stranger.status, stranger.json()["op"]) == (401, op)
        assert pages[0].json()["error"]["code"] == code
        assert pages[-1].json()["error"]["code"] == "rate_limited"
        assert s.toys.seen == []


async def test_a_bearer_token_is_who_asks() -> None:
    async with stack(locked=True) as s:
        assert (await s.request("POST", "/api/toy.place", {})).status == 401
        assert (await s.request("POST", "/api/toy.place", {}, headers=BEARER)).status == 200
        bad = await s.request("POST", "/api/ping", {}, headers={"authorization": "Bearer no"})
        assert bad.status == 401
        assert (await s.request("GET", "/api/health")).status == 200
        assert s.toys.seen[0].principal.subject == "tom"


async def test_the_cookie_counts_only_with_an_allowed_origin() -> None:
    async with stack(locked=True) as s:
        page = await s.request(
            "POST", "/api/auth.login", {"token": "rt_tom"}, headers={"origin": PAGE}
        )
        assert page.json()["result"] == {
            "subject": "tom",
            "role": "trader",
            "scopes": ["read", "trade"],
            "expires_at": None,
        }
        cookie = page.headers["set-cookie"]
        value, _, attributes = cookie.partition("; ")
        assert attributes == "Path=/; Max-Age=43200; HttpOnly; SameSite=Strict"
        with_origin = {"cookie": value, "origin": PAGE}
        assert (await s.request("POST", "/api/toy.place", {}, headers=with_origin)).status == 200
        without = await s.request("POST", "/api/toy.place", {}, headers={"cookie": value})
        assert without.status == 401
        out = await s.request("POST", "/api/auth.logout", {}, headers=with_origin)
        assert out.headers["set-cookie"].startswith("realtime=; ")
        assert "Max-Age=0" in out.headers["set-cookie"]
        assert (await s.request("POST", "/api/toy.place", {}, headers=with_origin)).status == 401


async def test_under_tls_the_cookie_is_secure() -> None:
    async with stack(locked=True) as s:
        page = await request(
            s.front, "POST", "/api/auth.login", {"token": "rt_tom"}, scheme="https"
        )

        assert page.headers["set-cookie"].endswith("; Secure")


async def test_a_ticket_becomes_a_cookie_once() -> None:
    async with stack(locked=True) as s:
        made = s.auth.ticket(s.auth.verify("rt_tom", ""), None, bound=False)
        first = await s.request(
            "POST", "/api/auth.login", {"ticket": made}, headers={"origin": PAGE}
        )
        second = await s.request(
            "POST", "/api/auth.login", {"ticket": made}, headers={"origin": PAGE}
        )

        assert first.json()["result"]["subject"] == "tom"
        assert second.status == 401


@pytest.mark.parametrize("args", [{}, {"token": "rt_tom", "ticket": "x"}], ids=["none", "both"])
async def test_a_login_is_with_one_of_the_two(args: dict[str, str]) -> None:
    async with stack(locked=True) as s:
        assert (await s.request("POST", "/api/auth.login", args)).status == 422


async def test_without_tokens_a_login_changes_nothing() -> None:
    async with stack() as s:
        page = await s.request("POST", "/api/auth.login", {})

        assert page.json()["result"]["subject"] == "local"
        assert "set-cookie" not in page.headers
        assert (await s.request("POST", "/api/auth.logout", {})).json()["result"] == {
            "changed": False
        }


async def test_a_ticket_is_made_for_somebody() -> None:
    async with stack(locked=True) as s:
        assert (await s.request("POST", "/api/auth.ticket", {})).status == 401
        page = await s.request("POST", "/api/auth.ticket", {}, headers=BEARER)
        assert page.json()["result"]["expires_at"] == EPOCH + 30_000


# --- snapshots, health, documents -----------------------------------------------------------------


async def test_54_a_snapshot_is_the_very_message_and_a_position_to_resume_from() -> None:
    async with stack() as s, s.connect() as c:
        s.hub.table("orders", rows=[{"id": "o-1"}])
        snapshot = (await s.request("GET", "/api/snapshot?channel=orders")).json()
        assert (snapshot["type"], snapshot["reason"]) == ("snapshot", "subscribe")
        assert snapshot["data"] == {"set": [{"id": "o-1"}]}
        s.hub.table("orders", rows=[{"id": "o-2"}])
        since = {"epoch": snapshot["epoch"], "seq": snapshot["seq"]}
        reply = await c.call("subscribe", channels=[{"channel": "orders", "since": since}])
        assert reply["result"]["channels"][0]["resumed"] is True
        assert (await c.until("update"))["data"]["set"] == [{"id": "o-2"}]


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("channel=nope", 404),
        ("", 404),
        ("channel=ticker:*", 422),
        ("channel=orders&x=1", 400),
        ("channel=orderbook:BTC/USDT?depth=500", 422),
    ],
)
async def test_a_snapshot_of_what_is_not_there_is_a_coded_error(query: str, status: int) -> None:
    async with stack() as s:
        assert (await s.request("GET", f"/api/snapshot?{query}")).status == status


async def test_snapshots_cost_tokens_of_the_lane_of_queries() -> None:
    rates = {**RATES, "query": Rate(per_s=1, burst=2)}
    async with stack(locked=True, rates=rates) as s:
        path = "/api/snapshot?channel=orders"
        pages = [await s.request("GET", path, headers=BEARER) for _ in range(3)]
        stop = await s.request("POST", "/api/toy.stop", {}, headers=BEARER)

    assert [page.status for page in pages] == [200, 200, 429]
    assert pages[2].json()["error"]["details"] == {"lane": "query"}
    assert stop.status == 200


async def test_snapshots_need_the_scope_of_the_channel() -> None:
    async with stack(locked=True) as s:
        assert (await s.request("GET", "/api/snapshot?channel=orders")).status == 401
        for token in TOKENS:
            headers = {"authorization": f"Bearer {token}"}
            page = await s.request("GET", "/api/snapshot?channel=logs", headers=headers)
            assert page.status == (200 if token == "rt_root" else 403)


async def test_health_follows_the_loop_and_readiness_the_reasons() -> None:
    async with stack() as s:
        assert (await s.request("GET", "/healthz")).json() == {"alive": True}
        assert (await s.request("GET", "/readyz")).json() == {
            "ready": True,
            "reasons": [],
            "weaker": [],
        }
        s.ready.append("markets are not loaded")
        page = await s.request("GET", "/readyz")
        assert (page.status, page.json()["reasons"]) == (503, ["markets are not loaded"])
        assert (await s.request("GET", "/api/health")).json()["result"] == {
            "status": "ok",
            "ready": False,
        }
        s.health.turned_at -= 5
        assert (await s.request("GET", "/healthz")).status == 503


async def test_documents_are_served() -> None:
    async with stack() as s:
        assert (await s.request("GET", "/openapi.json")).json()["openapi"] == "3.1.0"
        assert (await s.request("GET", "/asyncapi.json")).json()["asyncapi"] == "3.1.0"
        docs = await s.request("GET", "/docs")
        assert docs.headers["content-type"] == "text/html; charset=utf-8"
        assert "default-src 'none'" in docs.headers["content-security-policy"]
        assert b"<script" not in docs.body
        assert b"style" not in docs.body


async def test_a_document_is_made_once_and_not_in_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []

    def openapi(_registry: Registry, _version: str) -> dict[str, object]:
        made.append(threading.get_ident())
        return {"openapi": "3.1.0"}

    monkeypatch.setattr(schema, "openapi", openapi)
    async with stack() as s:
        asked = [s.request("GET", "/openapi.json") for _ in range(3)]
        assert {page.body for page in await asyncio.gather(*asked)} == {b'{"openapi":"3.1.0"}'}
        await s.request("HEAD", "/openapi.json")

    assert len(made) == 1
    assert made[0] != threading.get_ident()


async def test_a_document_that_could_not_be_made_is_made_for_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tries = 0

    def openapi(_registry: Registry, _version: str) -> dict[str, object]:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise MemoryError
        return {}

    monkeypatch.setattr(schema, "openapi", openapi)
    async with stack() as s:
        with pytest.raises(MemoryError):
            await s.request("GET", "/openapi.json")
        assert (await s.request("GET", "/openapi.json")).body == b"{}"


async def test_what_an_op_takes_in_a_query_is_looked_up_once() -> None:
    looks = 0

    class Counted(Params):
        count: int = 1

        @classmethod
        def model_json_schema(cls, *args: Any, **more: Any) -> dict[str, Any]:
            nonlocal looks
            looks += 1
            return super().model_json_schema(*args, **more)

    async with stack() as s:
        op = replace(s.registry.ops["ping"], params=Counted)
    assert [typed(op, name, "7") for name in ("count", "count", "other")] == [7, 7, "7"]
    assert looks == 1


async def test_an_unknown_path_is_a_json_404() -> None:
    async with stack() as s:
        for path in ("/", "/nope", "/api", "/api/", "/api/a/b/c", "/ws/x"):
            page = await s.request("GET", path)
            assert (page.status, page.json()["error"]["code"]) == (404, "not_found")


async def test_what_is_not_ours_goes_to_the_page() -> None:
    async def page(scope: Scope, _receive: Receive, send: Send) -> None:
        body = orjson.dumps({"page": scope["path"]})
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})

    async with stack(page=page) as s:
        assert (await s.request("GET", "/index.html")).json() == {"page": "/index.html"}
        assert (await s.request("GET", "/api/nope")).status == 404


async def test_every_answer_has_the_headers_of_the_security_rules() -> None:
    async with stack() as s:
        foreign = await s.request("GET", "/", headers={"origin": "http://evil.com"})
        assert foreign.status == 403
        for page in (
            foreign,
            await s.request("POST", "/api/ping", {}),
            await s.request("GET", "/docs"),
        ):
            assert page.headers["x-content-type-options"] == "nosniff"
            assert page.headers["referrer-policy"] == "no-referrer"
            assert page.headers["cross-origin-opener-policy"] == "same-origin"
            assert "access-control-allow-origin" not in page.headers


# --- the application ------------------------------------------------------------------------------


async def test_a_server_that_insists_on_a_lifespan_gets_one() -> None:
    sent: list[str] = []
    inbox = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]

    async def receive() -> dict[str, Any]:
        return inbox.pop(0)

    async def send(message: Any) -> None:
        sent.append(message["type"])

    async with stack() as s:
        await s.front({"type": "lifespan"}, receive, send)
        with pytest.raises(NotImplementedError):
            await s.front({"type": "smtp", "path": "/"}, receive, send)

    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


async def test_an_answer_that_fails_later_is_a_coded_error_too() -> None:
    async with stack() as s:
        s.toys.raises = ZeroDivisionError()
        page = await s.request("POST", "/api/toy.slow", {})

        assert (page.status, page.json()["error"]["code"]) == (500, "internal")


async def test_an_awaited_future_is_answered_over_http() -> None:
    async with stack() as s:
        asking = asyncio.get_running_loop().create_task(
            s.request("POST", "/api/toy.place", {"wait": True})
        )
        await asyncio.sleep(0.01)
        s.toys.waiting[0].set_result(Answer(result={"late": True}))

        assert (await asking).json()["result"] == {"late": True}
