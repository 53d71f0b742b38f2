"""A real Ceph on loopback: one monitor in a temporary directory, and the real `ceph` command against any address.

Nothing leaves 127.0.0.1, nothing is written outside the directory given, and each process is ended by its pid.
Standard library only; pytest knows of this through conftest.py alone.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

Auth = Literal["none", "cephx"]

PROGRAMS = ("ceph", "ceph-mon", "ceph-authtool", "monmaptool")

#: A monitor is up after 0.6 s on an idle machine; the rest is for a busy one.
START_TIMEOUT_S = 60.0
#: ceph-mon ends within a second of SIGTERM. One that does not is killed.
STOP_TIMEOUT_S = 10.0
TAIL_CHARS = 4000


class LabError(Exception):
    """A Ceph program did not do what the lab needs; the text carries its output."""


def missing_programs(*more: str) -> list[str]:
    """The programs of the lab, and these, that this machine lacks."""
    return [program for program in (*PROGRAMS, *more) if shutil.which(program) is None]


@dataclass(frozen=True, slots=True)
class Result:
    """What a program left behind. `status` is None if it had to be killed at its time-out."""

    command: tuple[str, ...]
    status: int | None
    stdout: str
    stderr: str
    seconds: float

    def check(self) -> Self:
        """Itself, if the program succeeded.

        Raises:
            LabError: it failed or was killed.
        """
        if self.status != 0:
            raise LabError(str(self))
        return self

    def __str__(self) -> str:
        ended = "killed at its time-out" if self.status is None else f"exit status {self.status}"
        return (
            f"{' '.join(self.command)}: {ended} after {self.seconds:.1f} s\n"
            f"--- stdout\n{self.stdout[-TAIL_CHARS:]}\n--- stderr\n{self.stderr[-TAIL_CHARS:]}"
        )


def _environment() -> dict[str, str]:
    # CEPH_ARGS and CEPH_CONF would lead a program to some cluster of the user's.
    return {name: value for name, value in os.environ.items() if not name.startswith("CEPH_")}


def run(*command: str | Path, timeout_s: float = 60.0) -> Result:
    """Runs a program to its end, or to its time-out, and never raises for what the program does."""
    words = tuple(str(word) for word in command)
    started = time.monotonic()
    try:
        done = subprocess.run(
            words, env=_environment(), stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_s, check=False
        )
        status, stdout, stderr = done.returncode, done.stdout, done.stderr
    except subprocess.TimeoutExpired as expired:
        status, stdout, stderr = None, expired.stdout or b"", expired.stderr or b""
    seconds = time.monotonic() - started
    return Result(words, status, stdout.decode(errors="replace"), stderr.decode(errors="replace"), seconds)


def reserve_port() -> socket.socket:
    """A loopback port that the kernel gives to nobody else while the socket returned is open.

    The socket is bound and never listens, so a process that sets SO_REUSEADDR, as Ceph does, can listen there.
    """
    holder = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind(("127.0.0.1", 0))
    return holder


def write_conf(path: Path, sections: dict[str, dict[str, object]]) -> None:
    """Writes a ceph.conf: option names by section."""
    lines: list[str] = []
    for section, options in sections.items():
        lines.append(f"[{section}]")
        lines.extend(f"{name} = {value}" for name, value in options.items())
    path.write_text("\n".join(lines) + "\n")


class CephClient:
    """The real `ceph` command (librados underneath), pointed at one address: a monitor's, or our own messenger's.

    `keyring` is needed with auth cephx only. The client's messenger logs to `Result.stderr`.
    """

    def __init__(self, directory: Path, port: int, *, auth: Auth = "none", keyring: Path | None = None) -> None:
        self.conf = directory / "client.conf"
        options: dict[str, object] = {
            "mon_host": f"v2:127.0.0.1:{port}/0",
            "auth_cluster_required": auth,
            "auth_service_required": auth,
            "auth_client_required": auth,
            "debug_ms": 5,
        }
        if keyring is not None:
            options["keyring"] = keyring
        write_conf(self.conf, {"global": options})

    def ceph(self, *words: str, connect_timeout_s: int = 30, timeout_s: float = 60.0) -> Result:
        """Runs `ceph WORDS`. A silent server costs `connect_timeout_s`; at `timeout_s` the command is killed."""
        command = "ceph", "-c", self.conf, "--connect-timeout", str(connect_timeout_s), *words
        for _ in range(3):
            result = run(*command, timeout_s=timeout_s)
            # Once in thousands of runs this program crashes as its threads start, before it has said a word. A crash that
            # we caused would come each time.
            if result.status != -signal.SIGSEGV or result.stdout or result.stderr:
                break
        return result

    def ping(self, mon: str = "a", *, timeout_s: float = 60.0) -> Result:
        """`ceph ping mon.X`: MPing in a session of its own. It never gives up by itself: killed at its time-out."""
        return self.ceph("ping", f"mon.{mon}", timeout_s=timeout_s)

    def fsid(self, *, connect_timeout_s: int = 30) -> Result:
        """`ceph fsid`: the whole log-in of a monitor client, then one MMonCommand."""
        return self.ceph("fsid", connect_timeout_s=connect_timeout_s)


class Daemon:
    """A daemon of Ceph in the foreground, and what it writes into `directory`: NAME.out is its terminal, NAME.log its log."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self.log_file = directory / f"{name}.log"
        self._terminal = directory / f"{name}.out"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """None while there is no process."""
        return None if self._process is None else self._process.pid

    def start(self, *command: str | Path) -> None:
        with open(self._terminal, "ab") as output:
            self._process = subprocess.Popen(
                command, env=_environment(), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
            )

    def stop(self) -> None:
        """Ends it, by SIGKILL if SIGTERM is not enough."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def kill(self) -> None:
        """Ends it by SIGKILL."""
        process, self._process = self._process, None
        if process:
            process.kill()
            process.wait()

    def check_alive(self, wait_s: float = 0.0) -> None:
        """Waits so long on the process, and not on the clock: one that dies is noticed at once.

        Raises:
            LabError: it has ended. The text carries the tail of its log.
        """
        assert self._process is not None
        try:
            status = self._process.wait(wait_s)
        except subprocess.TimeoutExpired:
            return
        raise LabError(f"{self.name} ended with status {status}\n{self.log_tail()}")

    def log_tail(self) -> str:
        """The ends of its log and of what it wrote to its terminal."""
        paths = (self._terminal, self.log_file)
        return "\n".join(
            f"--- {path.name}\n{path.read_text(errors='replace')[-TAIL_CHARS:]}" for path in paths if path.exists()
        )


class MonLab:
    """One real ceph-mon, msgr2 only, in `directory`.

    `other_mons` adds monitors to the monmap by name and loopback port: this one then dials them as lossless peers (and
    does not form a quorum with less than half of them, so `start` must be told not to wait for it). `more_options` are further
    sections of its ceph.conf, for other daemons.

    A context manager: started on entry, ended on exit.
    """

    name = "a"

    def __init__(
        self, directory: Path, *, auth: Auth = "none", other_mons: dict[str, int] | None = None,
        more_options: dict[str, dict[str, object]] | None = None,
    ) -> None:
        self.directory = directory
        self.auth: Auth = auth
        self.other_mons = dict(other_mons or {})
        self._more_options = dict(more_options or {})
        self.fsid = str(uuid.uuid4())
        self.admin_keyring = directory / "admin.keyring"
        self.mon_keyring = directory / "mon.keyring"
        #: Seconds from `start` to the first answer of the monitor, for the curious.
        self.start_seconds: float | None = None
        self.conf = directory / "ceph.conf"
        self._monmap = directory / "monmap"
        self._daemon = Daemon(f"mon.{self.name}", directory)
        # Held as long as the lab: a monitor that is started again finds its port free.
        self._port_holder = reserve_port()
        self.port: int = self._port_holder.getsockname()[1]
        # Daemons without an address of their own look for ports from here on: away from 6800, where everybody looks.
        self._ports_holder = reserve_port()
        self._first_port: int = self._ports_holder.getsockname()[1]
        self.client = CephClient(directory, self.port, auth=auth, keyring=self.admin_keyring)

    @property
    def host(self) -> str:
        return "127.0.0.1"

    @property
    def address(self) -> str:
        """As Ceph prints it; monitors have nonce 0."""
        return f"v2:{self.host}:{self.port}/0"

    @property
    def pid(self) -> int | None:
        """The monitor's process, None while there is none."""
        return self._daemon.pid

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self, *, wait_for_quorum: bool = True, timeout_s: float = START_TIMEOUT_S) -> None:
        """Makes the store if there is none, and starts the monitor; returns when it answers.

        With `wait_for_quorum=False` an accepted TCP connection is enough.

        Raises:
            LabError: the monitor ended, or did not answer in time. The text carries the tail of its log.
        """
        started = time.monotonic()
        if not self._monmap.exists():
            self._make_store()
        self._daemon.start(
            *("ceph-mon", "-c", self.conf, "-i", self.name, "--foreground", "--no-mon-config"),
            *("--public-addrv", f"[{self.address}]"),
        )
        self._wait_for_listener(started + timeout_s)
        if wait_for_quorum:
            self._wait_for_quorum(started + timeout_s)
        self.start_seconds = time.monotonic() - started

    def stop(self) -> None:
        """Ends the monitor. The store stays: `start` works again."""
        self._daemon.stop()

    def close(self) -> None:
        """`stop`, and gives the port back."""
        self.stop()
        self._port_holder.close()
        self._ports_holder.close()

    def log_tail(self) -> str:
        return self._daemon.log_tail()

    def _wait_for_listener(self, end_s: float) -> None:
        while True:
            try:
                socket.create_connection((self.host, self.port), timeout=1.0).close()
                return
            except OSError as refused:
                self._daemon.check_alive(wait_s=0.05)
                if time.monotonic() > end_s:
                    raise LabError(f"mon.{self.name} does not listen on {self.address}\n{self.log_tail()}") from refused

    def _wait_for_quorum(self, end_s: float) -> None:
        while (answer := self.client.ceph("mon", "stat", connect_timeout_s=5)).status != 0:
            self._daemon.check_alive()
            if time.monotonic() > end_s:
                raise LabError(f"mon.{self.name} does not answer: {answer}\n{self.log_tail()}")

    def make_keyrings(self) -> None:
        """Before `start` does it, for who must know the keys first."""
        if self.mon_keyring.exists():
            return
        mon_caps = ("--cap", "mon", "allow *")
        run("ceph-authtool", "--create-keyring", self.mon_keyring, "--gen-key", "-n", "mon.", *mon_caps).check()
        caps = [word for daemon in ("mon", "osd", "mgr", "mds") for word in ("--cap", daemon, "allow *")]
        run("ceph-authtool", "--create-keyring", self.admin_keyring, "--gen-key", "-n", "client.admin", *caps).check()
        run("ceph-authtool", self.mon_keyring, "--import-keyring", self.admin_keyring).check()

    def _make_store(self) -> None:
        self._write_conf()
        self.make_keyrings()
        members = {self.name: self.port, **self.other_mons}
        addresses = [word for name, port in members.items() for word in ("--addv", name, f"[v2:{self.host}:{port}/0]")]
        run(
            *("monmaptool", "--create", "--fsid", self.fsid, *addresses),
            *("--set-min-mon-release", "pacific", self._monmap),
        ).check()
        run(
            *("ceph-mon", "-c", self.conf, "-i", self.name, "--mkfs"),
            *("--monmap", self._monmap, "--keyring", self.mon_keyring),
        ).check()

    def _write_conf(self) -> None:
        write_conf(
            self.conf,
            {
                "global": {
                    "fsid": self.fsid,
                    "auth_cluster_required": self.auth,
                    "auth_service_required": self.auth,
                    "auth_client_required": self.auth,
                    "public_network": "127.0.0.0/8",
                    "ms_bind_ipv6": "false",
                    "ms_bind_msgr1": "false",
                    # One attempt: a reserved port that cannot be had now cannot be had in 15 s either.
                    "ms_bind_retry_count": 1,
                    "ms_bind_port_min": self._first_port,
                    "ms_bind_port_max": self._first_port + 30,
                    "mon_host": self.address,
                    "mon_data": self.directory / "mon-data",
                    "run_dir": self.directory,
                    "admin_socket": self.directory / "$name.asok",
                    "log_file": self._daemon.log_file,
                    "debug_ms": 5,
                    "debug_rocksdb": 0,
                    "log_flush_on_exit": "true",  # a monitor that ends at once says why
                    # One OSD on one machine is enough.
                    "osd_pool_default_size": 1,
                    "osd_pool_default_min_size": 1,
                    "mon_allow_pool_size_one": "true",
                    "osd_crush_chooseleaf_type": 0,
                    # Small disks are no news here.
                    "mon_data_avail_warn": 1,
                    "mon_data_avail_crit": 1,
                },
                # Only the monitor: a client must present its own key.
                "mon": {"keyring": self.mon_keyring},
                **self._more_options,
            },
        )
