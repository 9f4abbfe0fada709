"""Secrets Manager and S3 as far as docs/deploy.md uses them: one secret, objects with versions."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class FakeAws:
    """What was put.

    Args:
        secret: The file that holds the secret's value, which others may read.
    """

    def __init__(self, secret: Path) -> None:
        self.secret = secret
        self.objects: dict[str, bytes] = {}
        self.url = ""

    def answer(self, target: str, asked: dict[str, Any]) -> dict[str, Any]:
        """One operation of Secrets Manager."""
        operation = target.rpartition(".")[2]
        if operation == "PutSecretValue":
            self.secret.write_text(asked["SecretString"])
        elif operation != "GetSecretValue":
            raise AssertionError(f"the page asks Secrets Manager for {operation}")
        about = {"Name": asked["SecretId"], "VersionId": "1"}
        return about | {"SecretString": self.secret.read_text()}

    @contextmanager
    def serve(self) -> Iterator[FakeAws]:
        """Answer requests until the end of the block."""
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _body(self) -> bytes:
                if self.headers.get("transfer-encoding") != "chunked":
                    return self.rfile.read(int(self.headers.get("content-length", 0)))
                body = b""
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                while self.rfile.readline().strip():
                    pass
                return body

            def _end(self, content: bytes, **headers: str) -> None:
                self.send_response(200)
                for name, value in headers.items():
                    self.send_header(name.replace("_", "-"), value)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def do_POST(self) -> None:
                asked = json.loads(self._body())
                answer = fake.answer(self.headers["x-amz-target"], asked)
                self._end(json.dumps(answer).encode(), content_type="application/x-amz-json-1.1")

            def do_PUT(self) -> None:
                fake.objects[self.path] = self._body()
                self._end(b"", x_amz_version_id=f"v{len(fake.objects)}", etag='"0"')

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            thread.join()
            server.server_close()
