"""The worker's fixed limits, each with where the number comes from.

What an operator may want to change is in the measured configuration (`enclave_app/config.py`);
its defaults are explained here too.

- `limits.body_bytes`, `image_pixels` and `image_side`: see `blindgate/imaging/limits.py`.
- `limits.connections` 64: the gateway keeps at most 32 to one enclave; twice that for a second
  gateway during an upgrade.
- `limits.queue` 128: at 15 ms an image on one thread, 2 s of work ahead at most.
- `limits.threads_alone` one a core, 4 at most: of the default detector's layers, more find little
  to share out. Models of 32 MiB and less have a second session for it, which takes some 30 MB.
- `limits.image_memory_bytes` 848 MiB: one image of any kind within the limits (12 bytes a pixel,
  836 MiB), or eight PNG photos of 12 megapixels (8 bytes a pixel); a JPEG photo takes some 6 MB,
  since it is decoded at an eighth of its size.
- `limits.upload_memory_bytes` 384 MiB: six of the largest bodies, or hundreds of usual ones, each
  counted twice (`COPIES_OF_A_BODY`).
"""

from __future__ import annotations

from typing import Final

#: How often a body is in memory at most: while a file of the AWS sample is opened, it and its
#: content are there. Everything else is opened in its own memory.
COPIES_OF_A_BODY: Final = 2
#: What the worker needs besides the memory of requests: interpreter, model, sessions and threads
#: take 175 MiB with the default model, the full replay cache 40 MB.
BASE_BYTES: Final = 224 * 1024 * 1024
#: Seconds before the next try after the system had no file descriptor, memory or thread for a
#: connection: long enough that others end meanwhile, short against a gateway's time-outs.
ACCEPT_PAUSE_SECONDS: Final = 0.1
#: A `credentials` body: three strings of AWS, the longest a session token of under 4 KiB.
CREDENTIALS_BYTES: Final = 16 * 1024
#: A nonce of the client-facing document, as RFC 9334 §10.1 wants it unguessable: 16 to 64 bytes.
NONCE_BYTES: Final = range(16, 65)
#: Seconds that a drained worker waits for work in hand: systemd's default before SIGKILL is 90.
DRAIN_SECONDS: Final = 30.0
#: Largest single write: vsock streams collapse above 1 MiB (docs/link.md §6).
WRITE_BYTES: Final = 256 * 1024
#: Memory of bodies that is kept for the next ones: what comes next takes what was given back last,
#: so the four photos of 3 MB that fit are more than a thread gives back before more come.
KEPT_BODY_BYTES: Final = 12 * 1024 * 1024
#: Seconds for the peer to take an answer or to go on with a frame that it began.
STALL_SECONDS: Final = 30.0
