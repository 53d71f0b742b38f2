"""A real ceph-osd beside the monitor of `lab.py`: one OSD that keeps its objects in memory, and one pool."""

from __future__ import annotations

import json
import time
import uuid
from pathlib import Path
from typing import Any, Self

from tests.interop.lab import Auth, Daemon, LabError, MonLab, Result, run

PROGRAMS = ("ceph-osd", "rados")

#: An OSD is up after 3 s on an idle machine.
START_TIMEOUT_S = 90.0


class OsdLab:
    """A monitor, osd.0 and the pool `pool`, which has one placement group.

    A context manager: started on entry, ended on exit.
    """

    pool = "p"

    def __init__(self, directory: Path, *, auth: Auth = "none") -> None:
        self.mon = MonLab(directory, auth=auth, more_options={"osd": self._options(directory)})
        self.keyring = directory / "osd.keyring"
        self._daemon = Daemon("osd.0", directory)
        self._info: dict[str, Any] = {}

    @staticmethod
    def _options(directory: Path) -> dict[str, object]:
        return {
            "keyring": directory / "osd.keyring",
            "osd_data": directory / "osd-data",
            "log_file": directory / "osd.0.log",
            "osd_objectstore": "memstore",
            "memstore_device_bytes": 256 << 20,
        }

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Returns when the pool's placement group serves writes.

        Raises:
            LabError: a program failed, or it took longer than START_TIMEOUT_S. The text carries the tails of the logs.
        """
        end_s = time.monotonic() + START_TIMEOUT_S
        self.mon.start()
        self._make_store()
        conf = self.mon.conf
        self._daemon.start("ceph-osd", "-c", conf, "-i", "0", "--foreground", "--no-mon-config")
        self._ceph("osd", "pool", "create", self.pool, "1", "1")
        while not self._is_up():
            self._daemon.check_alive(wait_s=0.1)
            if time.monotonic() > end_s:
                raise LabError(f"osd.0 is not up\n{self.log_tail()}")
        self.rados("put", "probe", str(conf)).check()

    def close(self) -> None:
        self._daemon.stop()
        self.mon.close()

    def kill_osd(self) -> None:
        """It cannot say good-bye, and no other OSD reports it: for the monitor it is up for another 15 minutes."""
        self._daemon.kill()

    def log_tail(self) -> str:
        return f"{self._daemon.log_tail()}\n{self.mon.log_tail()}"

    def rados(self, *words: str) -> Result:
        """The real `rados` on the pool, as client.admin."""
        return run("rados", "-c", self.mon.client.conf, "-p", self.pool, *words)

    # ---- for clients ----

    @property
    def address(self) -> str:
        """Where the OSD serves clients."""
        [address] = [one for one in self._info["public_addrs"]["addrvec"] if one["type"] == "v2"]
        return f"v2:{address['addr']}/{address['nonce']}"

    @property
    def pool_id(self) -> int:
        [pool] = [pool for pool in self._dump["pools"] if pool["pool_name"] == self.pool]
        return int(pool["pool"])

    @property
    def epoch(self) -> int:
        """Of the newest OSD map when the lab had started."""
        return int(self._dump["epoch"])

    @property
    def log_file(self) -> Path:
        return self._daemon.log_file

    def raw_hash(self, oid: str) -> int:
        """Of an object's name, by the real thing."""
        answer = json.loads(self._ceph("osd", "map", self.pool, oid, "--format", "json"))
        return int(answer["raw_pgid"].partition(".")[2], 16)

    # ---- steps ----

    def _ceph(self, *words: str) -> str:
        return self.mon.client.ceph(*words).check().stdout

    def _make_store(self) -> None:
        osd_uuid = str(uuid.uuid4())
        self._ceph("osd", "new", osd_uuid, "0")
        caps = ("mon", "allow profile osd", "osd", "allow *")
        self._ceph("auth", "get-or-create", "osd.0", *caps, "-o", str(self.keyring))
        (self.keyring.parent / "osd-data").mkdir()
        run("ceph-osd", "-c", self.mon.conf, "-i", "0", "--mkfs", "--osd-uuid", osd_uuid, "--no-mon-config").check()

    def _is_up(self) -> bool:
        self._dump = json.loads(self._ceph("osd", "dump", "--format", "json"))
        self._info = self._dump["osds"][0]
        return bool(self._info["up"])
