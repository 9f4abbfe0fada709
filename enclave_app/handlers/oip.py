"""The Open Inference Protocol inside a sealed request: the same paths and bodies as outside."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from blindgate import problems
from blindgate.detections import ModelRef
from blindgate.oip import (
    InferRequest,
    OipError,
    encode_answer,
    error_text,
    model_metadata,
    parse_request,
    server_metadata,
)
from blindgate.oip.request import HEADER_LENGTH
from blindgate.oip.tensors import Result, shared_problem
from blindgate.routes import Match, Operation
from enclave_app.detector.errors import UnknownClass
from enclave_app.handlers.ohttp import InnerAnswer, InnerRequest, failed

if TYPE_CHECKING:
    from blindgate.problems import Problem

_METADATA: Final[dict[Operation, Callable[[ModelRef], dict[str, Any]]]] = {
    Operation.SERVER_METADATA: lambda _: server_metadata(),
    Operation.SERVER_LIVE: lambda _: {"live": True},
    Operation.SERVER_READY: lambda _: {"ready": True},
    Operation.MODEL_METADATA: lambda model: model_metadata(model.name, [model.version]),
    Operation.MODEL_READY: lambda model: {"name": model.name, "ready": True},
}
#: Finds the objects in each image of a request, or says which problem each met.
DetectAll = Callable[[InferRequest], Sequence[Result]]


def answer_inference(
    request: InnerRequest,
    match: Match | None,
    model: ModelRef,
    detect_all: DetectAll,
    room: Callable[[InferRequest], int],
) -> InnerAnswer:
    """Answer a request of the protocol.

    Args:
        request: The sealed request, opened.
        match: The route that its path names, if any.
        model: The detector that runs here.
        detect_all: Finds objects.
        room: How many bytes the response to a request may need, whatever its images show.
    """
    if match is None or not _is_here(match, model):
        return oip_problem(problems.NOT_FOUND)
    if request.method != match.route.method:
        return oip_problem(problems.METHOD_NOT_ALLOWED)
    if match.route.operation is Operation.INFER:
        return _infer(request, model, detect_all, room)
    return _json(_METADATA[match.route.operation](model))


def _infer(
    request: InnerRequest,
    model: ModelRef,
    detect_all: DetectAll,
    room: Callable[[InferRequest], int],
) -> InnerAnswer:
    try:
        asked = parse_request(request.content, request.header(HEADER_LENGTH))
    except OipError as error:
        return oip_problem(problems.INVALID_REQUEST, errors=error.faults)
    try:
        answer = _detect(asked, model, detect_all)
    except UnknownClass as error:
        faults = [{**each, "parameter": f"parameters.{each['parameter']}"} for each in error.faults]
        answer = oip_problem(problems.INVALID_REQUEST, errors=faults)
    except Exception as error:  # noqa: BLE001 - what went wrong is for nobody outside
        answer = oip_problem(failed(error))
    # From here on all depends on the images: the length must not.
    return replace(answer, room=room(asked))


def _detect(asked: InferRequest, model: ModelRef, detect_all: DetectAll) -> InnerAnswer:
    results = detect_all(asked)
    if (shared := shared_problem(results)) is not None:
        return oip_problem(shared)
    answer = encode_answer(asked, results, model)
    return InnerAnswer(200, answer.body, answer.content_type, headers=tuple(answer.headers.items()))


def _is_here(match: Match, model: ModelRef) -> bool:
    return match.model in (None, model.name) and match.version in (None, model.version)


def _json(content: dict[str, Any]) -> InnerAnswer:
    return InnerAnswer(200, json.dumps(content, separators=(",", ":")).encode())


def oip_problem(problem: Problem, detail: str | None = None, **members: object) -> InnerAnswer:
    """A problem that is an error of the protocol as well, which wants an `error` member."""
    body = problem.body(detail, **members)
    return InnerAnswer.of_problem(problem, detail, **members, error=error_text(body))
