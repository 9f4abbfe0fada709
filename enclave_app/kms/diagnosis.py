"""What an operator learns about calls that KMS does not grant: log lines, and the clock's state.

A key policy that does not list this image and a clock that is wrong both end in a 400 from KMS.
The remedies differ, so the log and `status` distinguish them. Neither says anything about content:
whether the clock is right does not depend on the request, and KMS's own text is never logged.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

log = logging.getLogger("blindgate.worker")

#: Seconds between two log lines of one kind: clients decide how often KMS refuses.
REPEAT_SECONDS: Final = 60.0

#: Error codes that always mean a clock that differs from AWS's: `RequestExpired` is in KMS's
#: "Common Error Types" (API reference); AWS's SDKs treat all three as clock skew and correct for
#: it (aws-sdk-go-v2 `aws/retry/middleware.go`, botocore `utils.py`).
_SKEW_CODES: Final = frozenset({"RequestExpired", "RequestTimeTooSkewed", "RequestInTheFuture"})
#: Codes of a wrong signature, whose text says whether the time is what is wrong with it.
_SIGNATURE_CODES: Final = frozenset(
    {"InvalidSignatureException", "SignatureDoesNotMatch", "InvalidSignature", "AuthFailure"}
)
_STAMP: Final = r"([0-9]{8}T[0-9]{6}Z)"
#: "Signature expired: SIGNED is now earlier than LIMIT (SERVER - 5 min.)" and "Signature not yet
#: current: SIGNED is still later than LIMIT (SERVER + 5 min.)" (IAM User Guide, "Troubleshoot
#: Signature Version 4"). Only the time stamps are taken from it.
_SIGNATURE_TEXT: Final = re.compile(
    r"Signature (?P<fault>expired|not yet current)\b"
    rf"(?:: {_STAMP} is (?:now earlier|still later) than {_STAMP} \({_STAMP})?"
)


class ClockState(StrEnum):
    """The enclave's clock, judged by KMS, which accepts a difference of five minutes."""

    UNKNOWN = "unknown"
    #: KMS accepted the time of the last signature.
    OK = "ok"
    BEHIND = "behind"
    AHEAD = "ahead"
    #: KMS refused the time and did not say in which direction it differs.
    SKEWED = "skewed"


@dataclass(frozen=True, slots=True)
class Skew:
    """A clock that KMS does not accept.

    Attributes:
        state: BEHIND, AHEAD or SKEWED.
        seconds: The size of the difference, if KMS's text allows to compute it.
    """

    state: ClockState
    seconds: int | None = None

    def __str__(self) -> str:
        amount = "by an unknown amount" if self.seconds is None else f"by {self.seconds} s"
        words = {ClockState.BEHIND: "behind KMS's", ClockState.AHEAD: "ahead of KMS's"}
        return f"{words.get(self.state, 'different from KMS')} {amount}"


def skew_of(code: str, message: str) -> Skew | None:
    """Whether an error of KMS means that this machine's clock differs from KMS's.

    Args:
        code: The error's type without its namespace.
        message: The error's text; empty if there is none.
    """
    if code in _SKEW_CODES:
        state = ClockState.AHEAD if code == "RequestInTheFuture" else ClockState.SKEWED
        return Skew(state)
    if code not in _SIGNATURE_CODES or (found := _SIGNATURE_TEXT.search(message)) is None:
        return None
    state = ClockState.BEHIND if found["fault"] == "expired" else ClockState.AHEAD
    return Skew(state, _seconds_between(found[2], found[4]))


def _seconds_between(signed: str | None, server: str | None) -> int | None:
    if signed is None or server is None:
        return None
    try:
        one, other = (
            datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
            for stamp in (signed, server)
        )
    except ValueError:
        return None
    return int(abs(one - other).total_seconds())


class Diagnosis:
    """The clock's state and a bounded log. Safe for any number of threads.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._state = ClockState.UNKNOWN
        self._silent_until: dict[str, float] = {}

    @property
    def clock_state(self) -> ClockState:
        """What the last answer of KMS said about the clock."""
        return self._state

    def accepted(self) -> None:
        """KMS took the signature, whatever it then decided."""
        with self._lock:
            corrected = self._state not in (ClockState.OK, ClockState.UNKNOWN)
            self._state = ClockState.OK
            if corrected:
                self._silent_until.pop("clock", None)
        if corrected:
            log.info("KMS accepts this enclave's clock again")

    def skewed(self, skew: Skew, request_id: str | None) -> None:
        """KMS refused the time of a signature."""
        with self._lock:
            self._state = skew.state
        self._warn(
            "clock",
            f"KMS refuses this enclave's clock, which is {skew} (request {request_id}): "
            "the key policy is not the cause; restart the enclave if its clock stays wrong",
        )

    def refused(self, request_id: str | None) -> None:
        """KMS refused for a reason other than the clock."""
        self._warn(
            "refused",
            f"KMS refused to release a data key (request {request_id}): compare the key policy "
            "with this image's PCR0; AWS CloudTrail has the reason",
        )

    def _warn(self, kind: str, text: str) -> None:
        now = self._clock()
        with self._lock:
            if now < self._silent_until.get(kind, now):
                return
            self._silent_until[kind] = now + REPEAT_SECONDS
        log.warning("%s", text)
