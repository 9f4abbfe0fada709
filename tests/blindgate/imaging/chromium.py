"""What Chromium shows of image files: a page draws each over white and reports some pixels."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

CHROMIUM = os.environ.get("BLINDGATE_CHROMIUM") or shutil.which("chromium")
#: Seconds for all files: a bound against hangs.
PATIENCE = 90
#: So many pixels are compared across and down.
GRID = 8

_PAGE = """<!doctype html><script type="module">
const results = {};
for (const name of %s) {
  const image = new Image();
  image.src = URL.createObjectURL(await (await fetch("/file/" + encodeURIComponent(name))).blob());
  let decoded = true;
  await image.decode().catch(() => { decoded = false; });
  const width = image.naturalWidth, height = image.naturalHeight;
  const pixels = [];
  if (width) {
    const canvas = new OffscreenCanvas(width, height);
    const context = canvas.getContext("2d");
    context.fillStyle = "white";
    context.fillRect(0, 0, width, height);
    context.drawImage(image, 0, 0);
    for (let y = 0; y < GRID; y++) for (let x = 0; x < GRID; x++) {
      const at = [Math.floor((x + 0.5) * width / GRID), Math.floor((y + 0.5) * height / GRID)];
      pixels.push([...context.getImageData(...at, 1, 1).data.slice(0, 3)]);
    }
  }
  results[name] = { width, height, decoded, pixels };
}
await fetch("/results", { method: "POST", body: JSON.stringify(results) });
</script>""".replace("GRID", str(GRID))


@dataclass(frozen=True)
class Shown:
    """What the browser made of a file.

    Attributes:
        width: In pixels, upright by the browser's rules; 0 if it shows nothing.
        height: The same.
        decoded: Whether it decoded all of it without an error.
        pixels: Colours at the centres of `GRID` x `GRID` equal parts, row by row.
    """

    width: int
    height: int
    decoded: bool
    pixels: list[list[int]]


def shown(files: Mapping[str, bytes]) -> dict[str, Shown]:
    """Show files in Chromium.

    Raises:
        AssertionError: It did not report anything.
    """
    assert CHROMIUM is not None
    done = threading.Event()
    results: dict[str, Any] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.removeprefix("/file/")
            content = files.get(name, (_PAGE % json.dumps(list(files))).encode())
            self.send_response(200)
            kind = "application/octet-stream" if name in files else "text/html"
            self.send_header("content-type", kind)
            self.end_headers()
            self.wfile.write(content)

        def do_POST(self) -> None:
            results.update(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(204)
            self.end_headers()
            done.set()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = subprocess.Popen(
            [
                *(CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu"),
                *("--no-first-run", "--disable-dev-shm-usage", f"--user-data-dir={profile}"),
                f"http://127.0.0.1:{server.server_port}/",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            assert done.wait(PATIENCE), "Chromium reported nothing"
        finally:
            browser.terminate()
            browser.wait(30)
            server.shutdown()
            thread.join()
            server.server_close()
    return {name: Shown(**result) for name, result in results.items()}
