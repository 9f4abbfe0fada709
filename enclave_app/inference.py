"""The Open Inference Protocol inside a sealed request: the same paths and bodies as outside."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from blindgate import problems
from blindgate.detections import DetectOptions, ModelRef
from blindgate.oip import (
    OipError,
    Target,
    encode_answer,
    model_metadata,
    parse_path,
    parse_request,
    server_metadata,
)
from blindgate.oip.request import HEADER_LENGTH
from blindgate.oip.tensors import Result, shared_problem
from enclave_app.sealed import InnerAnswer, InnerRequest

if TYPE_CHECKING:
    from blindgate.problems import Problem

#: Finds objects in one image, or says which problem stands in the way.
Detect = Callable[[bytes | bytearray | memoryview, DetectOptions], Result]


def is_inference(path: str) -> bool:
    """Whether a path belongs to the protocol."""
    return path == "/v2" or path.startswith("/v2/")


def answer_inference(request: InnerRequest, model: ModelRef, detect: Detect) -> InnerAnswer:
    """Answer a request of the protocol.

    Args:
        request: What came sealed.
        model: The detector that runs here.
        detect: Finds objects.
    """
    target = parse_path(request.path)
    if target is None or not _is_here(target, model):
        return _problem(problems.NOT_FOUND)
    if request.method != target.method:
        return _problem(problems.METHOD_NOT_ALLOWED)
    match target.verb:
        case "infer":
            return _infer(request, model, detect)
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


def _infer(request: InnerRequest, model: ModelRef, detect: Detect) -> InnerAnswer:
    try:
        asked = parse_request(request.content, request.header(HEADER_LENGTH))
    except OipError as error:
        return _problem(problems.INVALID_REQUEST, errors=error.faults)
    results = [detect(image, asked.options) for image in asked.images]
    if (shared := shared_problem(results)) is not None:
        return _problem(shared)
    answer = encode_answer(asked, results, model)
    return InnerAnswer(200, answer.body, answer.content_type, headers=tuple(answer.headers.items()))


def _is_here(target: Target, model: ModelRef) -> bool:
    return target.model in (None, model.name) and target.version in (None, model.version)


def _json(content: dict[str, Any]) -> InnerAnswer:
    return InnerAnswer(200, json.dumps(content, separators=(",", ":")).encode())


def _problem(problem: Problem, **members: object) -> InnerAnswer:
    """A problem that is an error of the protocol as well, which wants an `error` member."""
    return InnerAnswer.of_problem(problem, None, error=problem.title, **members)
