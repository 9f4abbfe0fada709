"""`Blindgate` and `AsyncBlindgate`: photos in, detections out, over real sealing."""

from __future__ import annotations

import asyncio
import io
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from blindgate import AsyncBlindgate, Blindgate, problems
from blindgate.client import AnswerRejected, GatewayUnreachable, PhotoSource, ProblemError
from blindgate.client.images import media_type
from blindgate.sealing import keys, padding
from devstack.nsm import DevRoot
from enclave_app.handlers.ohttp import InnerAnswer, InnerRequest
from tests.blindgate.client.gateway import FOUND, URL, Enclave, Gateway, problem, trust

JPEG = b"\xff\xd8\xff\xe0 the pixels of a photo"
SEALED = "POST /.well-known/ohttp-gateway"
VERIFICATION = ["GET /.well-known/ohttp-gateway", "GET /v1/attestation"]


@pytest.fixture
def sdk(gateway: Gateway, root: DevRoot) -> Iterator[Blindgate]:
    http = httpx.Client(
        transport=httpx.MockTransport(gateway), headers={"authorization": "Bearer token"}
    )
    with http, Blindgate(URL, trust=trust(root), http=http) as blindgate:
        yield blindgate


def two_enclaves(root: DevRoot) -> list[Enclave]:
    """They share no key id, as the enclaves of one gateway do not."""
    one = Enclave(root, ids=bytes)
    other = Enclave(root, ids=(9).to_bytes)
    assert set(one.keyring.key_ids()).isdisjoint(other.keyring.key_ids())
    return [one, other]


@pytest.mark.parametrize("kind", ["path", "str", "bytes", "bytearray", "memoryview", "file"])
def test_a_photo_may_be_a_path_bytes_or_a_file(
    sdk: Blindgate, enclave: Enclave, tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(JPEG)
    photo = {
        "path": path,
        "str": str(path),
        "bytes": JPEG,
        "bytearray": bytearray(JPEG),
        "memoryview": memoryview(JPEG),
        "file": io.BytesIO(JPEG),
    }[kind]
    assert sdk.detect(photo) == FOUND  # type: ignore[arg-type]
    assert enclave.asked[0].content == JPEG
    assert enclave.asked[0].header("content-type") == "image/jpeg"


def test_a_photo_in_text_mode_is_refused(sdk: Blindgate) -> None:
    with pytest.raises(TypeError, match="binary"):
        sdk.detect(io.StringIO("text"))  # type: ignore[arg-type]


def test_options_travel_inside(sdk: Blindgate, enclave: Enclave, gateway: Gateway) -> None:
    sdk.detect(JPEG, min_score=0.4, max_detections=7, classes=["car", "traffic light"], tiles=2)
    (asked,) = enclave.asked
    assert (asked.method, asked.path) == ("POST", "/v1/detections")
    assert dict(asked.query) == {
        "min_score": "0.4",
        "max_detections": "7",
        "classes": "car,traffic light",
        "tiles": "2",
    }
    assert not gateway.seen[-1].url.query


@pytest.mark.parametrize("options", [{"min_score": 2}, {"tiles": 0}, {"classes": ["a,b"]}])
def test_an_option_out_of_range_is_refused_before_anything_is_sent(
    sdk: Blindgate, gateway: Gateway, options: dict[str, int]
) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        sdk.detect(JPEG, **options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=next(iter(options))):
        sdk.detect_many([JPEG], **options)  # type: ignore[arg-type]
    assert not gateway.seen


def test_the_gateway_sees_nothing_but_the_credentials(sdk: Blindgate, gateway: Gateway) -> None:
    sdk.detect(JPEG, classes=["airplane"])
    sent = gateway.seen[-1]
    assert sent.headers["authorization"] == "Bearer token"
    assert set(sent.headers) <= {
        "host", "authorization", "content-type", "accept", "content-length", "user-agent",
    }  # fmt: skip
    assert b"pixels" not in sent.content
    assert b"airplane" not in sent.content


def test_credentials_do_not_travel_inside(sdk: Blindgate, enclave: Enclave) -> None:
    sdk.detect(JPEG)
    assert enclave.asked[0].header("authorization") is None


def test_requests_of_nearly_one_size_look_alike(sdk: Blindgate, gateway: Gateway) -> None:
    for extra in range(3):
        sdk.detect(bytes(200_000 + 100 * extra))
    sizes = {len(one.content) for one in gateway.seen if one.method == "POST"}
    assert len(sizes) == 1
    (size,) = sizes
    assert padding.request_size(size - 7 - 1120 - 16) == size - 7 - 1120 - 16


def test_the_enclave_is_verified_once(sdk: Blindgate, gateway: Gateway) -> None:
    for _ in range(3):
        sdk.detect(JPEG)
    assert gateway.paths().count("GET /v1/attestation") == 1


def test_a_key_that_rotated_away_is_renewed_and_the_request_repeated(
    sdk: Blindgate, gateway: Gateway, enclave: Enclave
) -> None:
    sdk.detect(JPEG)
    enclave.now += 3 * 24 * 3600
    assert sdk.detect(JPEG) == FOUND
    assert len(enclave.asked) == 2
    assert gateway.paths()[-4:] == [SEALED, *VERIFICATION, SEALED]


def test_a_key_that_is_never_known_is_not_tried_for_ever(sdk: Blindgate, gateway: Gateway) -> None:
    gateway.replace[SEALED] = lambda _: problem(problems.OHTTP_KEY)
    with pytest.raises(ProblemError) as failed:
        sdk.detect(JPEG)
    assert failed.value.slug == "ohttp-key"
    assert gateway.paths().count(SEALED) == 2


def test_a_key_under_the_id_of_another_one_is_renewed_and_the_request_repeated(
    sdk: Blindgate, gateway: Gateway, root: DevRoot
) -> None:
    before, after = (Enclave(root, ids=bytes) for _ in range(2))
    gateway.enclaves = [before]
    sdk.detect(JPEG)
    gateway.enclaves = [after]
    assert before.keyring.key_ids() == after.keyring.key_ids()
    assert sdk.detect(JPEG) == FOUND
    assert len(after.asked) == 1
    assert gateway.paths()[-4:] == [SEALED, *VERIFICATION, SEALED]


def test_what_the_same_key_rejects_is_not_sealed_again(sdk: Blindgate, gateway: Gateway) -> None:
    gateway.replace[SEALED] = lambda _: problem(problems.OHTTP_REJECTED)
    with pytest.raises(ProblemError) as failed:
        sdk.detect(JPEG)
    assert failed.value.slug == "ohttp-rejected"
    assert gateway.paths().count(SEALED) == 1


def test_what_every_key_rejects_is_not_tried_for_ever(
    sdk: Blindgate, gateway: Gateway, root: DevRoot
) -> None:
    gateway.enclaves = two_enclaves(root)
    gateway.replace[SEALED] = lambda _: problem(problems.OHTTP_REJECTED)
    with pytest.raises(ProblemError) as failed:
        sdk.detect(JPEG)
    assert failed.value.slug == "ohttp-rejected"
    assert gateway.paths().count(SEALED) == 2


@pytest.mark.parametrize("wrong_by", [-86400.0, 3600.0])
def test_a_wrong_clock_is_corrected_by_the_enclave(
    sdk: Blindgate, gateway: Gateway, enclave: Enclave, wrong_by: float
) -> None:
    enclave.clock_error = wrong_by
    assert sdk.detect(JPEG) == FOUND
    assert gateway.paths().count(SEALED) == 2
    assert sdk.detect(JPEG) == FOUND
    assert gateway.paths().count(SEALED) == 3


def test_a_clock_is_corrected_once(sdk: Blindgate, gateway: Gateway, enclave: Enclave) -> None:
    enclave.handler = lambda _: InnerAnswer.of_problem(problems.OHTTP_DATE)
    with pytest.raises(ProblemError) as failed:
        sdk.detect(JPEG)
    assert failed.value.slug == "date"
    assert failed.value.sealed
    assert gateway.paths().count(SEALED) == 2


def test_the_gateway_cannot_set_the_clock(sdk: Blindgate, gateway: Gateway) -> None:
    gateway.replace[SEALED] = lambda _: problem(
        problems.OHTTP_DATE, date="Mon, 01 Jan 2001 00:00:00 GMT"
    )
    with pytest.raises(ProblemError) as failed:
        sdk.detect(JPEG)
    assert not failed.value.sealed
    assert gateway.paths().count(SEALED) == 1


def test_a_problem_inside_is_told_with_its_members(sdk: Blindgate, enclave: Enclave) -> None:
    enclave.handler = lambda _: InnerAnswer.of_problem(
        problems.IMAGE_REJECTED, "No, thanks", extra=1
    )
    with pytest.raises(ProblemError, match="No, thanks") as failed:
        sdk.detect(JPEG)
    assert failed.value.type == problems.IMAGE_REJECTED.type
    assert failed.value.status == 422
    assert failed.value.members["extra"] == 1
    assert failed.value.sealed


def test_a_problem_outside_is_told_as_the_gateways(sdk: Blindgate, gateway: Gateway) -> None:
    gateway.replace[SEALED] = lambda _: problem(problems.OVERLOADED, **{"retry-after": "3"})
    with pytest.raises(ProblemError) as failed:
        sdk.detect(JPEG)
    assert (failed.value.slug, failed.value.retry_after) == ("overloaded", 3)
    assert not failed.value.sealed


def test_an_error_page_outside_is_told_too(sdk: Blindgate, gateway: Gateway) -> None:
    gateway.replace[SEALED] = lambda _: httpx.Response(502, html="<p>Bad gateway</p>")
    with pytest.raises(ProblemError, match="502") as failed:
        sdk.detect(JPEG)
    assert failed.value.type == "about:blank"


def test_an_answer_that_was_not_sealed_is_refused(sdk: Blindgate, gateway: Gateway) -> None:
    gateway.replace[SEALED] = lambda _: httpx.Response(200, json=json.loads(FOUND.to_json()))
    with pytest.raises(AnswerRejected):
        sdk.detect(JPEG)


def test_the_answer_to_another_request_is_refused(sdk: Blindgate, gateway: Gateway) -> None:
    first: list[httpx.Response] = []

    def always_the_first(request: httpx.Request) -> httpx.Response:
        first.append(gateway.sealed(request))
        return httpx.Response(200, headers=first[0].headers, content=first[0].content)

    gateway.replace[SEALED] = always_the_first
    assert sdk.detect(JPEG) == FOUND
    with pytest.raises(AnswerRejected):
        sdk.detect(JPEG)


def test_a_redirect_is_not_followed(sdk: Blindgate, gateway: Gateway) -> None:
    gateway.replace[SEALED] = lambda _: httpx.Response(
        307, headers={"location": "https://elsewhere.example/"}
    )
    with pytest.raises(AnswerRejected):
        sdk.detect(JPEG)
    assert {request.url.host for request in gateway.seen} == {"gateway.example"}


@pytest.mark.parametrize("header", ["gzip", "br"])
def test_a_compressed_answer_is_refused(sdk: Blindgate, gateway: Gateway, header: str) -> None:
    gateway.replace[SEALED] = lambda _: httpx.Response(
        200, headers={"content-encoding": header}, stream=httpx.ByteStream(b"x")
    )
    with pytest.raises(AnswerRejected, match="compressed"):
        sdk.detect(JPEG)


def test_an_endless_answer_is_cut_off(sdk: Blindgate, gateway: Gateway) -> None:
    class Endless(httpx.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            while True:
                yield bytes(1 << 20)

    gateway.replace[SEALED] = lambda _: httpx.Response(200, stream=Endless())
    with pytest.raises(AnswerRejected, match="larger"):
        sdk.detect(JPEG)


def test_an_answer_outside_the_schema_is_refused_without_showing_it(
    sdk: Blindgate, enclave: Enclave
) -> None:
    enclave.handler = lambda _: InnerAnswer(200, b'{"detections": "a secret"}')
    with pytest.raises(AnswerRejected) as failed:
        sdk.detect(JPEG)
    assert "secret" not in str(failed.value)
    assert failed.value.__cause__ is None


def test_a_gateway_that_is_away_is_unreachable(root: DevRoot) -> None:
    def away(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("connection refused", request=request)

    with (
        httpx.Client(transport=httpx.MockTransport(away)) as http,
        pytest.raises(GatewayUnreachable, match="refused"),
    ):
        Blindgate(URL, trust=trust(root), http=http).detect(JPEG)


@pytest.mark.parametrize(
    "url", ["gateway.example", "ftp://x", "https://x/path", "https://u:p@x", "https://x?a=b"]
)
def test_a_gateway_is_named_by_its_origin(root: DevRoot, url: str) -> None:
    with pytest.raises(ValueError, match=r"origin|URL|port"):
        Blindgate(url, trust=trust(root))


def test_two_enclaves_take_turns_and_each_gets_what_is_sealed_to_it(root: DevRoot) -> None:
    one, other = two_enclaves(root)
    gateway = Gateway(one, other)
    with httpx.Client(transport=httpx.MockTransport(gateway)) as http:
        for _ in range(2):
            Blindgate(URL, trust=trust(root), http=http).detect(JPEG)
    assert (len(one.asked), len(other.asked)) == (1, 1)


def test_an_enclave_that_is_replaced_is_followed(
    sdk: Blindgate, gateway: Gateway, root: DevRoot
) -> None:
    one, other = two_enclaves(root)
    gateway.enclaves = [one]
    sdk.detect(JPEG)
    gateway.enclaves = [other]
    assert sdk.detect(JPEG) == FOUND


def test_many_photos_come_back_in_order_and_failures_do_not_stop_them(
    sdk: Blindgate, enclave: Enclave, tmp_path: Path
) -> None:
    def handle(request: InnerRequest) -> InnerAnswer:
        if request.content == b"bad":
            return InnerAnswer.of_problem(problems.IMAGE_REJECTED)
        return InnerAnswer(200, FOUND.to_json())

    enclave.handler = handle
    many: list[PhotoSource] = [b"1", b"bad", tmp_path / "missing", *(bytes([i]) for i in range(20))]
    progress: list[tuple[int, int | None]] = []
    results = list(sdk.detect_many(many, on_progress=lambda *at: progress.append(at)))
    assert [result.photo for result in results] == many
    assert progress == [(done + 1, len(many)) for done in range(len(many))]
    assert results[0].unwrap() == FOUND
    with pytest.raises(ProblemError):
        results[1].unwrap()
    assert isinstance(results[2].error, FileNotFoundError)
    assert sum(result.detections is not None for result in results) == 21


def test_many_photos_verify_the_enclave_once(sdk: Blindgate, gateway: Gateway) -> None:
    list(sdk.detect_many([JPEG] * 12, concurrency=6))
    assert gateway.paths().count("GET /v1/attestation") == 1


def test_concurrency_is_bounded_and_photos_are_read_as_needed(
    sdk: Blindgate, enclave: Enclave
) -> None:
    running, most, taken = 0, 0, 0
    lock = threading.Lock()

    def handle(_: InnerRequest) -> InnerAnswer:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        try:
            return InnerAnswer(200, FOUND.to_json())
        finally:
            with lock:
                running -= 1

    def photos() -> Iterator[bytes]:
        nonlocal taken
        for _ in range(30):
            taken += 1
            yield JPEG

    enclave.handler = handle
    progress: list[int | None] = []
    results = sdk.detect_many(
        photos(), concurrency=3, on_progress=lambda _, total: progress.append(total)
    )
    next(results)
    assert taken == 6
    results.close()  # type: ignore[attr-defined]
    assert most <= 3
    assert progress in ([], [None])


def async_client(gateway: Gateway) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.MockTransport(gateway))


def test_the_asynchronous_client_does_the_same(
    gateway: Gateway, enclave: Enclave, root: DevRoot
) -> None:
    async def run() -> None:
        async with (
            async_client(gateway) as http,
            AsyncBlindgate(URL, trust=trust(root), http=http) as sdk,
        ):
            assert (await sdk.verify()).user_data.keys == enclave.keyring.digest()
            assert await sdk.detect(JPEG, tiles=2) == FOUND
            enclave.now += 3 * 24 * 3600
            enclave.clock_error = 7200
            assert await sdk.detect(JPEG) == FOUND
            progress: list[tuple[int, int | None]] = []
            many = sdk.detect_many([JPEG] * 10, on_progress=lambda *at: progress.append(at))
            assert [one.unwrap() async for one in many] == [FOUND] * 10
            assert progress[-1] == (10, 10)
            gateway.replace[SEALED] = lambda _: problem(problems.OVERLOADED)
            (failed,) = [one async for one in sdk.detect_many([JPEG])]
            assert isinstance(failed.error, ProblemError)

    asyncio.run(run())
    assert dict(enclave.asked[0].query) == {"tiles": "2"}


def test_many_tasks_verify_the_enclave_once(gateway: Gateway, root: DevRoot) -> None:
    async def run() -> None:
        async with async_client(gateway) as http:
            sdk = AsyncBlindgate(URL, trust=trust(root), http=http)
            await asyncio.gather(*(sdk.detect(JPEG) for _ in range(8)))

    asyncio.run(run())
    assert gateway.paths().count("GET /v1/attestation") == 1


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"\xff\xd8\xff\xe1", "image/jpeg"),
        (b"\x89PNG\r\n\x1a\nrest", "image/png"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "image/webp"),
        (b"\x02\x05x", "application/octet-stream"),
        (b"", "application/octet-stream"),
    ],
)
def test_media_types_come_from_the_content(content: bytes, expected: str) -> None:
    assert media_type(content) == expected


def test_keys_do_not_show(sdk: Blindgate) -> None:
    sdk.detect(JPEG)
    assert "verified" in repr(sdk)
    assert isinstance(sdk.enclave.config if sdk.enclave else None, keys.KeyConfig)
