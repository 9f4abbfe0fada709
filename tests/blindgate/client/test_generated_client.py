"""The synchronous SDK is what the generator makes of the asynchronous one."""

from __future__ import annotations

import inspect
import shutil
from pathlib import Path

import pytest

from blindgate.client import AsyncBlindgate, AsyncOhttpTransport, Blindgate, OhttpTransport
from tools import generate_sync_client
from tools.generate_sync_client import CLIENT, NotConverted, drifted, main, synchronous


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of both halves, which a test may change."""
    for half in ("_async", "_sync"):
        shutil.copytree(CLIENT / half, tmp_path / half)
    monkeypatch.setattr(generate_sync_client, "CLIENT", tmp_path)
    return tmp_path


@pytest.mark.parametrize("half", ["_async", "_sync"])
def test_a_change_of_one_half_alone_is_refused(
    copy: Path, half: str, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = copy / half / "transport.py"
    changed.write_text(changed.read_text().replace("extensions or {}", "extensions"))
    assert main(["--check"]) == 1
    assert str(copy / "_sync" / "transport.py") in capsys.readouterr().err
    assert main([]) == 0
    assert main(["--check"]) == 0


def test_a_missing_file_and_a_file_without_a_source_are_refused(copy: Path) -> None:
    missing, orphan = copy / "_sync" / "client.py", copy / "_sync" / "orphan.py"
    missing.rename(orphan)
    assert drifted(copy) == [missing, orphan]
    main([])
    assert drifted(copy) == []
    assert not orphan.exists()


def test_docstrings_and_examples_are_converted() -> None:
    source = '''async def f(client: AsyncClient) -> None:
    """Use an `AsyncClient`: `await f(client)`."""
    async with client, aclosing(client) as chunks:
        async for chunk in chunks.aiter_bytes():
            (await chunk)()
'''
    text = synchronous(source, "f.py")
    assert '"""Use an `Client`: `f(client)`."""' in text
    assert "with client, closing(client) as chunks:" in text
    assert "for chunk in chunks.iter_bytes():" in text


@pytest.mark.parametrize(
    "source", ["import async_timeout_of_asyncio\n", "x = anext_async()\n", "async  def f(): ...\n"]
)
def test_what_cannot_be_converted_is_refused(source: str) -> None:
    with pytest.raises(NotConverted):
        synchronous(source, "f.py")


@pytest.mark.parametrize(
    ("asynchronous", "twin"),
    [(AsyncBlindgate, Blindgate), (AsyncOhttpTransport, OhttpTransport)],
)
def test_both_halves_have_the_same_methods_and_parameters(asynchronous: type, twin: type) -> None:
    def parameters(kind: type) -> dict[str, list[str]]:
        return {
            name: list(inspect.signature(member).parameters)
            for name, member in vars(kind).items()
            if inspect.isfunction(member)
        }

    names = {"aclose": "close", "handle_async_request": "handle_request"}
    names |= {"__aenter__": "__enter__", "__aexit__": "__exit__"}
    expected = {names.get(name, name): each for name, each in parameters(asynchronous).items()}
    assert parameters(twin) == expected
