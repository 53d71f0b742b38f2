"""The examples that want a real cluster."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.interop.lab import Result, run
from tests.interop.osd_lab import OsdLab

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.slow


@pytest.fixture(params=["none", "cephx"])
def lab(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> OsdLab:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    lab: OsdLab = request.getfixturevalue(f"osd_{request.param}")
    return lab


def read_object(lab: OsdLab, *words: str) -> Result:
    keyring = ["--keyring", str(lab.mon.admin_keyring)] if lab.mon.auth == "cephx" else []
    return run(sys.executable, ROOT / "examples" / "read_object.py", lab.mon.address, *words, *keyring)


def test_reading_an_object(lab: OsdLab, tmp_path: Path) -> None:
    text = "one line of many\n" * 20_000
    (tmp_path / "text").write_text(text)
    lab.rados("put", "example", str(tmp_path / "text")).check()
    result = read_object(lab, lab.pool, "example")
    assert (result.status, result.stderr) == (0, "")
    assert result.stdout == text


def test_what_is_not_there(lab: OsdLab) -> None:
    for pool, oid, line in (
        (lab.pool, "nosuch", "cannot read nosuch: error 2\n"),
        ("nosuch", "example", "the monitor refuses osd map: pool nosuch does not exist\n"),
    ):
        result = read_object(lab, pool, oid)
        assert (result.status, result.stdout, result.stderr) == (1, "", line)


def test_no_monitor(lab: OsdLab) -> None:
    result = run(sys.executable, ROOT / "examples" / "read_object.py", "v2:127.0.0.1:1", lab.pool, "example")
    assert (result.status, result.stderr) == (1, "nobody listens on v2:127.0.0.1:1/0\n")
