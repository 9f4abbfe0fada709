"""How much the commands read of a file that a person named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer

from blindgate.cli.connection import connection
from blindgate.cli.files import read_file
from tests.command_line import run


def padded(text: str, size: int) -> str:
    return text + "#" * (size - len(text) - 1) + "\n"


def test_a_file_has_the_limit_at_most(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "file"
    file.write_bytes(bytes(1000))
    assert read_file(file, limit=1000) == read_file(file) == bytes(1000)
    with pytest.raises(typer.Exit) as ended:
        read_file(file, limit=999)
    assert ended.value.exit_code == 2
    assert "is larger than 999 bytes" in " ".join(capsys.readouterr().err.split())


def test_a_configuration_has_64_kib_at_most(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "config.toml"
    file.write_text(padded('gateway = "https://gateway.example"\n', 65_536))
    assert str(connection(config=file).gateway) == "https://gateway.example/"
    file.write_text(padded('gateway = "https://gateway.example"\n', 65_537))
    with pytest.raises(typer.Exit):
        connection(config=file)
    assert "is larger than 65,536 bytes" in " ".join(capsys.readouterr().err.split())


def test_a_file_of_a_key_has_64_kib_at_most(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "key"
    file.write_text("bgk_key" + "\n" * 65_529)
    assert connection(api_key=f"@{file}").headers == {"x-api-key": "bgk_key"}
    file.write_text("bgk_key" + "\n" * 65_530)
    with pytest.raises(typer.Exit):
        connection(api_key=f"@{file}")
    assert "is larger than 65,536 bytes" in " ".join(capsys.readouterr().err.split())


def test_a_policy_has_32_kib_at_most_and_1_mib_is_read(tmp_path: Path) -> None:
    file = tmp_path / "policy.json"
    policy = json.dumps({"Version": "2012-10-17", "Statement": []})
    file.write_text(policy.ljust(32_768))
    assert "larger than" not in run("policy", "lint", file).output
    for size in (32_769, 1_048_576):
        file.write_text(policy.ljust(size))
        done = run("policy", "lint", file)
        assert done.exit_code == 1
        assert "is not a key policy: larger than 32768 bytes" in " ".join(done.stderr.split())
    file.write_text(policy.ljust(1_048_577))
    done = run("policy", "lint", file)
    assert done.exit_code == 2
    assert "is larger than 1,048,576 bytes" in " ".join(done.stderr.split())


def test_a_file_to_encrypt_has_256_mib_at_most(tmp_path: Path) -> None:
    file = tmp_path / "photo"
    with file.open("wb") as sparse:
        sparse.truncate(268_435_457)
    done = run("encrypt", "--key-id", "alias/photos", "-o", tmp_path / "out", file)
    assert done.exit_code == 2
    assert "is larger than 268,435,456 bytes" in " ".join(done.stderr.split())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("option", "variable", "headers"),
    [
        ("api_key", "BLINDGATE_API_KEY", {"x-api-key": "one"}),
        ("token", "BLINDGATE_TOKEN", {"authorization": "Bearer one"}),
    ],
)
def test_an_option_counts_before_a_variable_and_that_before_the_configuration(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    option: str,
    variable: str,
    headers: dict[str, str],
) -> None:
    file = tmp_path / "config.toml"
    (tmp_path / "secret").write_text("\ufeffone\n", encoding="utf-8")
    file.write_text(
        f'{option}_file = "secret"\ngateway = "https://c.example"\ntrust = "pcrs.json"\n'
    )
    found = connection(config=file)
    assert found.headers == headers
    assert found.trust == (str(tmp_path / "pcrs.json"),)
    monkeypatch.setenv(variable, "one")
    monkeypatch.setenv("BLINDGATE_GATEWAY", "https://v.example")
    monkeypatch.setenv("BLINDGATE_TRUST", "a.json, ,b.json")
    (tmp_path / "secret").write_text("two")
    found = connection(config=file)
    assert (str(found.gateway), found.headers) == ("https://v.example/", headers)
    assert found.trust == ("a.json", "b.json")
    monkeypatch.setenv(variable, "two")
    chosen = connection(
        config=file, gateway="https://o.example", trust=["o.json"], **{option: "one"}
    )
    assert (str(chosen.gateway), chosen.headers) == ("https://o.example/", headers)
    assert chosen.trust == ("o.json",)


def test_a_key_and_a_token_of_one_level_are_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(typer.Exit):
        connection(api_key="one", token="two")
    assert "give either --api-key or --token, not both" in capsys.readouterr().err
    file = tmp_path / "config.toml"
    file.write_text('api_key_file = "a"\ntoken_file = "b"\n')
    with pytest.raises(typer.Exit):
        connection(config=file)
    assert "give either api_key_file or token_file" in " ".join(capsys.readouterr().err.split())
    monkeypatch.setenv("BLINDGATE_API_KEY", "one")
    monkeypatch.setenv("BLINDGATE_TOKEN", "two")
    with pytest.raises(typer.Exit):
        connection()
    assert "give either BLINDGATE_API_KEY or BLINDGATE_TOKEN" in " ".join(
        capsys.readouterr().err.split()
    )
    assert connection(api_key="three").headers == {"x-api-key": "three"}
