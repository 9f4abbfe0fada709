"""What an enclave says about itself (docs/link.md §5, operation `status`)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, FailFast, Field, ValidationError

from blindgate import strict_cbor
from blindgate.detections import Label
from blindgate.link import FrameError
from blindgate.link.frames import MAX_STATUS


class ModelStatus(BaseModel):
    """The detector that an enclave runs."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: Annotated[str, Field(min_length=1, max_length=128)]
    version: Annotated[str, Field(min_length=1, max_length=64)]
    # One fault suffices: a list of them takes hundreds of times what it describes.
    labels: Annotated[tuple[Label, ...], FailFast(), Field(max_length=5000)] = ()


class Status(BaseModel):
    """The answer to `status`. Fields that a newer enclave adds are passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    ready: bool
    needs_credentials: bool = False
    #: How KMS judges the enclave's clock: unknown, ok, behind, ahead or skewed. A text, so that a
    #: newer enclave may have a further word.
    kms_clock: Annotated[str, Field(pattern=r"^[a-z-]{1,16}$")] = "unknown"
    #: The Regions whose KMS its image can ask; empty where an older enclave does not say. Of
    #: several, credentials name one.
    kms_regions: Annotated[
        tuple[Annotated[str, Field(pattern=r"^[a-z0-9-]{1,32}$")], ...],
        FailFast(),
        Field(max_length=16),
    ] = ()
    draining: bool = False
    answers: Literal["open", "sealed"] = "open"
    model: ModelStatus | None = None
    key_ids: Annotated[bytes, Field(max_length=256)] = b""
    queued: Annotated[int, Field(ge=0)] = 0
    busy: Annotated[int, Field(ge=0)] = 0
    threads: Annotated[int, Field(ge=1, le=4096)] = 1
    #: The longest body that it receives; None where an older enclave does not say.
    body_bytes: Annotated[int | None, Field(ge=1)] = None

    @property
    def clock_is_refused(self) -> bool:
        """Whether KMS refuses this enclave's signatures because of their time."""
        return self.kms_clock not in ("unknown", "ok")

    @classmethod
    def from_cbor(cls, body: bytes | bytearray | memoryview) -> Status:
        """Read the body of an answer to `status`.

        Raises:
            FrameError: It is not such a body.
        """
        try:
            fields = strict_cbor.decode(body, max_bytes=MAX_STATUS, max_depth=6)
            return cls.model_validate(fields)
        except (strict_cbor.CborError, ValidationError) as error:
            raise FrameError("the enclave's status is not one that this version knows") from error
