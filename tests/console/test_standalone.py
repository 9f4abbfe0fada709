"""The page as one file: what is pinned in it, and what cannot be."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from blindgate.attestation import AWS_NITRO_ROOT, PcrSet, Trust
from gateway.console.__main__ import main
from gateway.console.configuration import configuration
from gateway.console.standalone import StandaloneError, complete

TEMPLATE = "<meta connect-src %GATEWAY%;><script>%CONFIGURATION%</script>"
VALUES = {index: bytes([index + 1]) * 48 for index in range(3)}


def trust(name: str = "release-7", *, allow_debug: bool = False) -> Trust:
    return Trust(AWS_NITRO_ROOT, (PcrSet(name, VALUES),), allow_debug=allow_debug)


def completed(gateway: str, **options: Trust) -> str:
    trusted = options.get("trust", trust())
    return complete(TEMPLATE, trust=trusted, gateway=gateway, max_body=1024)


def test_measurements_root_and_gateway_are_pinned() -> None:
    page = completed("https://gateway.example/")
    assert "connect-src https://gateway.example;" in page
    told = json.loads(page.partition("<script>")[2].removesuffix("</script>"))
    assert told["gateway"] == "https://gateway.example"
    assert told["root"]["sha256"] == AWS_NITRO_ROOT.fingerprint
    assert told["images"][0]["name"] == "release-7"
    assert told["images"][0]["measurements"]["PCR2"] == "03" * 48


@pytest.mark.parametrize(
    "gateway",
    ["", "gateway.example", "https://", "https://g.example/path", "https://g.example;img-src *",
     "https://*.example", "javascript:alert(1)", 'https://g.example"', "https://a b"],
)  # fmt: skip
def test_a_gateway_that_is_no_origin_is_refused(gateway: str) -> None:
    with pytest.raises(StandaloneError, match="no origin"):
        completed(gateway)


def test_a_name_cannot_end_the_element_that_it_is_in() -> None:
    page = completed("https://g.example", trust=trust("</script><script>alert(1)"))
    assert page.count("</script") == 1
    assert json.loads(page.partition("<script>")[2].removesuffix("</script>"))


def test_debug_mode_is_never_given_away() -> None:
    with pytest.raises(StandaloneError, match="debug"):
        completed("https://g.example", trust=trust(allow_debug=True))


def test_something_else_than_the_template_is_refused() -> None:
    with pytest.raises(StandaloneError, match="build it again"):
        complete("<html></html>", trust=trust(), gateway="https://g.example", max_body=1)


def test_the_served_page_is_told_no_gateway() -> None:
    assert "gateway" not in json.loads(configuration(trust(), 1024))


def test_the_command_refuses_measurements_of_debug_mode(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pcrs = tmp_path / "pcrs.json"
    pcrs.write_text(json.dumps({f"PCR{index}": "00" * 48 for index in range(3)}))
    with pytest.raises(SystemExit) as ended:
        main(["--gateway", "https://g.example", "--pcrs", str(pcrs)])
    assert ended.value.code == 2
    assert re.match("make console: PCR set pcrs.json", capsys.readouterr().err)
