"""MLServer: a custom runtime, one process a core, the photo in base64 as its protocol wants."""

import json
import sys
from pathlib import Path

from mlserver import MLModel
from mlserver.codecs import StringCodec
from mlserver.types import InferenceRequest, InferenceResponse

from bench.peers import options
from enclave_app.detector import Detector


class DetectorModel(MLModel):  # type: ignore[misc]
    """The detector as a model of MLServer."""

    async def load(self) -> bool:
        """Load the model in each worker."""
        self.detector = Detector.load(options.model())
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Find objects in a photo."""
        (image,) = self.decode(payload.inputs[0])
        answer = self.detector.detect(image).to_json().decode()
        outputs = [StringCodec.encode_output("detections", [answer])]
        return InferenceResponse(model_name=self.name, outputs=outputs)


def main() -> None:
    """Write MLServer's two settings files into a folder and serve it."""
    from mlserver.cli import main as mlserver

    folder = Path(sys.argv[1])
    settings = {
        "host": "127.0.0.1",
        "http_port": options.port(),
        "grpc_port": options.port() + 1,
        "metrics_port": options.port() + 2,
        "metrics_endpoint": None,
        "parallel_workers": options.cores(),
        "debug": False,
        "max_buffer": 2**30,
    }
    model = {"name": "detector", "implementation": "bench.peers.mlserver_app.DetectorModel"}
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "model-settings.json").write_text(json.dumps(model))
    sys.argv = ["mlserver", "start", str(folder)]
    mlserver()


if __name__ == "__main__":
    main()
