"""``perf-msgr-client``: keeps requests in flight to a perf server and measures rate, latency and CPU."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ceph_msgr import EntityAddr
from ceph_msgr.auth import Keyring
from ceph_msgr.tools.client_options import PROGRAM, client_options
from ceph_msgr.tools.exits import EXIT_OK, Failure, exit_of_signal, run_tool
from ceph_msgr.tools.faults import remember_faults
from ceph_msgr.tools.job import Job, make_messenger
from ceph_msgr.tools.measurement import Mailbox, Measurement
from ceph_msgr.tools.plot import plot
from ceph_msgr.tools.progress import Progress
from ceph_msgr.tools.result import Result
from ceph_msgr.tools.security import keyring_file, load_keyring, make_keyring
from ceph_msgr.tools.server_process import ServerProcess
from ceph_msgr.tools.signals import catch_signals

__all__ = ["main"]


@contextmanager
def _server(options: argparse.Namespace, keyring: Keyring | None) -> Iterator[EntityAddr]:
    """The address to dial: the one given, or that of a process that lives as long as this context."""
    if options.server:
        yield options.server
        return
    words = ["--mode", options.mode]
    if options.lossless:
        words.append("--lossless")
    with ExitStack() as until_ready:
        path = options.keyring
        if keyring is not None and path is None:
            path = until_ready.enter_context(keyring_file(keyring))
        if path:
            words += ["--keyring", str(path)]
        with ServerProcess(words) as process:
            until_ready.close()  # the process has read the keyring before it announces itself
            yield process.addr


def _measure(options: argparse.Namespace) -> tuple[EntityAddr, Measurement]:
    """The whole run, up to and including the end of everything that was started for it."""
    mailbox: Mailbox = Mailbox()
    keyring = load_keyring(options.keyring)
    if options.mode == "secure" and keyring is None:
        keyring = make_keyring()
    # Signals inside: should the clean-up ever hang, Ctrl-C ends it.
    with ExitStack() as cleanup, catch_signals(mailbox.put), remember_faults() as faults:
        server = cleanup.enter_context(_server(options, keyring))
        jobs = [
            Job(
                job,
                cleanup.enter_context(make_messenger(job, options.mode, keyring)),
                server,
                mailbox.put,
                concurrency=options.concurrency,
                ios=options.ios,
                think_time_us=options.think_time_us,
                msg_len_bytes=options.msg_len,
            )
            for job in range(options.jobs)
        ]
        measurement = Measurement(jobs, mailbox)
        if measurement.connect(options.connect_timeout):
            with Progress(sys.stderr) as progress:
                measurement.run(
                    seconds=options.seconds,
                    total_ops=options.jobs * (options.ios or 0),
                    reply_timeout_s=options.reply_timeout,
                    progress=progress,
                )
        if measurement.failure and faults:
            measurement.failure += f" ({faults[0]})"
    return server, measurement


def _result(options: argparse.Namespace, server: EntityAddr, measurement: Measurement) -> Result:
    names = "jobs", "concurrency", "ios", "seconds", "think_time_us", "msg_len", "mode", "lossless"
    latency = measurement.latency
    return Result(
        ops=len(latency),
        seconds=measurement.seconds,
        msg_len_bytes=options.msg_len,
        latency=latency,
        cpu_ns=measurement.cpu_ns,
        errors=measurement.errors,
        parameters={"server": str(server), **{name: getattr(options, name) for name in names}},
    )


def _report(options: argparse.Namespace, title: str, result: Result, samples: Sequence[tuple[int, int]]) -> None:
    if options.json != "-":
        print(title, result.table(), sep="\n")
    if options.json:
        text = json.dumps(result.as_json(), indent=2)
        if options.json == "-":
            print(text)
        else:
            Path(options.json).write_text(text + "\n")
    if options.plot:
        plot(options.plot, title, result, samples)


def _run(argv: Sequence[str]) -> int:
    options = client_options(argv)
    server, measurement = _measure(options)
    result = _result(options, server, measurement)
    if result.ops:
        title = f"{options.jobs} x {options.concurrency} requests of {options.msg_len} bytes in flight to {server}"
        _report(options, title, result, measurement.samples)
    if measurement.failure:
        raise Failure(measurement.failure)
    if result.errors:
        raise Failure(f"{result.errors} replies matched no outstanding request")
    return EXIT_OK if result.ops else exit_of_signal(measurement.signals[0])


def main(argv: Sequence[str] | None = None) -> int:
    """The entry point; returns the exit code. ``argv`` is without the program's name."""
    return run_tool(PROGRAM, _run, argv)


if __name__ == "__main__":
    sys.exit(main())
