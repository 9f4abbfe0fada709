"""The Open Inference Protocol inside a sealed request: the same paths and bodies as outside."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from blindgate import problems
from blindgate.detections import ModelRef
from blindgate.oip import (
    InferRequest,
    OipError,
    Target,
    encode_answer,
    error_text,
    model_metadata,
    parse_path,
    parse_request,
    server_metadata,
)
from blindgate.oip.request import HEADER_LENGTH
from blindgate.oip.tensors import Result, shared_problem
from enclave_app.detector.errors import UnknownClass
from enclave_app.handlers.ohttp import InnerAnswer, InnerRequest, failed

if TYPE_CHECKING:
    from blindgate.problems import Problem

#: Finds the objects in each image of a request, or says which problem each met.
DetectAll = Callable[[InferRequest], Sequence[Result]]


def answer_inference(
    request: InnerRequest,
    model: ModelRef,
    detect_all: DetectAll,
    room: Callable[[InferRequest], int],
) -> InnerAnswer:
    """Answer a request of the protocol.

    Args:
        request: What came sealed.
        model: The detector that runs here.
        detect_all: Finds objects.
        room: How many bytes the response to a request may need, whatever its images show.
    """
    target = parse_path(request.path)
    if target is None or not _is_here(target, model):
        return oip_problem(problems.NOT_FOUND)
    if request.method != target.method:
        return oip_problem(problems.METHOD_NOT_ALLOWED)
    match target.verb:
        case "infer":
            return _infer(request, model, detect_all, room)
        case "server":
            return _json(server_metadata())
        case "live":
            return _json({"live": True})
        case "ready":
            return _json({"ready": True})
        case "model":
            return _json(model_metadata(model.name, [model.version]))
        case "model-ready":
            return _json({"name": model.name, "ready": True})


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


def _is_here(target: Target, model: ModelRef) -> bool:
    return target.model in (None, model.name) and target.version in (None, model.version)


def _json(content: dict[str, Any]) -> InnerAnswer:
    return InnerAnswer(200, json.dumps(content, separators=(",", ":")).encode())


def oip_problem(problem: Problem, detail: str | None = None, **members: object) -> InnerAnswer:
    """A problem that is an error of the protocol as well, which wants an `error` member."""
    body = problem.body(detail, **members)
    return InnerAnswer.of_problem(problem, detail, **members, error=error_text(body))
