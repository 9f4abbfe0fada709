"""KServe's own SDK, as its users write it; prints what it got as JSON.

Runs in the environment of `make test-clients`: `kserve_client.py GATEWAY MODEL ENVELOPE`.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest
from kserve.inference_client import RESTConfig
from kserve.protocol.infer_type import RequestedOutput


async def main(gateway: str, model: str, path: str) -> None:
    client = InferenceRESTClient(config=RESTConfig(protocol="v2", timeout=60))
    envelope = Path(path).read_bytes()

    async def infer(image: InferInput, **more: Any) -> list[str]:
        request = InferRequest(model_name=model, infer_inputs=[image], **more)
        answer = await client.infer(gateway, request, model_name=model)
        (labels,) = (each for each in answer.outputs if each.name == "labels")
        found = labels.as_numpy().flatten().tolist()
        return [each if isinstance(each, str) else each.decode() for each in found]

    binary = InferInput("image", [1], "BYTES")
    binary.set_data_from_numpy(np.array([envelope], dtype=np.object_), binary_data=True)
    in_json = InferInput("image", [1], "BYTES", data=[base64.b64encode(envelope).decode()])
    saw: dict[str, Any] = {
        "live": await client.is_server_live(gateway),
        "ready": await client.is_server_ready(gateway),
        "model": await client.is_model_ready(gateway, model),
        "binary": await infer(binary),
        "json": await infer(in_json),
        "asked": await infer(
            binary,
            request_id="mine",
            parameters={"classes": "cup", "min_score": 0.3},
            request_outputs=[RequestedOutput("labels", parameters={"binary_data": True})],
        ),
    }
    try:
        await infer(binary, parameters={"classes": "Cup"})
    except httpx.HTTPStatusError as error:
        saw["refused"] = f"{error}: {error.response.json()['error']}"
    print(json.dumps(saw))


asyncio.run(main(*sys.argv[1:]))
