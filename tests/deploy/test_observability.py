"""The dashboard and the alerts ask for nothing that the gateway does not measure."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from blindgate import problems
from blindgate.link import Operation, Outcome
from gateway.pool.breaker import BreakerState
from gateway.pool.states import ConnectionState, EndpointState
from gateway.telemetry.timeline import CANCELLED, LOST, Stage
from tests.gateway.conftest import OCTETS, serve_gateway
from tests.gateway.fake_worker import running

FOLDER = Path(__file__).resolve().parents[2] / "deploy" / "observability"
RULES = yaml.safe_load((FOLDER / "rules.yml").read_text())["groups"][0]["rules"]
DASHBOARD = json.loads((FOLDER / "dashboard.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
JOB = "blindgate-gateway"
#: What Prometheus adds to every series.
TARGET_LABELS = {"job", "instance"}
#: `up` is Prometheus's own; the rest the process collector's, which needs /proc.
FOREIGN = {"up"}
FUNCTIONS = {"sum", "max", "count", "rate", "increase", "histogram_quantile", "label_values"}
#: Every value that these labels can have.
VALUES: dict[str, set[str]] = {
    "job": {JOB},
    "stage": {*Stage},
    "outcome": {*Outcome, LOST, CANCELLED},
    "operation": {*Operation},
    "problem": {"", "client-gone", *problems.BY_SLUG},
    "state": {*EndpointState, *BreakerState, *ConnectionState},
}
TOKENS = re.compile(
    r'\s+|(?P<string>"[^"\\]*")|(?P<range>\[(?:\d+[smh]|\$__rate_interval)\])'
    r"|(?P<name>[a-zA-Z_][a-zA-Z0-9_:]*)|(?P<number>\d+(?:\.\d+)?)"
    r"|(?P<sign>=~|!~|!=|==|>=|<=|[-+*/(){},=<>])"
)


def expressions() -> Iterator[tuple[str, str]]:
    for rule in RULES:
        yield rule["alert"], rule["expr"]
    for panel in PANELS:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]
    yield "variable", DASHBOARD["templating"]["list"][1]["query"]["query"]


def tokens(text: str) -> list[str]:
    """The words of an expression; fails on what PromQL does not know."""
    found, at = [], 0
    while at < len(text):
        match = TOKENS.match(text, at)
        assert match is not None, f"no PromQL at {text[at : at + 20]!r}"
        at = match.end()
        if match.lastgroup:
            found.append(match[0])
    return found


def check(text: str, known: Mapping[str, set[str]]) -> set[str]:
    """Check one expression against the metrics and their labels; gives the metrics."""
    words = tokens(text)
    pairs = {")": "(", "}": "{"}
    open_: list[str] = []
    used: set[str] = set()
    labels: set[str] = set()
    grouped: set[str] = set()
    for index, word in enumerate(words):
        after = words[index + 1] if index + 1 < len(words) else ""
        inside = open_[-1] if open_ else ""
        if word in "({":
            before = words[index - 1] if index else ""
            open_.append("by" if before in {"by", "without", "on"} else word)
        elif word in pairs:
            opened = open_.pop() if open_ else None
            assert opened == pairs[word] or (opened == "by" and word == ")"), text
        elif not re.match(r"[a-zA-Z_]", word) or word in {"by", "without", "on", "and", "or"}:
            continue
        elif inside == "{":
            assert word in labels, f"{word} is no label of its metric: {text}"
            value = words[index + 2].strip('"')
            if word in VALUES:
                for one in value.split("|") if after in {"=~", "!~"} else [value]:
                    assert one in VALUES[word], f"{one!r} is no value of {word}"
        elif inside == "by":
            grouped.add(word)
        elif after == "(" or (after in {"by", "without"} and word in FUNCTIONS):
            assert word in FUNCTIONS, f"{word} is no function that we use"
        elif "label_values" in words:
            assert word in known or word in TARGET_LABELS
        else:
            assert word in known, f"the gateway has no metric {word}"
            used.add(word)
            labels = known[word] | TARGET_LABELS
    assert not open_, f"not closed: {text}"
    every = set().union(*(known[name] for name in used)) | TARGET_LABELS
    assert grouped <= every, f"grouped by {grouped - every}: {text}"
    return used


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def known(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """Every series of a gateway that has served a request, and its labels."""
    path = tmp_path_factory.mktemp("enclave") / "worker"
    async with running(path) as worker, serve_gateway(worker) as served:
        await served.http.post("/v1/detections", content=b"x", headers=OCTETS)
        text = served.app.state.metrics.text().decode()
    found: dict[str, set[str]] = {"up": set()}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


@pytest.mark.anyio
@pytest.mark.parametrize(("where", "expression"), list(expressions()))
async def test_an_expression_asks_for_what_there_is(
    where: str, expression: str, known: dict[str, set[str]]
) -> None:
    check(expression, known)


@pytest.mark.anyio
async def test_everything_of_ours_is_on_the_dashboard(known: dict[str, set[str]]) -> None:
    shown: set[str] = set()
    for panel in PANELS:
        for target in panel["targets"]:
            shown |= check(target["expr"], known)
    families = {re.sub(r"_(bucket|count|sum|created)$", "", name) for name in shown}
    ours = {
        re.sub(r"_(bucket|count|sum|created)$", "", name)
        for name in known
        if name.startswith("blindgate_") and not name.endswith("_created")
    }
    assert families >= ours


@pytest.mark.anyio
@pytest.mark.parametrize(
    "expression",
    [
        "blindgate_unheard_of > 0",
        'blindgate_enclaves{state="sleeping"} > 0',
        'blindgate_enclaves{colour="red"} > 0',
        "sum by (colour) (blindgate_enclaves)",
        "sum(blindgate_queue",
        "blindgate_queue) > 1",
        "guess(blindgate_queue)",
        "blindgate_queue ; 1",
    ],
)
async def test_the_check_notices_mistakes(expression: str, known: dict[str, set[str]]) -> None:
    with pytest.raises(AssertionError):
        check(expression, known)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_says_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert rule["annotations"]["summary"].endswith(".")
    assert len(rule["annotations"]["runbook"]) > 40
    assert rule["alert"].startswith("Blindgate")


def test_what_a_runbook_names_exists() -> None:
    """Settings, units, and other alerts."""
    from gateway.settings import Settings

    alerts = {rule["alert"] for rule in RULES}
    units = {path.name for path in (FOLDER.parent / "systemd").iterdir()}
    for rule in RULES:
        text = rule["annotations"]["runbook"]
        for name in re.findall(r"BLINDGATE_([A-Z_]+)", text):
            assert name.lower() in Settings.model_fields
        assert set(re.findall(r"Blindgate[A-Z]\w+", text)) <= alerts
        assert set(re.findall(r"[\w@-]+\.service", text)) <= units


def test_the_dashboard_has_no_panels_over_each_other() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for one, other in itertools.combinations([panel["gridPos"] for panel in panels], 2):
        apart = (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )
        assert apart
    for panel in PANELS:
        assert panel["description"]
        assert panel["datasource"]["uid"] == "${datasource}"


@pytest.mark.parametrize(
    "command",
    [
        ["check", "rules", "rules.yml"],
        ["check", "config", "prometheus.yml"],
        ["test", "rules", "rules.test.yml"],
    ],
    ids=" ".join,
)
def test_prometheus_agrees(command: list[str]) -> None:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is not installed (Debian: apt-get install prometheus)")
    done = subprocess.run(
        [program, *command], cwd=FOLDER, capture_output=True, text=True, check=False, timeout=150
    )
    assert done.returncode == 0, done.stdout + done.stderr
