"""Perf counters, their two renderings, and the log prefix."""

from __future__ import annotations

import json
import logging
import re
import threading

import pytest

from ceph_msgr.log import PrefixLog, get_logger
from ceph_msgr.metrics import (
    Average,
    Kind,
    Metric,
    PerfCounters,
    render_prometheus,
    snapshot,
    throttle_counters,
    worker_counters,
    worker_values,
)

METRICS = (
    Metric("msgr_things", Kind.COUNTER, "things"),
    Metric("msgr_alive", Kind.GAUGE, "alive now"),
    Metric("msgr_busy_time", Kind.TIME, "time busy"),
    Metric("msgr_lat", Kind.AVERAGE, "latency"),
    Metric("msgr_faults", Kind.COUNTER, "faults", label="cause"),
)

CORE_STATS = {
    "turns": 7,
    "recv_messages": 11,
    "send_messages": 4,
    "recv_bytes": 1100,
    "send_bytes": 400,
    "recv_calls": 5,
    "send_calls": 3,
    "replayed_messages": 2,
    "duplicates_dropped": 1,
    "acks_handled": 0,
    "handle_ack_ns": 0,
    "queue_latency_ns": 8_000_000,
    "recv_ns": 500_000_000,
    "send_ns": 250_000_000,
}


def group(name: str = "g", **labels: str) -> PerfCounters:
    supplied = {"msgr_busy_time": 1_500_000_000, "msgr_lat": Average(4, 2_000_000_000)}
    return PerfCounters(name, METRICS, labels=labels, read=lambda: supplied)


def test_snapshot_has_every_metric_in_seconds_and_is_json() -> None:
    counters = group()
    counters.inc("msgr_things")
    counters.inc("msgr_things", 4)
    counters.inc("msgr_alive", 2)
    counters.dec("msgr_alive")
    counters.inc("msgr_faults", label="reset")
    counters.inc("msgr_faults", 2, label="timeout")
    expected = {
        "msgr_things": 5,
        "msgr_alive": 1,
        "msgr_busy_time": 1.5,
        "msgr_lat": {"avgcount": 4, "sum": 2.0, "avgtime": 0.5},
        "msgr_faults": {"reset": 1, "timeout": 2},
    }
    assert snapshot([counters]) == {"g": expected}
    assert json.loads(json.dumps(counters.snapshot())) == expected


def test_what_was_never_counted_is_zero() -> None:
    assert PerfCounters("g", METRICS).snapshot() == {
        "msgr_things": 0,
        "msgr_alive": 0,
        "msgr_busy_time": 0,
        "msgr_faults": {},
    }


def test_an_average_of_nothing_is_no_division_by_zero() -> None:
    counters = PerfCounters("g", METRICS[3:4], read=lambda: {"msgr_lat": Average(0, 0)})
    assert counters.snapshot() == {"msgr_lat": {"avgcount": 0, "sum": 0.0, "avgtime": 0.0}}


def test_a_misspelt_name_is_an_error() -> None:
    with pytest.raises(KeyError):
        group().inc("msgr_thing")


def test_counting_from_many_threads_loses_nothing() -> None:
    counters = group()
    threads = [
        threading.Thread(target=lambda: [counters.inc("msgr_faults", label="reset") for _ in range(2000)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert counters.get("msgr_faults", label="reset") == 8000


def test_prometheus_text() -> None:
    first, second = group("one", worker="0"), group("two", worker='a"b\\c\nd')
    first.inc("msgr_things", 3)
    first.inc("msgr_faults", label="reset")
    text = render_prometheus([first, second])
    assert text.splitlines() == [
        "# HELP ceph_msgr_things_total things",
        "# TYPE ceph_msgr_things_total counter",
        'ceph_msgr_things_total{worker="0"} 3',
        'ceph_msgr_things_total{worker="a\\"b\\\\c\\nd"} 0',
        "# HELP ceph_msgr_alive alive now",
        "# TYPE ceph_msgr_alive gauge",
        'ceph_msgr_alive{worker="0"} 0',
        'ceph_msgr_alive{worker="a\\"b\\\\c\\nd"} 0',
        "# HELP ceph_msgr_busy_time_seconds_total time busy",
        "# TYPE ceph_msgr_busy_time_seconds_total counter",
        'ceph_msgr_busy_time_seconds_total{worker="0"} 1.5',
        'ceph_msgr_busy_time_seconds_total{worker="a\\"b\\\\c\\nd"} 1.5',
        "# HELP ceph_msgr_lat_seconds latency",
        "# TYPE ceph_msgr_lat_seconds summary",
        'ceph_msgr_lat_seconds_sum{worker="0"} 2.0',
        'ceph_msgr_lat_seconds_count{worker="0"} 4',
        'ceph_msgr_lat_seconds_sum{worker="a\\"b\\\\c\\nd"} 2.0',
        'ceph_msgr_lat_seconds_count{worker="a\\"b\\\\c\\nd"} 4',
        "# HELP ceph_msgr_faults_total faults",
        "# TYPE ceph_msgr_faults_total counter",
        'ceph_msgr_faults_total{worker="0",cause="reset"} 1',
    ]
    assert text.endswith("\n")


def test_prometheus_names_are_legal_and_unique() -> None:
    text = render_prometheus([worker_counters(0, dict), worker_counters(1, dict)])
    helps = re.findall(r"^# HELP (\S+)", text, re.MULTILINE)
    assert len(helps) == len(set(helps)) > 20
    assert all(re.fullmatch(r"ceph_msgr_[a-z0-9_]+", name) for name in helps)


def test_prometheus_without_labels() -> None:
    assert "ceph_msgr_things_total 0\n" in render_prometheus([PerfCounters("g", METRICS)])


# ---- the groups there are ----


def test_worker_group_has_cephs_names_and_values() -> None:
    counters = worker_counters(3, lambda: worker_values(CORE_STATS, running_ns=2_000_000_000))
    counters.inc("msgr_created_connections")
    assert counters.name == "AsyncMessenger::Worker-3"
    values = counters.snapshot()
    assert {name: values[name] for name in list(values)[:13]} == {
        "msgr_recv_messages": 11,
        "msgr_send_messages": 4,
        "msgr_recv_bytes": 1100,
        "msgr_send_bytes": 400,
        "msgr_created_connections": 1,
        "msgr_active_connections": 0,
        "msgr_running_total_time": 2.0,
        "msgr_running_send_time": 0.25,
        "msgr_running_recv_time": 0.5,
        "msgr_send_messages_queue_lat": {"avgcount": 4, "sum": 0.008, "avgtime": 0.002},
        "msgr_handle_ack_lat": {"avgcount": 0, "sum": 0.0, "avgtime": 0.0},
        "msgr_connection_ready_timeouts": 0,
        "msgr_connection_idle_timeouts": 0,
    }
    assert (values["msgr_replayed_messages"], values["msgr_duplicates_dropped"], values["msgr_turns"]) == (2, 1, 7)


def test_throttle_group_has_cephs_names() -> None:
    class FakeThrottle:
        name = "msgr_dispatch_throttler-osd.0"

        def stats(self) -> dict[str, int]:
            names = "current max get get_sum get_or_fail_fail get_or_fail_success take take_sum put put_sum waited"
            return {name: i for i, name in enumerate(names.split())}

    counters = throttle_counters(FakeThrottle())  # type: ignore[arg-type]
    assert counters.name == "throttle-msgr_dispatch_throttler-osd.0"
    names = "val max get get_sum get_or_fail_fail get_or_fail_success take take_sum put put_sum wait"
    assert counters.snapshot() == {name: i for i, name in enumerate(names.split())}
    assert 'ceph_throttle_val{throttle="msgr_dispatch_throttler-osd.0"} 0\n' in render_prometheus([counters])


# ---- log ----


def test_the_library_configures_nothing_but_a_null_handler() -> None:
    logger = logging.getLogger("ceph_msgr")
    assert [type(handler) for handler in logger.handlers] == [logging.NullHandler]
    assert logger.level == logging.NOTSET and logger.propagate
    assert get_logger("net").name == "ceph_msgr.net"


def test_prefix_is_asked_for_each_line_that_is_written_and_only_then(caplog: pytest.LogCaptureFixture) -> None:
    class Subject:
        asked = 0

        def __str__(self) -> str:
            self.asked += 1
            return f"%d% state{self.asked}"

    subject = Subject()
    log = PrefixLog(get_logger("test"), subject)
    with caplog.at_level(logging.INFO, "ceph_msgr.test"):
        log.debug("not written")
        assert subject.asked == 0
        log.info("fault %s after %d s", "reset", 3)
    assert caplog.records[0].getMessage().endswith(" fault reset after 3 s")
    assert caplog.records[0].getMessage().startswith("%d% state")
    assert caplog.records[0].filename == "test_metrics.py"
