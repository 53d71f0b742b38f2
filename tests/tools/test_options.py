"""Command lines: what is understood, and the one line that says why another is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from ceph_msgr import EntityAddr
from ceph_msgr.tools import perf_msgr_client, perf_msgr_server, plot
from ceph_msgr.tools.client_options import client_options
from ceph_msgr.tools.server_options import server_options

ADDR = EntityAddr.parse("v2:127.0.0.1:10001/0")


def test_the_client_has_defaults_for_everything() -> None:
    options = client_options([])
    assert (options.server, options.jobs, options.concurrency, options.ios) == (None, 1, 32, None)
    assert (options.seconds, options.think_time_us, options.msg_len) == (5.0, 0, 4096)
    assert (options.mode, options.lossless, options.json, options.plot) == ("crc", False, None, None)


def test_the_server_has_defaults_for_everything() -> None:
    options = server_options([])
    assert (options.bind, options.workers, options.think_time_us, options.mode) == (ADDR, 1, 0, "crc")
    assert (options.lossless, options.metrics_port, options.until_eof) == (False, None, False)


def test_long_options_of_the_client() -> None:
    line = (
        "--server 127.0.0.1:10001 --jobs 4 --concurrency 8 --ios 100 --think-time 5 --msg-len 64 --lossless --json - "
        "--connect-timeout 0.5 --reply-timeout 2"
    )
    options = client_options(line.split())
    assert (options.server, options.jobs, options.concurrency, options.ios) == (ADDR, 4, 8, 100)
    assert (options.seconds, options.think_time_us, options.msg_len) == (None, 5, 64)
    assert (options.lossless, options.json, options.keyring) == (True, "-", None)
    assert (options.connect_timeout, options.reply_timeout) == (0.5, 2.0)


@pytest.mark.parametrize("parse", [client_options, server_options])
def test_mode_and_keyring_are_the_same_in_both_tools(parse) -> None:
    for line, mode in ("--keyring some.file", "crc"), ("--keyring some.file --mode secure", "secure"):
        options = parse(line.split())
        assert (options.mode, options.keyring) == (mode, Path("some.file"))


def test_secure_mode_with_a_server_of_its_own_needs_no_keyring() -> None:
    assert client_options(["--mode", "secure"]).keyring is None


@pytest.mark.contract("G")
@pytest.mark.parametrize(
    ("parse", "by_name", "in_order"),
    [
        (
            client_options,
            "--server 127.0.0.1:10001 --jobs 4 --concurrency 8 --ios 100 --think-time 5 --msg-len 64",
            "127.0.0.1:10001 4 8 100 5 64",
        ),
        (client_options, "--server 127.0.0.1:10001 --jobs 4 --msg-len 64", "127.0.0.1:10001 --msg-len=64 4"),
        (server_options, "--bind 127.0.0.1:10001 --workers 3 --think-time 500", "127.0.0.1:10001 3 500"),
    ],
)
def test_the_positional_order_means_the_same_as_the_long_options(parse, by_name, in_order) -> None:
    named, ordered = (vars(parse(line.split())) for line in (by_name, in_order))
    assert ordered | {"positional": []} == named


WRONG_FOR_THE_CLIENT = {
    "--nope": "--nope",
    "--jobs 0": "0 is less than 1",
    "--jobs x": '"x" is not a whole number',
    "--concurrency 0": "0 is less than 1",
    "--ios 0": "0 is less than 1",
    "--seconds 0": '"0" is not a number of seconds above 0',
    "--seconds nan": '"nan" is not',
    "--seconds inf": '"inf" is not',
    "--msg-len -1": "-1 is less than 0",
    "--msg-len 268435457": "268435457 is more than 268435456",
    "--ios 5 --seconds 5": "--ios and --seconds",
    "--server nowhere:1": '"nowhere:1" is not an address',
    "--server 127.0.0.1": '"127.0.0.1" has no port',
    "--server v1:127.0.0.1:6789": "is not a v2 address",
    "--server": "expected one argument",
    "--mode secure --server 127.0.0.1:1": "--mode secure to a --server needs --keyring",
    "--mode none": '"none" is not a mode',
    "--json /no/such/dir/x": "/no/such/dir is not a directory",
    "127.0.0.1:1 1 1 1 1 1 1": "7 positional arguments",
    "127.0.0.1:1 2 --jobs 2": "--jobs is given twice",
    "127.0.0.1:1 0": "--jobs: 0 is less than 1",
}
WRONG_FOR_THE_SERVER = {
    "--nope": "--nope",
    "--bind 127.0.0.1:70000": "70000",
    "--bind :10001": "is not an address",
    "--workers 0": "0 is less than 1",
    "--workers 25": "25 is more than 24",
    "--think-time -5": "-5 is less than 0",
    "--metrics-port 65536": "65536 is more than 65535",
    "--mode secure": "--mode secure needs --keyring",
    "127.0.0.1:1 1 1 1": "4 positional arguments",
}


@pytest.mark.parametrize(
    ("main", "line", "reason"),
    [
        *((perf_msgr_client.main, line, reason) for line, reason in WRONG_FOR_THE_CLIENT.items()),
        *((perf_msgr_server.main, line, reason) for line, reason in WRONG_FOR_THE_SERVER.items()),
    ],
)
def test_a_wrong_option_is_one_line_and_exit_code_2(main, line, reason, capsys) -> None:
    with pytest.raises(SystemExit) as caught:
        main(line.split())
    assert caught.value.code == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1, printed.err
    assert reason in printed.err


def test_a_plot_without_matplotlib_is_refused_before_the_run(monkeypatch, capsys) -> None:
    monkeypatch.setattr("ceph_msgr.tools.client_options.can_plot", lambda: False)
    with pytest.raises(SystemExit) as caught:
        client_options(["--plot", "x.png"])
    assert caught.value.code == 2
    assert "pip install ceph-msgr[plot]" in capsys.readouterr().err


@pytest.mark.skipif(not plot.can_plot(), reason="matplotlib is not installed")
def test_a_plot_in_a_directory_that_does_not_exist_is_refused(tmp_path: Path, capsys) -> None:
    with pytest.raises(SystemExit):
        client_options(["--plot", str(tmp_path / "missing" / "x.png")])
    assert "is not a directory" in capsys.readouterr().err


@pytest.mark.parametrize("main", [perf_msgr_client.main, perf_msgr_server.main])
def test_help_teaches(main, capsys) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert "examples:" in text
    assert "exit code:" in text
    assert max(map(len, text.splitlines())) <= 120
