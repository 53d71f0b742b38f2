"""Counters of workers, throttles and dispatch queues, under the names Ceph's perf counters have.

A ``PerfCounters`` is one group. It holds what Python counts, and reads what C counts (``read``) only when asked for a
snapshot: the data plane never pays for being measured. ``snapshot()`` is shaped like Ceph's ``perf dump``,
``render_prometheus()`` is the text format of Prometheus.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from ceph_msgr._core import Throttle

__all__ = [
    "Average",
    "Kind",
    "Metric",
    "PerfCounters",
    "render_prometheus",
    "snapshot",
    "throttle_counters",
    "worker_counters",
    "worker_values",
]


class Kind(Enum):
    COUNTER = "counter"
    GAUGE = "gauge"
    #: Kept in nanoseconds, shown in seconds; only ever grows.
    TIME = "time"
    #: A number of durations and their sum.
    AVERAGE = "average"


@dataclass(frozen=True, slots=True)
class Average:
    count: int
    sum_ns: int


Value = int | float | Average


@dataclass(frozen=True, slots=True)
class Metric:
    name: str
    kind: Kind
    help: str
    #: The name of the label that splits this metric, such as ``cause``; empty if it is one number.
    label: str = ""


class PerfCounters:
    """One group of metrics, such as those of one worker. Any thread.

    ``name`` is the group's name in ``snapshot()``; in Prometheus' text the groups are told apart by ``labels`` and
    each metric is called ``prefix`` + its name. ``read`` supplies the values that are counted elsewhere. A metric
    nobody ever supplied or counted appears as 0, except an average, which is left out.
    """

    def __init__(
        self,
        name: str,
        metrics: Iterable[Metric],
        *,
        labels: Mapping[str, str] | None = None,
        prefix: str = "ceph_",
        read: Callable[[], Mapping[str, Value]] | None = None,
    ) -> None:
        self.name = name
        self.metrics = {metric.name: metric for metric in metrics}
        self.labels = dict(labels or {})
        self.prefix = prefix
        self._read = read
        self._lock = threading.Lock()
        self._counts: dict[str, dict[str, int]] = {name: {} for name in self.metrics}

    def inc(self, name: str, amount: int = 1, *, label: str = "") -> None:
        """Counts. An unknown name is a ``KeyError``: a misspelt counter shall not hide."""
        with self._lock:
            counts = self._counts[name]
            counts[label] = counts.get(label, 0) + amount

    def dec(self, name: str, amount: int = 1) -> None:
        """For gauges."""
        self.inc(name, -amount)

    def get(self, name: str, *, label: str = "") -> int:
        """What was counted here, without what ``read`` supplies."""
        with self._lock:
            return self._counts[name].get(label, 0)

    def values(self) -> list[tuple[Metric, str, Value]]:
        """(metric, value of its label, value) of every metric there is."""
        supplied = self._read() if self._read else {}
        with self._lock:
            counts = {name: dict(of_labels) for name, of_labels in self._counts.items()}
        result: list[tuple[Metric, str, Value]] = []
        for name, metric in self.metrics.items():
            if name in supplied:
                result.append((metric, "", supplied[name]))
            elif metric.label:
                result += [(metric, label, value) for label, value in sorted(counts[name].items())]
            elif metric.kind is not Kind.AVERAGE:
                result.append((metric, "", counts[name].get("", 0)))
        return result

    def snapshot(self) -> dict[str, object]:
        """Name to value, ready for JSON: seconds for times, a dict for averages and for metrics split by a label."""
        result: dict[str, object] = {name: {} for name, metric in self.metrics.items() if metric.label}
        for metric, label, value in self.values():
            if isinstance(value, Average):
                mean_ns = value.sum_ns / value.count if value.count else 0
                result[metric.name] = {"avgcount": value.count, "sum": value.sum_ns / 1e9, "avgtime": mean_ns / 1e9}
                continue
            shown = value / 1e9 if metric.kind is Kind.TIME else value
            if metric.label:
                of_labels = result[metric.name]
                assert isinstance(of_labels, dict)
                of_labels[label] = shown
            else:
                result[metric.name] = shown
        return {name: result[name] for name in self.metrics if name in result}


def snapshot(groups: Iterable[PerfCounters]) -> dict[str, dict[str, object]]:
    """Group name to its snapshot."""
    return {group.name: group.snapshot() for group in groups}


# ---- Prometheus ----


def render_prometheus(groups: Iterable[PerfCounters]) -> str:
    """The text exposition format 0.0.4: what ``GET /metrics`` answers with ``text/plain; version=0.0.4``."""
    families: dict[str, list[str]] = {}
    for group in groups:
        for metric, label, value in group.values():
            name, type_ = _prometheus_name(group.prefix, metric)
            lines = families.setdefault(name, [f"# HELP {name} {_escape(metric.help)}", f"# TYPE {name} {type_}"])
            labels = _prometheus_labels({**group.labels, **({metric.label: label} if metric.label else {})})
            if isinstance(value, Average):
                lines.append(f"{name}_sum{labels} {value.sum_ns / 1e9}")
                lines.append(f"{name}_count{labels} {value.count}")
            else:
                lines.append(f"{name}{labels} {value / 1e9 if metric.kind is Kind.TIME else value}")
    return "".join(f"{line}\n" for lines in families.values() for line in lines)


def _prometheus_name(prefix: str, metric: Metric) -> tuple[str, str]:
    name = prefix + metric.name
    match metric.kind:
        case Kind.COUNTER:
            return f"{name}_total", "counter"
        case Kind.GAUGE:
            return name, "gauge"
        case Kind.TIME:
            return f"{name}_seconds_total", "counter"
        case Kind.AVERAGE:
            return f"{name}_seconds", "summary"


def _prometheus_labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    pairs = (f'{name}="{_escape(value, quote=True)}"' for name, value in labels.items())
    return "{" + ",".join(pairs) + "}"


def _escape(text: str, *, quote: bool = False) -> str:
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    return text.replace('"', '\\"') if quote else text


# ---- the groups there are ----

_WORKER_METRICS = (
    Metric("msgr_recv_messages", Kind.COUNTER, "messages received and accepted"),
    Metric("msgr_send_messages", Kind.COUNTER, "messages written; loopback is not counted"),
    Metric("msgr_recv_bytes", Kind.COUNTER, "bytes received"),
    Metric("msgr_send_bytes", Kind.COUNTER, "bytes written"),
    Metric("msgr_created_connections", Kind.COUNTER, "connections ever made"),
    Metric("msgr_active_connections", Kind.GAUGE, "registered connections alive"),
    Metric("msgr_running_total_time", Kind.TIME, "time the loop worked, not waited"),
    Metric("msgr_running_send_time", Kind.TIME, "time spent writing"),
    Metric("msgr_running_recv_time", Kind.TIME, "time spent reading"),
    Metric("msgr_send_messages_queue_lat", Kind.AVERAGE, "from the send call to the write"),
    Metric("msgr_handle_ack_lat", Kind.AVERAGE, "handling one acknowledgement"),
    Metric("msgr_connection_ready_timeouts", Kind.COUNTER, "connections that were not ready in time"),
    Metric("msgr_connection_idle_timeouts", Kind.COUNTER, "connections that were silent for too long"),
    # From here on ours, not Ceph's.
    Metric("msgr_reconnects", Kind.COUNTER, "dials after a fault"),
    Metric("msgr_faults", Kind.COUNTER, "faults by cause", label="cause"),
    Metric("msgr_resets", Kind.COUNTER, "connections gone for good"),
    Metric("msgr_remote_resets", Kind.COUNTER, "sessions the peer has lost or dropped"),
    Metric("msgr_accept_stalls", Kind.COUNTER, "times accepting stopped for too many unfinished handshakes"),
    Metric("msgr_accept_errors", Kind.COUNTER, "failed accepts by errno", label="errno"),
    Metric("msgr_turn_exceptions", Kind.COUNTER, "exceptions that came out of the loop"),
    Metric("msgr_replayed_messages", Kind.COUNTER, "messages sent again after a reconnect"),
    Metric("msgr_duplicates_dropped", Kind.COUNTER, "messages received twice"),
    Metric("msgr_sequence_gaps", Kind.COUNTER, "gaps in the sequence numbers received"),
    Metric("msgr_throttle_stalls", Kind.COUNTER, "times reading stopped at a throttle"),
    Metric("msgr_acks_sent", Kind.COUNTER, "ACK frames written"),
    Metric("msgr_recv_calls", Kind.COUNTER, "system calls that received"),
    Metric("msgr_send_calls", Kind.COUNTER, "system calls that sent"),
    Metric("msgr_polls_won", Kind.COUNTER, "looks for events that made sleeping needless"),
    Metric("msgr_polls_lost", Kind.COUNTER, "looks for events that found none"),
    Metric("msgr_turns", Kind.COUNTER, "turns that entered Python"),
)


def worker_counters(worker_id: int, read: Callable[[], Mapping[str, Value]]) -> PerfCounters:
    """``AsyncMessenger::Worker-<id>``. ``read`` returns what ``worker_values`` made."""
    name = f"AsyncMessenger::Worker-{worker_id}"
    return PerfCounters(name, _WORKER_METRICS, labels={"worker": str(worker_id)}, read=read)


def worker_values(core: Mapping[str, int], running_ns: int) -> dict[str, Value]:
    """The part of a worker's metrics that C counts, from ``WorkerCore.stats()`` and the time the loop worked."""
    result: dict[str, Value] = {
        metric.name: core[name]
        for metric in _WORKER_METRICS
        if metric.kind is Kind.COUNTER and (name := metric.name.removeprefix("msgr_")) in core
    }
    result["msgr_running_total_time"] = running_ns
    result["msgr_running_send_time"] = core["send_ns"]
    result["msgr_running_recv_time"] = core["recv_ns"]
    result["msgr_send_messages_queue_lat"] = Average(core["send_messages"], core["queue_latency_ns"])
    result["msgr_handle_ack_lat"] = Average(core["acks_handled"], core["handle_ack_ns"])
    return result


_THROTTLE_METRICS = (
    Metric("val", Kind.GAUGE, "taken now"),
    Metric("max", Kind.GAUGE, "the maximum, 0 = unlimited"),
    Metric("get", Kind.COUNTER, "gets granted"),
    Metric("get_sum", Kind.COUNTER, "amount granted to gets"),
    Metric("get_or_fail_fail", Kind.COUNTER, "gets refused"),
    Metric("get_or_fail_success", Kind.COUNTER, "gets granted at once"),
    Metric("take", Kind.COUNTER, "takes, which are never refused"),
    Metric("take_sum", Kind.COUNTER, "amount taken by takes"),
    Metric("put", Kind.COUNTER, "puts"),
    Metric("put_sum", Kind.COUNTER, "amount given back"),
    Metric("wait", Kind.COUNTER, "gets that had to wait"),
)


def throttle_counters(throttle: Throttle) -> PerfCounters:
    """``throttle-<name>``."""

    def read() -> dict[str, Value]:
        stats: dict[str, Value] = dict(throttle.stats())
        stats["val"] = stats.pop("current")
        stats["wait"] = stats.pop("waited")
        return stats

    return PerfCounters(
        f"throttle-{throttle.name}",
        _THROTTLE_METRICS,
        labels={"throttle": throttle.name},
        prefix="ceph_throttle_",
        read=read,
    )
