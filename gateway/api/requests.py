"""What routes need of a request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Depends, Header, Request
from pydantic import ValidationError

from blindgate import problems
from blindgate.detections import DetectOptions, describe_faults
from blindgate.link.frames import MAX_DEADLINE_MS
from gateway.dataplane import Dataplane, expiry
from gateway.http.problem_responses import Refused

if TYPE_CHECKING:
    from gateway.settings import Settings


async def _dataplane(request: Request) -> Dataplane:
    plane: Dataplane = request.app.state.dataplane
    return plane


async def _expires(
    request: Request,
    request_timeout: Annotated[
        float | None,
        Header(
            alias="Request-Timeout",
            gt=0,
            le=MAX_DEADLINE_MS / 1000,
            allow_inf_nan=False,
            description="Seconds after which the answer is of no use any more, counted from the "
            "arrival of the request's headers.",
            examples=[10],
        ),
    ] = None,
) -> float:
    settings: Settings = request.app.state.settings
    seconds = request_timeout or settings.default_deadline
    if seconds > settings.max_deadline:
        message = f"Input should be less than or equal to {settings.max_deadline:g}"
        fault = {"in": "header", "parameter": "Request-Timeout", "message": message}
        raise Refused(problems.INVALID_REQUEST, errors=[fault])
    return expiry(seconds)


async def _detect_options(request: Request) -> DetectOptions:
    try:
        return DetectOptions.from_query(request.query_params.multi_items())
    except ValidationError as error:
        faults: list[dict[str, Any]] = [{"in": "query", **f} for f in describe_faults(error)]
        raise Refused(problems.INVALID_REQUEST, errors=faults) from None


Plane = Annotated[Dataplane, Depends(_dataplane)]
Expires = Annotated[float, Depends(_expires)]
Options = Annotated[DetectOptions, Depends(_detect_options)]
