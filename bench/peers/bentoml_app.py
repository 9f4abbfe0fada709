"""BentoML: one worker process a core, the photo as the whole body."""

from pathlib import Path
from typing import Annotated

import bentoml
from bentoml.validators import ContentType

from bench.peers import options
from enclave_app.detector import Detector


@bentoml.service(workers=options.cores(), traffic={"timeout": 120})
class DetectorService:
    """The detector as a service of BentoML."""

    def __init__(self) -> None:
        self.detector = Detector.load(options.model())

    @bentoml.api(route="/detect")  # type: ignore[untyped-decorator]
    def detect(self, image: Annotated[Path, ContentType("image/jpeg")], /) -> str:
        """Find objects in a photo."""
        return self.detector.detect(image.read_bytes()).to_json().decode()
