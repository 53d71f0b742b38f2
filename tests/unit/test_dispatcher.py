"""The dispatcher interface and the chain that calls it."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import pytest

from ceph_msgr._core import DispatchTable, Message
from ceph_msgr.dispatch.dispatcher import PRIORITY_HIGH, PRIORITY_LOW, Dispatcher, DispatcherChain
from ceph_msgr.dispatch.local import LocalDelivery
from ceph_msgr.dispatch.queue import DispatchQueue


@dataclass(eq=False)
class FakeMessage:
    type: int = 1
    priority: int = 127
    src: str = "client.1"


MESSAGE: Any = FakeMessage()

FAST_CALLBACKS = "ms_handle_fast_connect", "ms_handle_fast_accept"
WHOLE_CHAIN = "ms_handle_connect", "ms_handle_accept", "ms_handle_remote_reset", "ms_handle_drained"
UNTIL_TRUE = "ms_handle_reset", "ms_handle_refused", "ms_dispatch"


class Named(Dispatcher):
    """Writes its name into the journal whenever one of its callbacks is called."""

    def __init__(
        self, name: str, journal: list[str], *, fast: bool = False, claims: tuple[int, ...] = (), answer: Any = False
    ) -> None:
        self.name = name
        self.journal = journal
        self.fast = fast
        self.claims = claims
        self.answer = answer
        self.asked_any = 0

    def ms_can_fast_dispatch_any(self) -> bool:
        self.asked_any += 1
        return self.fast

    def ms_can_fast_dispatch(self, message_type: int) -> bool:
        return message_type in self.claims

    def ms_fast_dispatch(self, message: Any) -> None:
        self.journal.append(f"{self.name} fast")

    def __getattribute__(self, name: str) -> Any:
        if name in (*FAST_CALLBACKS, *WHOLE_CHAIN, *UNTIL_TRUE):

            def callback(subject: object) -> Any:
                self.journal.append(self.name)
                if isinstance(self.answer, BaseException):
                    raise self.answer
                return self.answer

            return callback
        return super().__getattribute__(name)


# ---- who is asked ----


def test_head_goes_first_and_tail_last() -> None:
    journal: list[str] = []
    chain = DispatcherChain()
    assert chain.add_tail(Named("b", journal)) is True
    assert chain.add_tail(Named("c", journal)) is False
    assert chain.add_head(Named("a", journal)) is False
    chain.ms_handle_connect("con")
    assert journal == ["a", "b", "c"]
    assert len(chain) == 3


def test_priority_sorts_and_head_and_tail_act_inside_it() -> None:
    journal: list[str] = []
    chain = DispatcherChain()
    chain.add_tail(Named("default", journal))
    chain.add_head(Named("low head", journal), PRIORITY_LOW)
    chain.add_tail(Named("high tail", journal), PRIORITY_HIGH)
    chain.add_head(Named("high head", journal), PRIORITY_HIGH)
    chain.add_tail(Named("low tail", journal), PRIORITY_LOW)
    chain.add_head(Named("default head", journal))
    chain.ms_handle_accept("con")
    assert journal == ["high head", "high tail", "default head", "default", "low head", "low tail"]


def test_the_same_dispatcher_twice_is_called_twice() -> None:
    journal: list[str] = []
    chain = DispatcherChain()
    dispatcher = Named("a", journal)
    chain.add_tail(dispatcher)
    chain.add_tail(dispatcher)
    chain.ms_handle_connect("con")
    assert journal == ["a", "a"]


@pytest.mark.parametrize("callback", WHOLE_CHAIN)
def test_whole_chain_is_called_whatever_it_returns(callback: str) -> None:
    journal: list[str] = []
    chain = DispatcherChain()
    for name in "abc":
        chain.add_tail(Named(name, journal, answer=True))
    getattr(chain, callback)("con")
    assert journal == ["a", "b", "c"]


@pytest.mark.parametrize("callback", UNTIL_TRUE)
def test_chain_is_called_until_one_returns_true(callback: str) -> None:
    journal: list[str] = []
    chain = DispatcherChain()
    for name, answer in ("a", False), ("b", True), ("c", True):
        chain.add_tail(Named(name, journal, answer=answer))
    getattr(chain, callback)(MESSAGE)
    assert journal == ["a", "b"]


@pytest.mark.parametrize("callback", FAST_CALLBACKS)
def test_fast_callbacks_reach_the_fast_chain_only(callback: str) -> None:
    journal: list[str] = []
    chain = DispatcherChain()
    for name, fast in ("a", True), ("b", False), ("c", True):
        chain.add_tail(Named(name, journal, fast=fast, answer=True))
    getattr(chain, callback)("con")
    assert journal == ["a", "c"]


def test_every_callback_has_a_default() -> None:
    chain = DispatcherChain(on_error=lambda subject, error: pytest.fail(f"{error!r}"))
    chain.add_tail(Dispatcher())
    for callback in (*WHOLE_CHAIN, *FAST_CALLBACKS, *UNTIL_TRUE):
        getattr(chain, callback)(MESSAGE)
    assert chain.resolve(1) == ((), None)


# ---- fast dispatch ----


def test_the_first_fast_claimant_gets_the_message() -> None:
    journal: list[str] = []
    chain = DispatcherChain()
    chain.add_tail(Named("other", journal, fast=True, claims=(2,)))
    chain.add_tail(Named("first", journal, fast=True, claims=(1,)))
    chain.add_tail(Named("second", journal, fast=True, claims=(1, 2)))
    _, fast = chain.resolve(1)
    assert fast is not None
    fast(MESSAGE)
    assert journal == ["first fast"]
    assert chain.resolve(3) == ((), None)


@pytest.mark.contract("A17")
def test_no_to_any_overrides_a_yes_to_one_type_and_is_asked_once() -> None:
    chain = DispatcherChain()
    dispatcher = Named("a", [], fast=False, claims=(1,))
    chain.add_tail(dispatcher)
    dispatcher.fast = True
    assert chain.resolve(1) == ((), None)
    assert dispatcher.asked_any == 1


def test_only_overridden_preprocessors_are_called() -> None:
    class Preprocessor(Dispatcher):
        def ms_can_fast_dispatch_any(self) -> bool:
            return True

        def ms_fast_preprocess(self, message: Any) -> None:
            seen.append(self)

    seen: list[Dispatcher] = []
    chain = DispatcherChain()
    first, second = Preprocessor(), Preprocessor()
    chain.add_tail(first)
    chain.add_tail(Named("default", [], fast=True))
    chain.add_tail(second)
    preprocessors, _ = chain.resolve(1)
    for preprocess in preprocessors:
        preprocess(MESSAGE)
    assert seen == [first, second]


def test_each_addition_is_told_so_that_kept_answers_can_be_dropped() -> None:
    chain = DispatcherChain()
    lengths: list[int] = []
    chain.on_change = lambda: lengths.append(len(chain))
    chain.add_tail(Dispatcher())
    chain.add_head(Dispatcher())
    assert lengths == [1, 2]


def test_a_claim_without_fast_dispatch_is_told_by_name() -> None:
    class Forgetful(Dispatcher):
        pass

    with pytest.raises(NotImplementedError, match="Forgetful claims message type 1 but has no ms_fast_dispatch"):
        Forgetful().ms_fast_dispatch(MESSAGE)


# ---- what goes wrong ----


@pytest.mark.parametrize("callback", [*WHOLE_CHAIN, *FAST_CALLBACKS, "ms_handle_reset", "ms_handle_refused"])
@pytest.mark.parametrize("error", [ValueError("from the user"), SystemExit(1)], ids=["exception", "sys.exit"])
def test_an_exception_is_logged_counted_and_the_next_dispatcher_called(
    callback: str, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    journal: list[str] = []
    reported: list[tuple[object, BaseException]] = []
    chain = DispatcherChain(on_error=lambda subject, error: reported.append((subject, error)))
    chain.add_tail(Named("raises", journal, fast=True, answer=error))
    chain.add_tail(Named("next", journal, fast=True))
    getattr(chain, callback)("the connection")
    assert journal == ["raises", "next"]
    assert reported == [("the connection", error)]
    assert chain.perf.get("msgr_callback_exceptions") == 1
    assert "the connection" in caplog.text and type(error).__name__ in caplog.text


def test_a_message_whose_dispatcher_raised_counts_as_handled() -> None:
    journal: list[str] = []
    chain = DispatcherChain()
    chain.add_tail(Named("raises", journal, answer=ValueError()))
    chain.add_tail(Named("next", journal))
    chain.ms_dispatch(MESSAGE)
    assert journal == ["raises"]
    assert chain.perf.get("msgr_unhandled_messages") == 0


def test_an_exception_out_of_can_fast_dispatch_means_no() -> None:
    class Raising(Named):
        def ms_can_fast_dispatch(self, message_type: int) -> bool:
            raise ValueError("from the user")

    chain = DispatcherChain()
    chain.add_tail(Raising("a", [], fast=True))
    assert chain.resolve(1) == ((), None)
    assert chain.perf.get("msgr_callback_exceptions") == 1


def test_an_exception_out_of_can_fast_dispatch_any_is_the_callers() -> None:
    class Raising(Dispatcher):
        def ms_can_fast_dispatch_any(self) -> bool:
            raise ValueError("from the user")

    chain = DispatcherChain()
    with pytest.raises(ValueError, match="from the user"):
        chain.add_tail(Raising())
    assert len(chain) == 0


def test_ctrl_c_goes_on_its_way_on_the_main_thread_only() -> None:
    chain = DispatcherChain()
    chain.add_tail(Named("a", [], answer=KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        chain.ms_handle_connect("con")
    assert chain.perf.get("msgr_callback_exceptions") == 0
    returned = threading.Event()
    thread = threading.Thread(target=lambda: (chain.ms_handle_connect("con"), returned.set()))
    thread.start()
    thread.join(10)
    assert returned.is_set()
    assert chain.perf.get("msgr_callback_exceptions") == 1


@pytest.mark.parametrize("die", [False, True])
def test_an_unhandled_message_is_logged_counted_and_fatal_if_asked(die: bool, caplog: pytest.LogCaptureFixture) -> None:
    fatal: list[Exception] = []
    chain = DispatcherChain(die_on_unhandled=die, on_fatal=fatal.append)
    chain.add_tail(Named("a", []))
    message: Any = FakeMessage(type=42)
    chain.ms_dispatch(message)
    assert "no dispatcher handled message type 42 from client.1" in caplog.text
    assert chain.perf.get("msgr_unhandled_messages") == 1
    assert len(fatal) == die
    if die:
        assert "ms_die_on_unhandled_msg" in str(fatal[0])


# ---- with the compiled table and the queues around it ----


def start_none(name: str, run: object) -> None:
    """The test steps by hand."""


def test_fast_queued_and_failing_messages_through_the_compiled_table() -> None:
    class Fast(Dispatcher):
        def ms_can_fast_dispatch_any(self) -> bool:
            return True

        def ms_can_fast_dispatch(self, message_type: int) -> bool:
            asked.append(message_type)
            return message_type in (1, 3)

        def ms_fast_preprocess(self, message: Any) -> None:
            journal.append(f"preprocess {message.type}")

        def ms_fast_dispatch(self, message: Any) -> None:
            journal.append(f"fast {message.type}")
            if message.type == 3:
                raise ValueError("from the user")

        def ms_dispatch(self, message: Any) -> bool:
            journal.append(f"queued {message.type}")
            return True

    journal: list[str] = []
    asked: list[int] = []
    chain = DispatcherChain()
    queue = DispatchQueue(chain, start_thread=start_none)
    table = DispatchTable({}, chain.resolve, queue.enqueue, chain.callback_failed)
    chain.on_change = table.clear
    local = LocalDelivery(table.deliver, start_thread=start_none)
    chain.add_tail(Fast())
    for message_type in 1, 2, 3, 1, 2:
        local.send(Message(message_type), "loopback")
    while local.step() or queue.step():
        pass
    assert journal == [
        *("preprocess 1", "fast 1"),
        "preprocess 2",
        *("preprocess 3", "fast 3"),
        *("preprocess 1", "fast 1"),
        "preprocess 2",
        *("queued 2", "queued 2"),
    ]
    assert asked == [1, 2, 3], "once per type"
    assert chain.perf.get("msgr_callback_exceptions") == 1
    chain.add_tail(Fast())
    local.send(Message(1), "loopback")
    local.step()
    assert asked == [1, 2, 3, 1], "asked again after the chain has changed"
