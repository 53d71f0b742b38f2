"""What is printed and written: the keys are a promise to scripts, the numbers must belong together."""

from __future__ import annotations

import json

import pytest

from ceph_msgr.tools.histogram import LatencyHistogram
from ceph_msgr.tools.result import Result


def result(latencies_ns: list[int], *, seconds: float = 2.0, cpu_ns: int = 0, errors: int = 0) -> Result:
    latency = LatencyHistogram()
    for latency_ns in latencies_ns:
        latency.record(latency_ns)
    return Result(len(latencies_ns), seconds, 4096, latency, cpu_ns, errors, {"jobs": 1})


def test_json_has_exactly_the_promised_keys() -> None:
    values = json.loads(json.dumps(result([1000]).as_json()))
    assert list(values) == [
        "ops",
        "seconds",
        "ops_per_s",
        "mb_per_s",
        "latency_us",
        "cpu_us_per_op",
        "errors",
        "parameters",
    ]
    assert list(values["latency_us"]) == ["mean", "p50", "p90", "p99", "p999", "max"]
    assert values["parameters"] == {"jobs": 1}


def test_rates_follow_from_counts_and_time() -> None:
    values = result([200] * 1000, seconds=0.5, cpu_ns=7_000_000, errors=3).as_json()
    assert values["ops"] == 1000
    assert values["ops_per_s"] == 2000
    assert values["mb_per_s"] == 8.192  # 2000 x 4096 bytes, in 10^6
    assert values["cpu_us_per_op"] == 7
    assert values["errors"] == 3


def test_latencies_are_in_microseconds() -> None:
    latency_us = result([100_000] * 98 + [200_000, 250_000]).latency_us
    expected = {"mean": 102.5, "p50": 100, "p90": 100, "p99": 200, "p999": 250, "max": 250}
    assert latency_us == pytest.approx(expected, abs=0.04)
    assert result([1_000_000]).latency_us["p50"] == pytest.approx(1000, rel=0.004)


def test_nothing_measured_is_zeros_and_still_json() -> None:
    text = json.dumps(result([], seconds=0.0).as_json(), allow_nan=False)
    values = json.loads(text)
    assert values["ops_per_s"] == values["cpu_us_per_op"] == values["latency_us"]["max"] == 0


def test_the_table_names_every_figure_with_its_unit() -> None:
    table = result([200] * 30_000, cpu_ns=30_000 * 7_250, errors=2).table()
    assert [line.split() for line in table.splitlines()] == [
        ["requests", "answered", "30,000", "in", "2.000", "s"],
        ["operations", "15,000", "/s"],
        ["data", "sent", "61.4", "MB/s"],
        ["latency", "mean", "0.2", "us"],
        ["latency", "p50", "0.2", "us"],
        ["latency", "p99", "0.2", "us"],
        ["latency", "p99.9", "0.2", "us"],
        ["latency", "max", "0.2", "us"],
        ["client", "CPU", "7.25", "us", "per", "operation"],
        ["errors", "2"],
    ]
    ends = {len(line[:32].rstrip()) for line in table.splitlines()}
    assert ends == {32}, "the numbers do not end in one column"
