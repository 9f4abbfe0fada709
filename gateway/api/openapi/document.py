"""From what FastAPI has written to the whole document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from blindgate.detections import Detections
from gateway.api.openapi.responses import HEADER_OBJECTS, SECURITY_SCHEMES
from gateway.api.openapi.schemas import WRITTEN, Evidence, ProblemDocument

if TYPE_CHECKING:
    from pydantic import BaseModel

#: What the groups of operations are for, in the order of the page.
TAGS: Final = (
    ("Detections", "Encrypted images in, objects out."),
    ("Sealed requests", "Requests and answers that only the enclave and the client can read."),
    ("Attestation", "Proof of what the enclave is."),
    ("Models", "What the enclave can find."),
    ("Open Inference Protocol", "The same detector for clients of the protocol's version 2."),
    ("Administration", "For who runs this service."),
    ("Health", "For load balancers and supervisors."),
)

#: Schemas that operations name although FastAPI does not see them in a signature.
SCHEMAS: Final[dict[str, type[BaseModel]]] = {
    # Not `Detections`: generated clients have a local variable of the class's name beside
    # the field `detections`.
    "DetectionList": Detections,
    "Evidence": Evidence,
    "Problem": ProblemDocument,
}
_REFERENCE: Final = "#/components/schemas/{model}"


def complete(document: dict[str, Any], more: Mapping[str, type[BaseModel]]) -> dict[str, Any]:
    """Add the schemas that FastAPI cannot see, and drop its own idea of a validation error.

    Args:
        document: What FastAPI has written.
        more: Further schemas by their names.
    """
    schemas: dict[str, Any] = document.setdefault("components", {}).setdefault("schemas", {})
    for name, model in {**SCHEMAS, **more}.items():
        schema = model.model_json_schema(ref_template=_REFERENCE)
        schemas.update(schema.pop("$defs", {}))
        schemas[name] = {**schema, "title": name}
    schemas.update(WRITTEN)
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    document["paths"] = _ordered(document["paths"])
    for operations in document["paths"].values():
        for described in operations.values():
            _tidy(described)
    document["components"]["schemas"] = dict(sorted(schemas.items()))
    document["components"]["headers"] = HEADER_OBJECTS
    document["components"]["securitySchemes"] = SECURITY_SCHEMES
    document["info"]["contact"] = {"name": "Blindgate"}
    document["info"]["license"] = {"name": "Apache-2.0", "identifier": "Apache-2.0"}
    document["servers"] = [{"url": "/", "description": "This gateway"}]
    document["tags"] = [{"name": name, "description": text} for name, text in TAGS]
    return document


def _ordered(paths: dict[str, Any]) -> dict[str, Any]:
    """The operations by group, health checks last, in whatever order their routes are matched."""
    place = {name: index for index, (name, _) in enumerate(TAGS)}

    def key(item: tuple[str, dict[str, Any]]) -> int:
        operations = item[1].values()
        if not any(operation["security"] for operation in operations):
            return len(place)
        return min(place[operation["tags"][0]] for operation in operations)

    return {path: dict(sorted(item.items())) for path, item in sorted(paths.items(), key=key)}


def _tidy(described: dict[str, Any]) -> None:
    """Take out of an operation what FastAPI adds and generators stumble over."""
    for parameter in described.get("parameters", ()):
        # A parameter is left out, never null.
        schema = parameter["schema"]
        options = [each for each in schema.pop("anyOf", ()) if each != {"type": "null"}]
        parameter["schema"] = {**(options[0] if options else {}), **schema}
        parameter["schema"].pop("title", None)
        parameter["schema"].pop("description", None)
        # Swagger UI fills in the parameter's own example and looks at no other.
        for each in parameter["schema"].pop("examples", ())[:1]:
            parameter["example"] = each
    for response in described["responses"].values():
        content = response.get("content", {})
        for media_type, body in list(content.items()):
            if "$ref" in (schema := body.get("schema", {})):
                body["schema"] = {"$ref": schema["$ref"]}
            elif not schema:
                # Its own guess, beside the media type that is really answered.
                del content[media_type]
