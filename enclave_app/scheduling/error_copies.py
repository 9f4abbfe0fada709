"""One exception for each thread that raises it.

Raising changes an exception: its traceback grows by the frames of that thread, and `__context__` is
set. Where one failure concerns several threads, each raises an instance that no other thread has.
"""

from __future__ import annotations


def own_copy(error: BaseException) -> BaseException:
    """An exception like this one, without its traceback, cause and context.

    Args:
        error: Its constructor is not called again: it may take other arguments than `args`.
    """
    twin = type(error).__new__(type(error), *error.args)
    twin.args = error.args
    twin.__dict__.update(error.__dict__)
    return twin
