"""Ctrl-C in the middle of a query: DuckDB itself looks for signals only between its tasks, which may be long."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def interruptible(con: Any) -> Iterator[None]:
    """Stop what a connection does as soon as SIGINT arrives; KeyboardInterrupt follows, as always in Python.

    Python's own handler has to wait until the query returns, so a thread hears of the signal through a socket. It
    ends with the block. Outside of the main thread, where no signals arrive, this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ear, mouth = socket.socketpair()
    mouth.setblocking(False)
    before = signal.set_wakeup_fd(mouth.fileno(), warn_on_full_buffer=False)
    listener = threading.Thread(target=_listen, args=(ear, con), daemon=True)
    listener.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        mouth.close()
        listener.join()
        ear.close()


def _listen(ear: socket.socket, con: Any) -> None:
    while heard := ear.recv(1):
        if heard[0] == signal.SIGINT:
            con.interrupt()
