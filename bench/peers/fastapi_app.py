"""Plain FastAPI: the raw body, and a pool of as many threads as cores."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import uvicorn
from fastapi import FastAPI, Request, Response

from bench.peers import options
from enclave_app.detector import Detector

detector = Detector.load(options.model())
threads = ThreadPoolExecutor(options.cores())
app = FastAPI()


@app.post("/detect")
async def detect(request: Request) -> Response:
    """Find objects in a photo."""
    image = await request.body()
    loop = asyncio.get_running_loop()
    found = await loop.run_in_executor(threads, detector.detect, image)
    return Response(found.to_json(), media_type="application/json")


if __name__ == "__main__":
    uvicorn.run(app, port=options.port(), loop="uvloop", http="httptools", access_log=False)
