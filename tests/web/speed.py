"""What the page costs, measured: real Chromium, the real server, a market in the server's process that moves as told.

    make speed      first paint, cost at rest, frames and input delay at 5,000 and 20,000 updates/s; 1 when a bound is missed
    make soak       memory over MINUTES=30

Rules of this file: (1) the load is made outside the browser; (2) cost is CPU time, which a busy machine does not
change, beside frames, which it does; (3) nothing is measured with tracing on.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, CDPSession, Page

from realtime.bench.figures import Figure, table
from realtime.bench.host import machine
from tests.web.conftest import until
from tests.web.serving import ROOT, chromium


SYMBOLS = 100
HZ = os.sysconf("SC_CLK_TCK")

USEFUL = """
(() => {
  const full = (css) => /[0-9]/.test(document.querySelector(css)?.textContent ?? "");
  const look = () => {
    const ready = full(".last") && full("#account dd.figure") && full("#orderbook .asks .book-row[data-price]");
    if (ready && !window.useful) window.useful = performance.now();
    if (full(".legend") && !window.drawn) window.drawn = performance.now();
    if (!window.useful || !window.drawn) requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
})()
"""
"""Notes when price, book and equity are on the screen, and when the candles are."""

PROBE = """
(async () => {
  const { app } = await import("/js/app.js");
  const p = (window.probe = { gaps: [], inputs: [], app, names: [], at: 0 });
  let last = 0;
  const frame = (now) => {
    p.gaps.push(now - last);
    last = now;
    if (p.watching) requestAnimationFrame(frame);
  };
  p.watch = (on) => {
    if (on && !p.watching) requestAnimationFrame((now) => { last = now; requestAnimationFrame(frame); });
    p.watching = on;
  };
  const input = (event) => p.inputs.push(performance.now() - event.timeStamp);
  for (const kind of ["keydown", "pointerdown"]) addEventListener(kind, input, true);
  p.reset = () => { p.gaps = []; p.inputs = []; };
  p.reached = () => {
    const slots = ["ticker", "book", "trades", "bars"].map((slot) => String(app.store.get(`view:${slot}`)));
    const tickers = app.store.rows("markets").map((m) => `ticker:${m.symbol}?rate=1000`);
    return [...new Set([...slots, ...tickers, ...p.names])]
      .reduce((sum, name) => sum + (app.store.channel(name)?.position?.seq ?? 0), 0);
  };
  p.everything = () => {
    p.names = app.store.rows("markets").flatMap(({ symbol }) =>
      [`ticker:${symbol}?rate=0`, `orderbook:${symbol}?depth=25&rate=0`, `trades:${symbol}`])
      .filter((name) => !app.store.channel(name));
    app.link.watch(p.names);
  };
  p.come = () => p.names.every((name) => app.store.channel(name)?.position);
  p.nothing = () => app.link.drop(p.names);
})()
"""


class Busy:
    """`tests.web.busy` in a process of its own."""

    def __init__(self, folder: Path, per_s: float, symbols: int = SYMBOLS) -> None:
        self.folder, self.per_s, self.symbols = folder, per_s, symbols
        self.address = ""
        self.start()

    def start(self) -> None:
        """Start it; on the same port as before after a `stop`."""
        command = [sys.executable, "-m", "tests.web.busy", str(self.folder / "busy.db")]
        port = str(urlsplit(self.address).port or 0)
        self.process = subprocess.Popen(
            [*command, str(self.per_s), str(self.symbols), port],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert self.process.stdout
        self.address = self.process.stdout.readline().strip()
        if not self.address:
            raise RuntimeError("the server ended before it listened")

    def say(self, line: str) -> None:
        """Give an order."""
        assert self.process.stdin
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def made(self) -> int:
        """Updates that its market has made so far."""
        self.say("told")
        assert self.process.stdout
        return int(self.process.stdout.readline().split()[0])

    def stop(self) -> None:
        """End it as `kill -9` does."""
        self.process.kill()
        self.process.wait(10)
        for stream in (self.process.stdin, self.process.stdout):
            assert stream
            stream.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """CPU time so far [s], of the page's parts."""

    at: float
    script: float
    """Of the page's thread, spent in JavaScript."""
    tasks: float
    """Of the page's thread, in all: script, style, layout, paint."""
    worker: float
    """Of the socket's worker, in all."""
    browser: float
    """Of all processes of the browser; without a GPU they draw every pixel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One window."""

    seconds: float
    fps: float
    slowest_ms: float
    """Longest time between two frames."""
    inputs: int
    input_p99_ms: float
    script: float
    """Share of a core."""
    tasks: float
    worker: float
    browser: float
    offered: float
    """Updates a second that the market made."""
    reached: float
    """By how much the positions of the page's streams moved, a second."""


DATA = """
function () {
  const kinds = [Object.prototype, Array.prototype, Map.prototype, Set.prototype];
  return this.filter((one) => kinds.includes(Object.getPrototypeOf(one))).length;
}
"""


class Gauge:
    """One page under measurement."""

    def __init__(self, browser: Browser, page: Page) -> None:
        self.page = page
        self.browser = browser.new_browser_cdp_session()
        self.cdp: CDPSession = page.context.new_cdp_session(page)
        self.cdp.send("Performance.enable", {"timeDomain": "threadTicks"})
        self._answers: dict[int, Any] = {}
        self._worker = ""
        self.cdp.on("Target.attachedToTarget", self._attached)
        self.cdp.on("Target.receivedMessageFromTarget", self._received)
        watch = {"autoAttach": True, "waitForDebuggerOnStart": False, "flatten": False}
        self.cdp.send("Target.setAutoAttach", watch)
        page.evaluate(PROBE)
        self.pid = self._renderer()

    def _renderer(self) -> int:
        """The process that draws this page: the one that works while the page does."""
        before = self._processes()
        self.page.evaluate(
            "(() => { const t = performance.now(); while (performance.now() - t < 60); })()"
        )
        after = self._processes()
        return max(after, key=lambda pid: after[pid] - before.get(pid, 0.0))

    def _processes(self) -> dict[int, float]:
        told = self.browser.send("SystemInfo.getProcessInfo")["processInfo"]
        return {p["id"]: p["cpuTime"] for p in told if p["type"] == "renderer"}

    def _attached(self, event: dict[str, Any]) -> None:
        if event["targetInfo"]["type"] == "worker":
            self._worker = event["sessionId"]

    def _received(self, event: dict[str, Any]) -> None:
        message = json.loads(event["message"])
        if "id" in message:
            self._answers[message["id"]] = message.get("result")

    def ask_worker(self, method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        """Ask the debugger of the socket's worker."""
        number = len(self._answers)
        message = json.dumps({"id": number, "method": method, "params": params or {}})
        worker = until(self.page, lambda: self._worker)
        self.cdp.send("Target.sendMessageToTarget", {"sessionId": worker, "message": message})
        until(self.page, lambda: number in self._answers)
        return dict(self._answers[number] or {})

    def metrics(self) -> dict[str, float]:
        """What Chromium counts for the page."""
        return {m["name"]: m["value"] for m in self.cdp.send("Performance.getMetrics")["metrics"]}

    def cost(self) -> Cost:
        """All of it until now."""
        told = self.browser.send("SystemInfo.getProcessInfo")["processInfo"]
        metrics = self.metrics()
        return Cost(
            at=time.monotonic(),
            script=metrics["ScriptDuration"],
            tasks=metrics["TaskDuration"],
            worker=_thread(self.pid, "DedicatedWorker"),
            browser=sum(p["cpuTime"] for p in told),
        )

    def window(
        self,
        seconds: float,
        busy: Busy,
        act: Callable[[int], None] | None = None,
        *,
        frames: bool = True,
    ) -> Measured:
        """Measure for so long, with somebody at keyboard and mouse where `act` is given.

        Counting frames asks for sixty of them a second, which is a cost of its own.
        """
        page = self.page
        page.evaluate("watching => { probe.reset(); probe.watch(watching); }", frames)
        reached, made = page.evaluate("probe.reached()"), busy.made()
        before = self.cost()
        turn = 0
        while time.monotonic() - before.at < seconds:
            if act:
                act(turn)
            turn += 1
            page.wait_for_timeout(20 if act else 200)
        after = self.cost()
        long = after.at - before.at
        moved = page.evaluate("probe.reached()") - reached
        made = busy.made() - made
        gaps, inputs = page.evaluate("[probe.gaps, probe.inputs]")
        return Measured(
            seconds=long,
            fps=1000 * len(gaps) / sum(gaps) if gaps else 0.0,
            slowest_ms=max(gaps, default=0.0),
            inputs=len(inputs),
            input_p99_ms=quantile(inputs, 0.99),
            script=(after.script - before.script) / long,
            tasks=(after.tasks - before.tasks) / long,
            worker=(after.worker - before.worker) / long,
            browser=(after.browser - before.browser) / long,
            offered=made / long,
            reached=moved / long,
        )

    def alive(self) -> dict[str, int]:
        """What lives after a collection: data of page and worker, nodes, listeners.

        Neither compiled code nor what stands in for nodes in scripts: that comes and goes with looking at them.
        """
        found = {}
        for name, ask in (("page", self.cdp.send), ("worker", self.ask_worker)):
            base = ask(
                "Runtime.evaluate", {"expression": "Object.prototype", "objectGroup": "alive"}
            )
            given = {"prototypeObjectId": base["result"]["objectId"], "objectGroup": "alive"}
            every = ask("Runtime.queryObjects", given)["objects"]["objectId"]
            length = {
                "objectId": every,
                "functionDeclaration": DATA,
            }
            found[name] = int(ask("Runtime.callFunctionOn", length)["result"]["value"])
            ask("Runtime.releaseObjectGroup", {"objectGroup": "alive"})
        metrics = self.metrics()
        return found | {
            "nodes": int(metrics["Nodes"]),
            "listeners": int(metrics["JSEventListeners"]),
        }

    def heap(self) -> dict[str, float]:
        """Memory after a forced collection: page and worker [MB], nodes, listeners."""
        self.cdp.send("HeapProfiler.collectGarbage")
        self.ask_worker("HeapProfiler.collectGarbage")
        metrics = self.metrics()
        return {
            "page": metrics["JSHeapUsedSize"] / 1e6,
            "worker": self.ask_worker("Runtime.getHeapUsage")["usedSize"] / 1e6,
            "nodes": metrics["Nodes"],
            "listeners": metrics["JSEventListeners"],
        }


def quantile(values: Sequence[float], part: float) -> float:
    """A quantile; 0 of nothing."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else 0.0


def _thread(pid: int, name: str) -> float:
    """CPU time of the threads of a process with this name [s]; 0 where the system does not tell."""
    spent = 0
    for task in Path(f"/proc/{pid}/task").glob("*"):
        try:
            head, _, rest = (task / "stat").read_text().rpartition(")")
        except OSError:
            continue
        if name.startswith(head.partition("(")[2]) or head.partition("(")[2].startswith(name[:15]):
            fields = rest.split()
            spent += int(fields[11]) + int(fields[12])
    return spent / HZ


def opened(browser: Browser, address: str, width: int = 1440, height: int = 900) -> Page:
    """The page in a context of its own, with everything on it."""
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme="dark")
    page = context.new_page()
    page.add_init_script(USEFUL)
    page.goto(address, wait_until="commit")
    until(page, lambda: page.evaluate("Boolean(window.useful && window.drawn)"))
    return page


def hand(page: Page) -> Callable[[int], None]:
    """Somebody who types an amount, clicks a price, changes a tab."""
    box = page.locator("#orderbook .bids").bounding_box()
    assert box
    page.click("#ticket-amount")

    def act(turn: int) -> None:
        match turn % 4:
            case 0:
                page.mouse.click(box["x"] + 40, box["y"] + 10 + 20 * (turn // 4 % 5))
            case 1:
                page.click("#ticket-amount", no_wait_after=True)
            case 2:
                page.keyboard.press("Backspace" if turn % 8 > 4 else "1")
            case _:
                page.keyboard.press("0")

    return act


def loading(browser: Browser, address: str, times: int) -> list[tuple[float, float]]:
    """First useful paint and drawn candles of fresh profiles [ms]."""
    found = []
    for _ in range(times):
        page = opened(browser, address)
        found.append(tuple(page.evaluate("[window.useful, window.drawn]")))
        page.context.close()
    return found


def report(name: str, m: Measured) -> str:
    """One line."""
    return (
        f"  {name}: {m.offered:,.0f}/s made, {m.reached:,.0f}/s reached the page; {m.fps:.1f} fps, slowest "
        f"frame {m.slowest_ms:.0f} ms; {m.inputs} inputs, p99 {m.input_p99_ms:.0f} ms; of a core: script "
        f"{m.script:.1%}, page thread {m.tasks:.1%}, worker {m.worker:.1%}, whole browser {m.browser:.1%}"
    )


def speed(browser: Browser, seconds: float, say: Callable[[str], None] = print) -> list[Figure]:
    """All figures of section 10 of the design but memory."""
    figures: list[Figure] = []
    say(f"chromium {browser.version}")
    with tempfile.TemporaryDirectory(prefix="realtime-speed-") as name:
        server = Busy(Path(name), 50 * 13, 13)
        loads = loading(browser, server.address, 5)
        say("  loads, ms (useful, candles): " + ", ".join(f"{u:.0f}, {d:.0f}" for u, d in loads))
        useful = statistics.median(u for u, _ in loads)
        rest = Gauge(browser, opened(browser, server.address)).window(seconds, server, frames=False)
        server.stop()
        say(report("rest", rest))
        figures += [
            figure("P1", "first useful paint: price, book, equity", useful, "ms", most=1000),
            figure("P2", "script at rest, all panels live", rest.script, "cores", most=0.2),
            figure("P2", "the same and the worker", rest.script + rest.worker, "cores", most=0.2),
        ]
        for rate, least in ((5_000, 57.0), (20_000, 45.0)):
            folder = Path(name, str(rate))
            folder.mkdir()
            server = Busy(folder, rate)
            for everything in (False, True):
                what = (
                    f"{rate:,}/s, {'all 300 streams followed' if everything else 'page as it is'}"
                )
                m = stressed(browser, server, seconds, everything=everything)
                say(report(what, m))
                figures += [
                    figure("P3", f"{what}: frames", m.fps, "fps", least=least),
                    figure("P4", f"{what}: input delay p99", m.input_p99_ms, "ms", most=100),
                ]
            server.stop()
    return figures


def stressed(browser: Browser, server: Busy, seconds: float, *, everything: bool) -> Measured:
    """A window with somebody at the page, who may follow every stream there is."""
    page = opened(browser, server.address)
    gauge = Gauge(browser, page)
    if everything:
        page.evaluate("probe.everything()")
    page.wait_for_timeout(1500)
    measured = gauge.window(seconds, server, hand(page))
    page.context.close()
    return measured


def figure(
    workload: str,
    name: str,
    ours: float,
    unit: str,
    *,
    least: float | None = None,
    most: float | None = None,
) -> Figure:
    """One row of the table."""
    return Figure(workload=workload, name=name, ours=ours, unit=unit, least=least, most=most)


def soak(browser: Browser, minutes: float, say: Callable[[str], None] = print) -> list[Figure]:
    """Memory of a page on which somebody goes through everything, at 2,000 updates/s."""
    samples: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory(prefix="realtime-soak-") as name:
        server = Busy(Path(name), 2_000)
        page = opened(browser, server.address)
        gauge = Gauge(browser, page)
        began = time.monotonic()
        wander(page)
        while time.monotonic() - began < 60 * minutes:
            until = time.monotonic() + max(5.0, 60 * minutes / 30)
            while time.monotonic() < until:
                wander(page)
            samples.append(gauge.heap())
            say(f"  {(time.monotonic() - began) / 60:5.1f} min: {told(samples[-1])}")
        server.stop()
    # At first Chromium compiles what is used often; that is memory too, but it ends.
    warm = samples[len(samples) // 5 :]
    third = max(1, len(warm) // 3)
    first, last = warm[:third], warm[-third:]

    def growth(key: str) -> float:
        return statistics.median(s[key] for s in last) - statistics.median(s[key] for s in first)

    return [
        figure("P5", "heap of the page, last third over first", growth("page"), "MB", most=1.0),
        figure("P5", "heap of the worker", growth("worker"), "MB", most=0.5),
        figure("P5", "nodes of the document", growth("nodes"), "nodes", most=300),
        figure("P5", "listeners", growth("listeners"), "listeners", most=30),
    ]


def told(heap: dict[str, float]) -> str:
    """A sample in words."""
    return (
        f"page {heap['page']:.2f} MB, worker {heap['worker']:.2f} MB, {heap['nodes']:.0f} nodes, "
        f"{heap['listeners']:.0f} listeners"
    )


def wander(page: Page) -> None:
    """Look at every tab, another symbol, the help."""
    for tab in page.locator(".tab").all():
        tab.evaluate("tab => tab.click()")
        page.wait_for_timeout(150)
    page.evaluate("document.getElementById('tab-positions').click()")
    for symbol in ("ETH/USDT", "SOL/USDT", "BTC/USDT"):
        page.select_option("#symbol", symbol)
        page.wait_for_timeout(300)
    page.locator("body").press("?")
    page.keyboard.press("Escape")


def main(arguments: Sequence[str]) -> int:
    """Measure; 1 when a bound is missed."""
    parser = argparse.ArgumentParser(prog="speed", description=__doc__)
    parser.add_argument("--seconds", type=float, default=8, help="length of each window")
    parser.add_argument("--soak", type=float, metavar="MINUTES", help="memory, at most 60 minutes")
    given = parser.parse_args(arguments)
    print(f"{machine()}; headless chromium without a GPU: every pixel is drawn by the CPU")
    with chromium() as browser:
        if given.soak is None:
            figures = speed(browser, given.seconds)
        else:
            figures = soak(browser, min(given.soak, 60))
    print(table(figures))
    return int(not all(one.holds for one in figures))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
