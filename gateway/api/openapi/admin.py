"""What the OpenAPI document says of the operations for administrators."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import BaseModel, Field

from blindgate import problems
from gateway.api.openapi import operation
from gateway.auth.caller import Scope
from gateway.auth.guard import Access


class RunningModel(BaseModel):
    """The detector that an enclave runs."""

    name: str
    version: str


class Enclave(BaseModel):
    """One enclave, as the gateway sees it. What is not known before it is verified is null."""

    address: Annotated[str, Field(description="Where it listens.")]
    state: Annotated[
        str, Field(description="joining, verifying, ready, draining or out.", examples=["ready"])
    ]
    outstanding: Annotated[int, Field(description="Requests that it has not answered yet.")]
    pcr_set: Annotated[
        str | None, Field(description="The set of trusted measurements that it matches.")
    ] = None
    pcr0: Annotated[str | None, Field(description="Its image's measurement.")] = None
    key_ids: Annotated[list[int], Field(description="The sealing keys that it holds.")] = []
    model: RunningModel | None = None
    answers: Annotated[
        str | None, Field(description="Whether it answers outside a seal: open or sealed.")
    ] = None
    kms_clock: Annotated[
        str | None,
        Field(
            description=(
                "Its clock as KMS last judged it: unknown, ok, behind, ahead or skewed. KMS "
                "refuses signatures that are more than five minutes off."
            )
        ),
    ] = None


class EnclaveList(BaseModel):
    """The enclaves of this gateway."""

    enclaves: list[Enclave]


_EXAMPLE: Final[dict[str, Any]] = {
    "enclaves": [
        {
            "address": "vsock://16:5005",
            "state": "ready",
            "outstanding": 1,
            "pcr_set": "release-7",
            "pcr0": "5e" * 48,
            "key_ids": [7],
            "model": {"name": "ssd-mobilenet-v2-coco-int8", "version": "2018.3.29"},
            "answers": "sealed",
            "kms_clock": "ok",
        },
        {
            "address": "vsock://17:5005",
            "state": "verifying",
            "outstanding": 0,
            "pcr_set": None,
            "pcr0": None,
            "key_ids": [],
            "model": None,
            "answers": None,
            "kms_clock": None,
        },
    ]
}

ENCLAVES: Final = operation(
    "listEnclaves",
    "List the enclaves and what they have proved",
    (problems.NOT_ACCEPTABLE,),
    access=Access(Scope.ADMIN),
    ok={
        "description": "The enclaves, those that are leaving too.",
        "model": EnclaveList,
        "content": {"application/json": {"example": _EXAMPLE}},
    },
)
