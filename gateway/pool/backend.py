"""What the pool needs of the network: two small interfaces, so that tests can stand in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from blindgate.link import Address, AnswerHeader, RequestHeader

#: A body in the pieces that it came in; never joined, since joining copies it once more.
Chunks = Sequence[bytes | bytearray | memoryview]


@dataclass(frozen=True, slots=True)
class Exchange:
    """One answer of an enclave.

    Attributes:
        header: Its header.
        body: Its body, empty if it has none.
        reusable: False if the answer came before the whole request was sent: the connection
            then still owes the rest of a body and cannot carry another request.
    """

    header: AnswerHeader
    body: bytes | bytearray | memoryview
    reusable: bool


class Stream(Protocol):
    """A connection to an enclave, one exchange at a time."""

    async def exchange(self, header: RequestHeader, body: Chunks) -> Exchange:
        """Send a request and wait for its answer.

        Raises:
            StreamLost: The connection ended or carried something that is no answer.
            HeaderTooLarge: The header does not fit; nothing was sent, and another may be.
        """
        ...

    def close(self) -> None:
        """Give the connection up at once; an exchange under way raises `StreamLost`.

        May be called more than once.
        """
        ...


class Backend(Protocol):
    """Opens connections."""

    async def open(self, address: Address, on_lost: Callable[[], None]) -> Stream:
        """Connect.

        Args:
            address: Where the enclave listens.
            on_lost: Called once if the connection ends without having been closed from here.

        Raises:
            DialError: The enclave cannot be reached; nothing was sent.
        """
        ...
