"""Ctrl-C and SIGTERM, heeded between two steps."""

import signal
import threading
from types import FrameType


class Interrupted(Exception):
    """Training was stopped by a signal, after a checkpoint was written.

    number: of the signal; a shell expects the exit code 128 + number.
    """

    def __init__(self, number: int, where: str):
        super().__init__(f"stopped by {signal.Signals(number).name} in {where}")
        self.number = number


class Signals:
    """While it is entered, SIGINT and SIGTERM are only noted, in `received`.

    A second one of them acts as it always did.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[int, object] = {}

    def __enter__(self) -> "Signals":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._before.clear()

    def _note(self, number: int, _: FrameType | None) -> None:
        self.__exit__()
        self.received = number
