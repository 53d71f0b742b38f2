"""C's results become the exceptions a caller expects, and exceptions of callbacks reach one place."""

from __future__ import annotations

import errno
import logging

import pytest

from ceph_msgr import _core
from ceph_msgr.errors import ConnectionFault, LocalProtocolError, RemoteProtocolError, SendQueueFull

SEGMENT_CRC, UNKNOWN_TAG = -10008, -10010
END_OF_STREAM, QUEUE_FULL, CLOSED, INJECTED, NOT_READY = range(-10014, -10019, -1)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (-errno.ECONNRESET, ConnectionResetError),
        (-errno.ECONNREFUSED, ConnectionRefusedError),
        (-errno.EPIPE, BrokenPipeError),
        (-errno.ETIMEDOUT, TimeoutError),
        (-errno.EADDRINUSE, OSError),
        (END_OF_STREAM, ConnectionFault),
        (INJECTED, ConnectionFault),
        (CLOSED, ConnectionFault),
        (QUEUE_FULL, SendQueueFull),
        (NOT_READY, LocalProtocolError),
        (UNKNOWN_TAG, RemoteProtocolError),
    ],
)
def test_each_family_of_codes_has_its_exception(code: int, kind: type[Exception]) -> None:
    assert type(_core.error_from_code(code)) is kind


def test_system_errors_keep_their_number_and_say_what_was_tried() -> None:
    error = _core.error_from_code(-errno.EADDRINUSE, what="bind to v2:127.0.0.1:6800/0")
    assert isinstance(error, OSError)
    assert error.errno == errno.EADDRINUSE
    assert "bind to v2:127.0.0.1:6800/0" in str(error)


def test_protocol_errors_name_the_numbers_compared_and_the_tag() -> None:
    text = str(_core.error_from_code(SEGMENT_CRC, tag=17, got=0xDEAD, expected=0xBEEF))
    assert "0x0000dead" in text and "0x0000beef" in text and "17" in text
    assert "got 99, expected 22" in str(_core.error_from_code(UNKNOWN_TAG, got=99, expected=22))


def test_a_lost_connection_has_a_stable_cause() -> None:
    error = _core.error_from_code(END_OF_STREAM)
    assert isinstance(error, ConnectionFault)
    assert error.cause == "end_of_stream"


def test_success_is_not_an_error() -> None:
    with pytest.raises(ValueError, match="0"):
        _core.error_from_code(0)


def test_names_and_texts_exist_for_every_code() -> None:
    for code in range(-10018, -10000):
        assert _core.error_name(code) and _core.error_text(code)
    assert _core.error_name(SEGMENT_CRC) == "SEGMENT_CRC"
    assert _core.error_name(-errno.ECONNRESET) == "ECONNRESET"


def raising(exception: BaseException) -> object:
    raise exception


def test_a_callback_that_raises_is_logged_and_counted_and_the_loop_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    center = _core.EventCenter()
    ran: list[int] = []
    before = _core.callback_errors()
    with caplog.at_level(logging.ERROR, "ceph_msgr"):
        center.dispatch_event_external(lambda: raising(KeyError("lost?")))
        center.dispatch_event_external(lambda: ran.append(1))
        center.process_events(0)
    assert ran == [1]
    assert _core.callback_errors() == before + 1
    [record] = caplog.records
    assert record.exc_info and isinstance(record.exc_info[1], KeyError)
    center.close()


def test_a_hook_replaces_the_log_and_the_previous_one_comes_back() -> None:
    seen: list[tuple[BaseException, str]] = []
    previous = _core.set_exception_hook(lambda exc, where: seen.append((exc, where)))
    try:
        center = _core.EventCenter()
        center.create_time_event(0, lambda: raising(SystemExit(3)))
        center.process_events(0)
        center.close()
    finally:
        hook = _core.set_exception_hook(previous)
    assert hook is not None
    [(exc, where)] = seen
    assert isinstance(exc, SystemExit) and "time event" in where


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_hook_that_raises_does_not_lose_the_exception(monkeypatch: pytest.MonkeyPatch) -> None:
    unraisable: list[BaseException | None] = []
    monkeypatch.setattr("sys.unraisablehook", lambda args: unraisable.append(args.exc_value))
    previous = _core.set_exception_hook(lambda exc, where: raising(RuntimeError("bad hook")))
    try:
        center = _core.EventCenter()
        center.dispatch_event_external(lambda: raising(KeyError("first")))
        center.process_events(0)
        center.close()
    finally:
        _core.set_exception_hook(previous)
    [error] = unraisable
    assert isinstance(error, RuntimeError) and isinstance(error.__context__, KeyError)


def test_ctrl_c_in_a_callback_comes_out_of_the_loop_after_the_others_ran() -> None:
    center = _core.EventCenter()
    ran: list[int] = []
    center.dispatch_event_external(lambda: raising(KeyboardInterrupt()))
    center.dispatch_event_external(lambda: ran.append(1))
    with pytest.raises(KeyboardInterrupt):
        center.process_events(0)
    assert ran == [1]
    assert center.process_events(0) == 0
    center.close()
