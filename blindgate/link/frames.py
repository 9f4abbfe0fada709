"""The frames of the link as a sans-I/O codec (docs/link.md §3, §4).

A frame is `uint32 big-endian header length ‖ CBOR header ‖ body`. The body stays outside the
CBOR, so that a picture is received straight into the memory that it is opened from.

`FrameReader` never touches a socket. It says where to receive (`buffer`), is told how much
arrived (`received`) and answers with what that completed:

    state    waits for                 then gives          and goes to
    LENGTH   4 bytes                   nothing             HEADER, or FrameError over the limit
    HEADER   header length             the header          BODY, or LENGTH if it has no body
    BODY     body length               the body            LENGTH
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum, auto
from typing import Any, Final, Generic, TypeVar

import cbor2

from blindgate import strict_cbor
from blindgate.link.errors import BodyTooLarge, FrameError, HeaderTooLarge, RequestRefused

VERSION: Final = 1
#: The largest valid options, 100 labels of 64 characters of four bytes each, take 26 KB.
MAX_HEADER: Final = 32 * 1024
#: The body of a status: room for a model with a few thousand labels.
MAX_STATUS: Final = 256 * 1024
#: uint32; also what a request may ask for at most before the receiver's own limit.
MAX_DEADLINE_MS: Final = 600_000
REQUEST_ID_BYTES: Final = 16
#: 128 bits of a keyed hash: two callers never share a tag, and a tag names nobody.
CALLER_BYTES: Final = 16

#: What a parameter may be: nothing nested, so that a header stays cheap to check.
Param = str | bytes | int | float | bool | None | list[str]
Params = Mapping[str, Param]

_LENGTH: Final = struct.Struct(">I")


class Operation(StrEnum):
    """What a request asks the enclave to do (docs/link.md §5)."""

    DETECT = "detect"
    OHTTP = "ohttp"
    ATTEST = "attest"
    KEYS = "keys"
    STATUS = "status"
    CREDENTIALS = "credentials"
    DRAIN = "drain"


class Outcome(StrEnum):
    """How a request ended: `ok`, or the slug of a problem; nothing finer leaves the enclave."""

    OK = "ok"
    INVALID_REQUEST = "invalid-request"
    ENVELOPE_REJECTED = "envelope-rejected"
    IMAGE_REJECTED = "image-rejected"
    IMAGE_TOO_LARGE = "image-too-large"
    KMS_REFUSED = "kms-refused"
    KMS_UNAVAILABLE = "kms-unavailable"
    SEALED_ANSWERS_ONLY = "sealed-answers-only"
    OHTTP_REJECTED = "ohttp-rejected"
    OHTTP_KEY = "ohttp-key"
    BODY_TOO_LARGE = "body-too-large"
    OVERLOADED = "overloaded"
    DEADLINE_EXCEEDED = "deadline-exceeded"
    DRAINING = "draining"
    INTERNAL_ERROR = "internal-error"


_REQUEST_FIELDS: Final = frozenset({"v", "op", "id", "ms", "len", "p"})
_OPTIONAL_FIELDS: Final = frozenset({"caller"})
_ANSWER_FIELDS: Final = frozenset({"v", "id", "out", "len", "p"})
# By value: a look into a dictionary costs a fifth of a call of the enumeration.
_OPERATIONS: Final = {operation.value: operation for operation in Operation}
_OUTCOMES: Final = {outcome.value: outcome for outcome in Outcome}


@dataclass(frozen=True, slots=True)
class RequestHeader:
    """What the gateway sends before a body.

    Attributes:
        operation: What to do.
        request_id: 16 bytes that the answer repeats; also the id in logs on both sides.
        deadline_ms: Milliseconds from arrival after which nobody waits for the answer.
        body_length: Bytes of body that follow.
        params: Small values that the operation takes.
        caller: 16 opaque bytes that are equal for two requests of one caller; None if the
            gateway itself asks. The enclave shares out what is scarce by it.
    """

    operation: Operation
    request_id: bytes
    deadline_ms: int
    body_length: int = 0
    params: Params = field(default_factory=dict)
    caller: bytes | None = None

    def encode(self) -> bytes:
        """The header with its length in front, ready to be sent ahead of the body.

        Raises:
            HeaderTooLarge: The parameters take more bytes than a receiver accepts.
        """
        fields: dict[str, Any] = {
            "p": self.params,
            "v": VERSION,
            "id": self.request_id,
            "ms": self.deadline_ms,
            "op": self.operation.value,
            "len": self.body_length,
        }
        if self.caller is not None:
            fields["caller"] = self.caller
        return _prefixed(fields)

    @classmethod
    def decode(cls, data: bytes | bytearray) -> RequestHeader:
        """Read a header without its length prefix.

        Raises:
            RequestRefused: Its id can be read, and something else in it is not allowed.
            FrameError: It is not exactly one header of this version.
        """
        fields = _fields(data, _REQUEST_FIELDS, _OPTIONAL_FIELDS)
        request_id = _request_id(fields)
        try:
            return cls(
                _operation(fields),
                request_id,
                _uint(fields, "ms", MAX_DEADLINE_MS),
                _uint(fields, "len", 0xFFFF_FFFF),
                _params(fields),
                _caller(fields),
            )
        except FrameError as error:
            raise RequestRefused(str(error), request_id) from None


@dataclass(frozen=True, slots=True)
class AnswerHeader:
    """What the enclave sends before a body.

    Attributes:
        request_id: The id of the request that this answers.
        outcome: How it ended.
        body_length: Bytes of body that follow.
        params: Small values that belong to the answer.
    """

    request_id: bytes
    outcome: Outcome
    body_length: int = 0
    params: Params = field(default_factory=dict)

    def encode(self) -> bytes:
        """The header with its length in front, ready to be sent ahead of the body.

        Raises:
            HeaderTooLarge: The parameters take more bytes than a receiver accepts.
        """
        return _prefixed(
            {
                "p": self.params,
                "v": VERSION,
                "id": self.request_id,
                "len": self.body_length,
                "out": self.outcome.value,
            }
        )

    @classmethod
    def decode(cls, data: bytes | bytearray) -> AnswerHeader:
        """Read a header without its length prefix.

        Raises:
            FrameError: It is not exactly one header of this version.
        """
        fields = _fields(data, _ANSWER_FIELDS)
        try:
            outcome = _OUTCOMES[fields["out"]]
        except (KeyError, TypeError):
            raise FrameError("the header names an outcome that does not exist") from None
        return cls(_request_id(fields), outcome, _uint(fields, "len", 0xFFFF_FFFF), _params(fields))


@dataclass(frozen=True, slots=True)
class FrameLimits:
    """What a receiver takes at most, checked before memory is.

    Attributes:
        body: Bytes of one body.
        header: Bytes of one CBOR header.
    """

    body: int
    header: int = MAX_HEADER


Header = TypeVar("Header", RequestHeader, AnswerHeader)
Body = bytearray | memoryview


class _State(Enum):
    LENGTH = auto()
    HEADER = auto()
    BODY = auto()


class FrameReader(Generic[Header]):
    """Reads frames of one direction, one after the other.

    Args:
        header: `RequestHeader` in the enclave, `AnswerHeader` in the gateway.
        limits: What is taken at most.

    Use::

        while event := reader.received(sock.recv_into(reader.buffer())):
            ...
    """

    def __init__(self, header: type[Header], limits: FrameLimits) -> None:
        self._header: type[Header] = header
        self._limits = limits
        self._state = _State.LENGTH
        self._size = _LENGTH.size
        self._memory: Body = bytearray(_LENGTH.size)
        self._filled = 0

    def __repr__(self) -> str:
        return f"<FrameReader {self._state.name}, {self._filled} of {self._size} bytes>"

    @property
    def is_between_frames(self) -> bool:
        """True where the peer may close the connection without cutting anything off."""
        return self._state is _State.LENGTH and self._filled == 0

    def buffer(self) -> memoryview:
        """Where to receive next; never empty, never longer than what this frame still lacks."""
        if not self._memory:
            self._memory = bytearray(self._size)
        return memoryview(self._memory)[self._filled :]

    def use_memory(self, memory: memoryview) -> None:
        """Receive the body whose header was just given into the caller's own memory.

        Args:
            memory: Writable, and of exactly the header's body length.

        Raises:
            ValueError: There is no such body, part of it has come already, or the size is wrong.
        """
        if self._state is not _State.BODY or self._filled or len(memory) != self._size:
            raise ValueError("this memory does not fit the body that is expected")
        self._memory = memory

    def received(self, count: int) -> Header | Body | None:
        """Take note that `count` bytes arrived in `buffer()`.

        Returns:
            The header as soon as it is complete; the body, for a header with a body length
            above zero, as soon as all of it is there; None in between.

        Raises:
            BodyTooLarge: A header announces a body over the limit.
            RequestRefused: A request's header holds what is not allowed.
            FrameError: What arrived is no frame, or is over a limit, or the connection ended
                (count 0) inside a frame.
        """
        if count == 0:
            raise FrameError("the connection ended inside a frame")
        self._filled += count
        if self._filled < self._size:
            return None
        complete = self._memory
        match self._state:
            case _State.LENGTH:
                (length,) = _LENGTH.unpack(complete)
                if not 0 < length <= self._limits.header:
                    raise FrameError(f"a header of {length} bytes is over the limit or empty")
                self._expect(_State.HEADER, length)
                return None
            case _State.HEADER:
                header: Header = self._header.decode(bytes(complete))
                if header.body_length > self._limits.body:
                    raise BodyTooLarge(
                        f"a body of {header.body_length} bytes is over the limit", header.request_id
                    )
                if header.body_length:
                    self._expect(_State.BODY, header.body_length)
                else:
                    self._expect(_State.LENGTH, _LENGTH.size)
                return header
            case _State.BODY:
                self._expect(_State.LENGTH, _LENGTH.size)
                return complete

    def _expect(self, state: _State, length: int) -> None:
        self._state = state
        self._size = length
        # A body's memory is taken only if the caller brings none.
        self._memory = bytearray(0 if state is _State.BODY else length)
        self._filled = 0


def _prefixed(fields: dict[str, Any]) -> bytes:
    """The deterministic encoding, whose keys go by length and then by value.

    The headers above name theirs in that order. Only parameters are left to be put in order, and
    to have their numbers written as short as can be: most frames have none, and save the time.
    """
    params = fields["p"] = dict(fields["p"])
    header = cbor2.dumps(fields, canonical=bool(params))
    if len(header) > MAX_HEADER:
        largest = max(params, key=lambda name: len(cbor2.dumps(params[name])), default="")
        raise HeaderTooLarge(len(header), MAX_HEADER, largest)
    return _LENGTH.pack(len(header)) + header


def _fields(
    data: bytes | bytearray, names: frozenset[str], optional: frozenset[str] = frozenset()
) -> dict[str, Any]:
    try:
        fields = strict_cbor.decode(data, max_bytes=len(data), max_depth=4)
    except strict_cbor.CborError as error:
        raise FrameError("the header is not CBOR") from error
    if not isinstance(fields, dict) or fields.keys() - optional != names:
        raise FrameError("the header does not have the fields of this version")
    if _uint(fields, "v", 0xFF) != VERSION:
        raise FrameError(f"the header is of another version than {VERSION}")
    return fields


def _uint(fields: dict[str, Any], name: str, most: int) -> int:
    value = fields[name]
    if type(value) is not int or not 0 <= value <= most:
        raise FrameError(f"the header's {name!r} is not a number of 0 to {most}")
    return value


def _operation(fields: dict[str, Any]) -> Operation:
    try:
        return _OPERATIONS[fields["op"]]
    except (KeyError, TypeError):
        raise FrameError("the header names an operation that does not exist") from None


def _request_id(fields: dict[str, Any]) -> bytes:
    value = fields["id"]
    if not isinstance(value, bytes) or len(value) != REQUEST_ID_BYTES:
        raise FrameError(f"the header's 'id' is not {REQUEST_ID_BYTES} bytes")
    return value


def _caller(fields: dict[str, Any]) -> bytes | None:
    if "caller" not in fields:
        return None
    value = fields["caller"]
    if not isinstance(value, bytes) or len(value) != CALLER_BYTES:
        raise FrameError(f"the header's 'caller' is not {CALLER_BYTES} bytes")
    return value


def _params(fields: dict[str, Any]) -> Params:
    params = fields["p"]
    if not isinstance(params, dict):
        raise FrameError("the header's 'p' is not a map")
    for name, value in params.items():
        flat = isinstance(value, str | bytes | int | float) or value is None
        texts = isinstance(value, list) and all(isinstance(item, str) for item in value)
        if not isinstance(name, str) or not (flat or texts):
            raise FrameError("the header's 'p' holds something other than small values")
    return params
