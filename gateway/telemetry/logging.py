"""Structured logs: one JSON object a line, nothing about content.

Names of fields are fixed here, so that a stray `extra` never carries a body or a query out.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, Final

#: What `extra` may hold. A test refuses any other name: its value would not be written.
FIELDS: Final = (
    "request_id",
    "method",
    "route",
    "status",
    "problem",
    "enclave",
    "ms",
    "reason",
    "pause",
    "head",
    "expires",
    "count",
)


#: Made once: `json.dumps` with a `default` makes one for every line.
_encode: Final = json.JSONEncoder(ensure_ascii=True, default=str).encode


class JsonFormatter(logging.Formatter):
    """One record, one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        for name in FIELDS:
            value = getattr(record, name, None)
            if value is not None:
                line[name] = value
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return _encode(line)


def log_to_stdout(level: str) -> None:
    """Send every log of this process to standard output as JSON."""
    # No line says who wrote it, so nobody has to look (Python's logging HOWTO, "Optimization").
    logging._srcfile = None  # noqa: SLF001
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers = []
        logger.propagate = name != "uvicorn.access"
