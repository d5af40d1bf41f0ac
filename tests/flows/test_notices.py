"""Alerts of a real server arrive: at a webhook, as a mail; over kill -9; and at nothing that is not what it says it is."""

import base64
import queue
import socket
import socketserver
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any, ClassVar

import orjson
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from realtime.desk import notices
from realtime.desk.config.sections import Notifications
from realtime.desk.notices import Login, Undelivered
from realtime.desk.notify import Message, message_of
from tests.flows.plain import Plain, plainly
from tests.flows.process import Process


PATIENCE_S = 90.0
PASSWORD = "app-password-7"


# --- a webhook ------------------------------------------------------------------------------------


class Hook:
    """A webhook on this machine.

    Attributes:
        answers: What it answers to the next requests: a status, or `hang`.
        usual: What it answers to all others.
        got: Requests in order: path and body.
    """

    def __init__(self, trust: "Trust | None" = None) -> None:
        self.answers: queue.SimpleQueue[int | str] = queue.SimpleQueue()
        self.got: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self.usual = 204
        self.over = threading.Event()
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                hook.got.put((self.path, orjson.loads(body)))
                answer = hook.usual if hook.answers.empty() else hook.answers.get()
                if answer == "hang":
                    hook.over.wait(300)
                    return
                self.send_response(int(answer))
                self.send_header("location", f"{hook.url}elsewhere")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name there
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        if trust is not None:
            self.server.socket = trust.context.wrap_socket(self.server.socket, server_side=True)
        self.url = f"http{'s' if trust else ''}://127.0.0.1:{self.server.server_port}/"

    def next(self) -> tuple[str, Any]:
        return self.got.get(timeout=PATIENCE_S)


@contextmanager
def hooked(trust: "Trust | None" = None) -> Iterator[Hook]:
    made = Hook(trust)
    thread = threading.Thread(target=made.server.serve_forever, args=[0.05])
    thread.start()
    try:
        yield made
    finally:
        made.over.set()
        made.server.shutdown()
        thread.join()
        made.server.server_close()


class Trust:
    """A certificate of `localhost` that nobody but its owner trusts."""

    def __init__(self, folder: Path) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
        names = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
        now = datetime.now(UTC)
        made = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(7)
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .sign(key, hashes.SHA256())
        )
        self.file = folder / "certificate.pem"
        self.file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
        (folder / "key.pem").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(self.file, folder / "key.pem")


# --- a mail server --------------------------------------------------------------------------------


class Mailbox(socketserver.ThreadingTCPServer):
    """As much of a mail server as a mail needs.

    Attributes:
        trust: With one it is secure from the first byte, or offers to become so.
        first: Which of the two.
        answer: To a login.
        got: What was said to it, a mail as one bytes.
    """

    allow_reuse_address = True
    daemon_threads = True

    def __init__(
        self, trust: Trust | None = None, *, first: bool = False, answer: str = "235 welcome"
    ) -> None:
        self.trust, self.first, self.answer = trust, first, answer
        self.got: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        super().__init__(("127.0.0.1", 0), Smtp)

    def mail(self) -> Any:
        """Give the next mail."""
        while b"\n" not in (said := self.got.get(timeout=PATIENCE_S)):
            pass
        return message_from_bytes(said, policy=policy.default)

    def said(self) -> list[bytes]:
        return [self.got.get() for _ in range(self.got.qsize())]


class Smtp(socketserver.StreamRequestHandler):
    """One connection of it."""

    EASY: ClassVar = {b"MAIL": "250 yes", b"RCPT": "250 yes", b"RSET": "250 yes"}
    server: Mailbox

    def handle(self) -> None:
        trust = self.server.trust
        with_tls = trust is not None and self.server.first
        if trust is not None and with_tls:
            self.secure(trust)
        self.say("220 here")
        while said := self.rfile.readline().strip():
            self.server.got.put(said)
            match said.split()[0].upper():
                case b"EHLO":
                    offers = ["STARTTLS"] if trust is not None and not with_tls else []
                    self.say("250-here", *[f"250-{offer}" for offer in offers], "250 AUTH PLAIN")
                case b"STARTTLS" if trust is not None:
                    self.say("220 go on")
                    self.secure(trust)
                    with_tls = True
                case b"AUTH":
                    self.say(self.server.answer)
                case b"DATA":
                    self.say("354 go on")
                    lines = iter(self.rfile.readline, b".\r\n")
                    self.server.got.put(b"".join(lines))
                    self.say("250 taken")
                case b"QUIT":
                    self.say("221 bye")
                    return
                case verb:
                    self.say(self.EASY.get(verb, "502 no"))

    def say(self, *lines: str) -> None:
        self.wfile.write("".join(f"{line}\r\n" for line in lines).encode())

    def secure(self, trust: Trust) -> None:
        self.connection = trust.context.wrap_socket(self.connection, server_side=True)
        self.rfile = self.connection.makefile("rb")
        self.wfile = self.connection.makefile("wb", buffering=0)

    def finish(self) -> None:
        self.connection.close()


@contextmanager
def mailbox(trust: Trust | None = None, **options: Any) -> Iterator[Mailbox]:
    with Mailbox(trust, **options) as made:
        thread = threading.Thread(target=made.serve_forever, args=[0.05])
        thread.start()
        try:
            yield made
        finally:
            made.shutdown()
            thread.join()


# --- a server that sends --------------------------------------------------------------------------


def configure(desk: Plain, *urls: str, **more: Any) -> None:
    """Send halts to these from now on; a machine that is slow has other alerts."""
    section = {"webhooks": [{"url": url, "events": ["trading_state"]} for url in urls], **more}
    desk.ask("config.update", patch={"notifications": section})


def halt(desk: Plain, reason: str) -> None:
    """Let a critical alert come: that trading has been halted."""
    desk.ask("trading.resume", reason="to be halted")
    desk.ask("trading.halt", reason=reason)


def tried(desk: Plain, said: str) -> Any:
    """Wait until the component of `status` says something; gives it."""
    end = time.monotonic() + PATIENCE_S
    while said not in (part := desk.ask("system.status")["components"]["notifications"])["detail"]:
        assert time.monotonic() < end, part
        time.sleep(0.1)
    return part


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    data = tmp_path_factory.mktemp("notices") / "j.db"
    made = Process.serve(data, REALTIME_SMTP__PASSWORD=PASSWORD)
    yield made
    assert made.terminate() == 0


def test_an_alert_is_posted_and_nothing_of_what_the_webhook_answers_is_followed(
    server: Process,
) -> None:
    with hooked() as moved, hooked() as ill, plainly(server.socket) as desk:
        moved.answers.put(302)
        ill.answers.put(500)
        configure(desk, f"{moved.url}T0/key?x=1", f"{ill.url}T0/key?x=1")
        halt(desk, "to be told of")
        asked = [hook.next() for hook in (moved, ill) for _ in range(2)]
        alerts = desk.ask("alert.list", level="critical")["alerts"]
        alert = next(alert for alert in alerts if alert["code"] == "trading_state")

        assert [path for path, _ in asked] == ["/T0/key?x=1"] * 4
        (said,) = {orjson.dumps(body, option=orjson.OPT_SORT_KEYS) for _, body in asked}
        body = orjson.loads(said)
        assert (body["id"], body["ts"], body["code"]) == (alert["id"], alert["ts"], "trading_state")
        assert (body["message"], body["data"]) == (alert["text"], alert["data"])
        assert (body["venue"], body["mode"], body["count"]) == ("paper", "PAPER", 1)
        assert body["text"].startswith("[PAPER] critical trading_state at paper: trading of all")
        lines = desk.ask("log.tail", level="warning", component="notices", limit=10)["lines"]
        assert {line["fields"]["why"] for line in lines} == {"it answered 302", "it answered 500"}
        assert "/T0/key" not in str(lines)


def test_webhooks_that_hang_or_are_not_there_hold_up_neither_the_others_nor_orders(
    server: Process,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        nobody = f"http://127.0.0.1:{gone.getsockname()[1]}/"
    with hooked() as hangs, hooked() as well, plainly(server.socket) as desk:
        hangs.answers.put("hang")
        configure(desk, hangs.url, nobody, well.url)
        halt(desk, "one of three")
        hangs.next()
        assert well.next()[1]["message"].endswith("one of three")
        part = tried(desk, "Connection refused")
        desk.ask("trading.resume", reason="to buy")
        desk.ask("order.place", symbol="BTC/USDT", side="buy", type="market", amount="0.001")
        configure(desk)

        assert part["status"] == "degraded"
        assert desk.ask("system.health") == {"status": "ok", "ready": True}


def test_an_alert_is_mailed_and_the_password_stands_nowhere(server: Process) -> None:
    with mailbox() as box, plainly(server.socket) as desk:
        configure(
            desk,
            email_enabled=True,
            smtp_server="127.0.0.1",
            smtp_port=box.server_address[1],
            sender="desk@example.com",
            receiver="one@example.com, two@example.com",
        )
        halt(desk, "to be mailed")
        while "to be mailed" not in (mail := box.mail())["Subject"]:
            pass
        alerts = desk.ask("alert.list", level="critical")["alerts"]
        alert = next(alert for alert in alerts if alert["code"] == "trading_state")
        configure(desk, email_enabled=False)
        seen = str([desk.ask("log.tail", level="debug"), desk.ask("event.list", limit=500)])

        assert mail["Subject"].startswith("[PAPER] critical trading_state at paper: ")
        assert (mail["From"], mail["To"]) == (
            "desk@example.com",
            "one@example.com, two@example.com",
        )
        assert f'id: "{alert["id"]}"' in mail.get_content()
        assert PASSWORD not in seen


def test_what_a_killed_server_could_not_send_its_next_start_does(tmp_path: Path) -> None:
    with hooked() as hook:
        hook.usual = 500
        first = Process.serve(tmp_path / "j.db")
        with plainly(first.socket) as desk:
            configure(desk, hook.url)
            halt(desk, "and then the lights went out")
            part = tried(desk, "it answered 500")
        first.kill()
        while not hook.got.empty():
            hook.next()
        hook.usual = 204
        second = Process.serve(tmp_path / "j.db")
        _, body = hook.next()
        second.kill()

        assert part["status"] == "degraded"
        assert body["message"].endswith("and then the lights went out")


# --- who is trusted -------------------------------------------------------------------------------


@pytest.fixture
def trust(tmp_path: Path) -> Iterator[Trust]:
    yield Trust(tmp_path)
    notices.trust.cache_clear()


def trusting(trust: Trust, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(trust.file))
    notices.trust.cache_clear()


ALERT = {"id": "a-1", "ts": 0, "level": "error", "code": "c", "text": "it", "data": {}}


def message() -> Message:
    return message_of([{**ALERT, "acked_by": None}], venue="paper", mode="paper")


def send(box: Mailbox, host: str = "localhost") -> None:
    section = Notifications(
        smtp_server=host,
        smtp_port=box.server_address[1],
        sender="desk@example.com",
        receiver="me@example.com",
    )
    notices.mail(section, Login(user="desk", password=PASSWORD), message(), "j-1")


def test_a_webhook_needs_a_certificate_that_is_good(
    trust: Trust, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hooked(trust) as hook:
        with pytest.raises(Undelivered, match="its certificate is not good: self-signed"):
            notices.post(hook.url, b"{}")
        trusting(trust, monkeypatch)
        notices.post(hook.url, b"{}")

        assert hook.next() == ("/", {})


def test_no_webhook_over_a_network_is_called_in_clear() -> None:
    with pytest.raises(Undelivered, match="must begin with https"):
        notices.post("http://hooks.example.com/", b"{}")


def test_mail_is_secure_from_the_first_byte_at_its_port(
    trust: Trust, monkeypatch: pytest.MonkeyPatch
) -> None:
    with mailbox(trust, first=True) as box:
        monkeypatch.setattr(notices, "SECURE", box.server_address[1])
        with pytest.raises(Undelivered, match="its certificate is not good"):
            send(box)
        trusting(trust, monkeypatch)
        send(box)

        assert box.mail()["Subject"] == "[PAPER] error c at paper: it"


def test_no_password_is_said_to_a_mail_server_in_clear(
    trust: Trust, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As if it were another machine.
    monkeypatch.setattr(notices, "loopback", lambda _host: False)
    with mailbox() as plain, mailbox(trust) as able:
        with pytest.raises(Undelivered, match="SMTPNotSupportedError"):
            send(plain)
        with pytest.raises(Undelivered, match="its certificate is not good"):
            send(able)
        said = [*plain.said(), *able.said()]
        trusting(trust, monkeypatch)
        send(able)

        assert not [line for line in said if line.startswith((b"AUTH", b"MAIL"))]
        assert able.mail()["To"] == "me@example.com"


def test_a_mail_server_that_says_no_is_told_by_its_number() -> None:
    coded = base64.b64encode(f"\0desk\0{PASSWORD}".encode()).decode()
    with mailbox(answer=f"535 {coded} is wrong") as box:
        with pytest.raises(Undelivered) as said:
            send(box)

        assert str(said.value) == "it answered 535"
