"""The bars are read off the right figures."""

from __future__ import annotations

from bench.load.bars import verdicts
from bench.load.results import LIMIT, Cell, Results, Sample
from bench.load.suite import Findings, Overload
from bench.load.targets import ENVELOPE, SEALED

MEMORY = {"300 KB": [340_000_000, 351_000_000, 360_000_000], "3 MB": [350_000_000]}


def sample(rate: float, cpu: float, latency: float) -> Sample:
    return Sample(rate, cpu, 0.0, 0.0, [latency], [])


def findings(**rates: float) -> Findings:
    results = Results()
    for concurrency in (1, 8):
        for photo in ("300 KB", "3 MB"):
            cell = Cell(photo, concurrency)
            results.add(cell, LIMIT, sample(100, 0.010, 0.010))
            results.add(cell, SEALED, sample(rates["sealed"], 0.0106, 0.011))
            results.add(cell, ENVELOPE, sample(rates["envelope"], 0.010, 0.010))
            results.add(cell, "slow peer", sample(50, 0.010, 0.011))
            results.add(cell, "fast peer", sample(rates["peer"], 0.010, 0.012))
    return Findings({}, results, memory={SEALED: MEMORY})


def met(found: Findings) -> dict[str, bool]:
    return {what: word == "met" for what, _, _, word in verdicts(found)}


def test_every_bar_is_there_and_met_at_its_edge() -> None:
    found = met(findings(sealed=95.0, envelope=96.9, peer=95.0))
    assert found == {
        "sealed p50, of the loop's own; 300 KB, 1 concurrent": True,
        "sealed throughput, of envelopes'; 300 KB, 1 concurrent": True,
        "sealed throughput, of the best peer's; 300 KB, 1 concurrent": True,
        "sealed throughput, of the bare loop; 300 KB, 8 concurrent": True,
        "sealed CPU per request, of the bare loop; 300 KB, 8 concurrent": True,
        "sealed throughput, of envelopes'; 300 KB, 8 concurrent": True,
        "sealed throughput, of the best peer's; 300 KB, 8 concurrent": True,
        "sealed p99, of the best peer's; 300 KB, 8 concurrent": True,
        "sealed p50, of the loop's own; 3 MB, 1 concurrent": True,
        "sealed throughput, of envelopes'; 3 MB, 1 concurrent": True,
        "sealed throughput, of the best peer's; 3 MB, 1 concurrent": True,
        "sealed throughput, of the bare loop; 3 MB, 8 concurrent": True,
        "sealed CPU per request, of the bare loop; 3 MB, 8 concurrent": True,
        "sealed throughput, of envelopes'; 3 MB, 8 concurrent": True,
        "sealed throughput, of the best peer's; 3 MB, 8 concurrent": True,
        "sealed p99, of the best peer's; 3 MB, 8 concurrent": True,
        "gateway and worker after 300 KB photos, MB": False,
        "gateway and worker after 3 MB photos, MB": True,
    }


def test_what_falls_short_is_missed() -> None:
    found = met(findings(sealed=94.0, envelope=98.0, peer=94.5))
    missed = {what for what, is_met in found.items() if not is_met and "300 KB, 8" in what}
    assert missed == {
        "sealed throughput, of the bare loop; 300 KB, 8 concurrent",
        "sealed throughput, of envelopes'; 300 KB, 8 concurrent",
        "sealed throughput, of the best peer's; 300 KB, 8 concurrent",
    }
    assert found["sealed throughput, of the bare loop; 3 MB, 8 concurrent"]


def test_separate_cores_have_bars_against_the_peers_only() -> None:
    found = findings(sealed=95.0, envelope=95.0, peer=95.0)
    cell = Cell("300 KB", 8)
    found.separate.add(cell, LIMIT, sample(50, 0.010, 0.010))
    found.separate.add(cell, SEALED, sample(50, 0.010, 0.013))
    found.separate.add(cell, "peer", sample(49, 0.010, 0.012))
    separate = {what: is_met for what, is_met in met(found).items() if "separate" in what}
    assert separate == {
        "sealed throughput, of the best peer's; 300 KB, 8 concurrent, separate cores": True,
        "sealed p99, of the best peer's; 300 KB, 8 concurrent, separate cores": False,
    }


def test_a_crowd_has_bars_of_its_own() -> None:
    crowd = findings(sealed=95.0, envelope=95.0, peer=95.0)
    rates = {8: [100.0, 100.0, 50.0], 256: [94.9, 94.9, 60.0]}
    crowd.overload = Overload(rates, refusals=[0.026])
    found = met(crowd)
    assert not found["goodput at 256 concurrent, of that at 8"]
    assert not found["refusals, p99 in ms"]


def test_a_peer_that_missed_a_round_is_compared_with_the_loop_of_the_others() -> None:
    results, cell = Results(), Cell("300 KB", 8)
    for rate, peer in ((100.0, None), (200.0, 150.0), (300.0, 240.0)):
        results.add(cell, LIMIT, sample(rate, 0.010, 0.010))
        if peer is not None:
            results.add(cell, "peer", sample(peer, 0.010, 0.010))
    figure = results.figure(cell, "peer")
    assert figure is not None
    assert figure.spread == (0.75, 0.8)
    assert results.figure(cell, "no peer") is None
