"""A wire that a test can hold."""

from tests.hub.world import frames


class HeldWire:
    """Takes whole frames and keeps them; paused when the test says so."""

    def __init__(self) -> None:
        self.paused = False
        self.texts: list[str] = []
        self._closed: tuple[int, str] | None = None
        self.aborted = False

    def write(self, blob: bytes) -> bool:
        self.texts += [body.decode() for body in frames(blob)]
        return not self.paused

    write_soon = write

    def close(self, code: int, reason: str) -> None:
        assert self._closed is None
        self._closed = (code, reason)

    def end(self) -> tuple[int, str] | None:
        """How it was closed; a method, because it changes between two looks."""
        return self._closed

    def abort(self) -> None:
        self.aborted = True

    def buffered(self) -> int:
        return 0
