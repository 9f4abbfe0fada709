"""LitServe: one worker process a core, the raw body."""

from typing import Annotated

import litserve
from fastapi import Body, Response

from bench.peers import options
from enclave_app.detector import Detector


class DetectorApi(litserve.LitAPI):  # type: ignore[misc]
    """The detector behind LitServe's three steps."""

    def setup(self, device: str) -> None:  # noqa: ARG002 - its signature
        """Load the model in each worker."""
        self.detector = Detector.load(options.model())

    def decode_request(self, request: Annotated[bytes, Body(media_type="image/jpeg")]) -> bytes:
        """The photo as it came."""
        return request

    def predict(self, image: bytes) -> bytes:
        """Find objects."""
        return self.detector.detect(image).to_json()

    def encode_response(self, output: bytes) -> Response:
        """JSON that is written already."""
        return Response(output, media_type="application/json")


if __name__ == "__main__":
    litserve.LitServer(
        DetectorApi(api_path="/detect"),
        accelerator="cpu",
        workers_per_device=options.cores(),
        timeout=120,
    ).run(
        host="127.0.0.1",
        port=options.port(),
        num_api_servers=1,
        generate_client_file=False,
        log_level="warning",
        access_log=False,
    )
