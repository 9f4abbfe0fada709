"""The flag that signal handlers set, while the same thread waits for it."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

from blindgate.stop_flag import StopFlag

ROOT = Path(__file__).resolve().parents[2]


def test_a_wait_ends_by_its_timeout_without_the_flag() -> None:
    flag = StopFlag()
    assert flag.wait(0.01) is False
    assert flag.is_set() is False


def test_a_flag_that_is_set_ends_every_later_wait() -> None:
    flag = StopFlag()
    flag.set()
    assert [flag.wait(60), flag.wait(60)] == [True, True]
    assert flag.is_set() is True


def test_another_thread_ends_a_wait() -> None:
    flag = StopFlag()
    timer = threading.Timer(0.05, flag.set)
    timer.start()
    assert flag.wait(60) is True
    timer.join()


def test_a_signal_handler_may_set_it_at_any_moment_of_a_wait() -> None:
    """A trace runs the handler before every line of `wait` and of what it calls in Python."""
    program = """
import signal, sys
from blindgate.stop_flag import StopFlag

def rounds():
    for moment in range(40):
        flag, left = StopFlag(), [moment]
        signal.signal(signal.SIGTERM, lambda *_: flag.set())
        def trace(frame, event, argument):
            if left[0] == 0:
                sys.settrace(None)
                signal.raise_signal(signal.SIGTERM)
            left[0] -= 1
            return trace
        sys.settrace(trace)
        flag.wait(0.01)
        sys.settrace(None)
        signal.raise_signal(signal.SIGTERM)
        assert flag.wait(60)
rounds()
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, timeout=60, check=False)
    assert done.returncode == 0


def test_a_signal_ends_a_wait_of_the_main_thread() -> None:
    flag = StopFlag()
    before = signal.signal(signal.SIGUSR1, lambda *_: flag.set())
    try:
        main = threading.get_ident()
        timer = threading.Timer(0.05, signal.pthread_kill, [main, signal.SIGUSR1])
        timer.start()
        assert flag.wait(60) is True
        timer.join()
    finally:
        signal.signal(signal.SIGUSR1, before)
