"""The public surface: a list that is complete, sorted and importable, and stubs that say what the compiled modules are."""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import ceph_msgr
from ceph_msgr import _core, auth, messages
from ceph_msgr.messages import osd_op
from ceph_msgr.testing import _sim, simulator
from ceph_msgr.tools import window

PACKAGE = Path(ceph_msgr.__file__).parent

# ---- names ----

#: What was promised to users. Names may be added here, never taken away.
PROMISED = {
    "ceph_msgr": "AuthError Config Connection ConnectionFault DecodeError Dispatcher EntityAddr EntityAddrVec EntityName "
    "EntityType EventCenter LocalProtocolError Message Messenger MessengerError Policy Processor ProtocolError "
    "RemoteProtocolError SendQueueFull Stack Throttle Throttled Worker auth messages metrics",
    "ceph_msgr.messages": "MMonGetMap MMonMap MOSDOp MOSDOpReply MPing register",
    "ceph_msgr.Messenger": "add_dispatcher_head add_dispatcher_tail bind client_reset connect_to create get_loopback_connection "
    "mark_down mark_down_all myaddrs rebind set_addrs set_default_policy set_policy set_policy_throttlers shutdown start wait "
    "__enter__ __exit__",
    "ceph_msgr.Policy": "lossless_client lossless_peer lossless_peer_reuse lossy_client stateful_server "
    "stateless_registered_server stateless_server",
    "ceph_msgr.Dispatcher": "ms_can_fast_dispatch ms_can_fast_dispatch_any ms_dispatch ms_fast_dispatch ms_fast_preprocess "
    "ms_handle_accept ms_handle_connect ms_handle_drained ms_handle_fast_accept ms_handle_fast_connect ms_handle_refused "
    "ms_handle_remote_reset ms_handle_reset",
    "ceph_msgr.Connection": "con_mode features flush is_connected last_keepalive last_keepalive_ack mark_disposable mark_down "
    "peer_addrs peer_name send_keepalive send_message wait_writable",
    "ceph_msgr.Message": "compat_version connection data front middle priority seq src tid type version",
}


@pytest.mark.parametrize("name", PROMISED)
def test_what_was_promised_is_there(name: str) -> None:
    thing: Any = ceph_msgr
    for part in name.split(".")[1:]:
        thing = getattr(thing, part)
    assert not [promised for promised in PROMISED[name].split() if not hasattr(thing, promised)]


def test_a_connection_carries_the_users_own() -> None:
    assert "priv" in inspect.getsource(ceph_msgr.Connection.__init__)  # an attribute of instances


def test_all_holds_exactly_what_is_promised() -> None:
    assert set(ceph_msgr.__all__) == set(PROMISED["ceph_msgr"].split())


@pytest.mark.parametrize("module", [ceph_msgr, _core, auth, messages, simulator], ids=lambda module: module.__name__)
def test_all_is_sorted_unique_and_importable(module: ModuleType) -> None:
    def constants_classes_others(name: str) -> tuple[int, str]:
        return (0 if name.isupper() else 1 if name[0].isupper() else 2), name

    assert list(module.__all__) == sorted(set(module.__all__), key=constants_classes_others)
    assert not [name for name in module.__all__ if not hasattr(module, name)]


def imported_names(module: ModuleType) -> set[str]:
    """What the source of a package's ``__init__`` imports by name."""
    tree = ast.parse(Path(str(module.__file__)).read_text())
    found = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module != "__future__"]
    return {alias.asname or alias.name for node in found for alias in node.names}


@pytest.mark.parametrize("module", [ceph_msgr, _core, auth, messages, simulator], ids=lambda module: module.__name__)
def test_all_names_everything_that_is_imported(module: ModuleType) -> None:
    assert imported_names(module) == set(module.__all__)


def test_every_error_is_public() -> None:
    errors = importlib.import_module("ceph_msgr.errors")
    assert set(errors.__all__) <= set(ceph_msgr.__all__)


def test_a_public_name_has_one_home() -> None:
    for name in ceph_msgr.__all__:
        thing = getattr(ceph_msgr, name)
        assert isinstance(thing, ModuleType) or thing.__module__.startswith("ceph_msgr."), name


def test_the_package_is_typed() -> None:
    assert (PACKAGE / "py.typed").exists()


# ---- stubs of compiled modules ----

STUB_OF = {
    _core: PACKAGE / "_core" / "__init__.pyi",
    osd_op: PACKAGE / "messages" / "osd_op.pyi",
    _sim: PACKAGE / "testing" / "_sim.pyi",
    window: PACKAGE / "tools" / "window.pyi",
}
each_stub = pytest.mark.parametrize(
    ("module", "path"), STUB_OF.items(), ids=lambda value: getattr(value, "name", getattr(value, "__name__", ""))
)


def stub_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def stub_names(body: list[ast.stmt]) -> dict[str, ast.stmt]:
    """What is defined there, imports, aliases and protocols left out: these exist for the stub alone."""
    names: dict[str, ast.stmt] = {}
    for node in body:
        if isinstance(node, ast.ClassDef) and any(isinstance(base, ast.Name) and base.id == "Protocol" for base in node.bases):
            continue
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names[node.name] = node
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names[node.target.id] = node
    return names


def stub_classes() -> Iterator[tuple[str, ModuleType, ast.ClassDef]]:
    for module, path in STUB_OF.items():
        if path.exists():
            for name, node in stub_names(stub_of(path).body).items():
                if isinstance(node, ast.ClassDef):
                    yield f"{module.__name__}.{name}", module, node


CLASSES = list(stub_classes())


def public(names: set[str]) -> set[str]:
    return {name for name in names if not name.startswith("_")}


@each_stub
def test_every_compiled_module_has_a_stub(module: ModuleType, path: Path) -> None:
    assert path.exists(), f"{module.__name__} has no stub"


def test_every_compiled_module_is_in_this_test() -> None:
    compiled = {path.relative_to(PACKAGE).with_suffix("") for path in PACKAGE.rglob("*.pyx")}
    assert compiled == {Path("_core/_core"), Path("messages/osd_op"), Path("testing/_sim"), Path("tools/window")}


def test_the_cores_stub_names_what_the_module_has() -> None:
    assert public(set(stub_names(stub_of(STUB_OF[_core]).body))) == set(_core.__all__)


def test_the_messages_stub_names_what_the_module_has() -> None:
    stubbed = public(set(stub_names(stub_of(STUB_OF[osd_op]).body)))
    own = {name for name, thing in vars(osd_op).items() if isinstance(thing, type) and thing.__module__ == osd_op.__name__}
    assert stubbed <= set(vars(osd_op))
    assert public(own) - {"LateField"} <= stubbed  # a descriptor of the fields


@pytest.mark.parametrize(("name", "module", "stub"), CLASSES, ids=[name for name, _, _ in CLASSES])
def test_members_of_the_stub_exist_and_all_are_there(name: str, module: ModuleType, stub: ast.ClassDef) -> None:
    cls = getattr(module, stub.name)
    stubbed = public(set(stub_names(stub.body)))
    assert not {member for member in stubbed if not hasattr(cls, member)}
    assert not public(set(vars(cls)) - set(dir(cls.__base__))) - stubbed


@pytest.mark.parametrize(("name", "module", "stub"), CLASSES, ids=[name for name, _, _ in CLASSES])
def test_methods_take_what_the_stub_says(name: str, module: ModuleType, stub: ast.ClassDef) -> None:
    wrong = []
    for member, node in stub_names(stub.body).items():
        if isinstance(node, ast.FunctionDef) and not member.startswith("__") and not node.decorator_list:
            wrong += _differences(f"{name}.{member}", getattr(getattr(module, stub.name), member), node)
    assert not wrong


@each_stub
def test_functions_take_what_the_stub_says(module: ModuleType, path: Path) -> None:
    wrong = []
    for name, node in stub_names(stub_of(path).body).items():
        if isinstance(node, ast.FunctionDef):
            wrong += _differences(name, getattr(module, name), node)
    assert not wrong


def test_the_simulated_worlds_stub_names_what_the_module_has() -> None:
    assert set(stub_names(stub_of(STUB_OF[_sim]).body)) == {
        name for name, thing in vars(_sim).items() if not name.startswith("_") and not isinstance(thing, ModuleType)
    }


def _differences(name: str, function: Any, stub: ast.FunctionDef) -> list[str]:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return []  # a C method that does not tell
    plain = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    keywords = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    said = [a.arg for a in (*stub.args.posonlyargs, *stub.args.args)], [a.arg for a in stub.args.kwonlyargs]
    return [] if (plain, keywords) == said else [f"{name}{(plain, keywords)}, the stub says {said}"]
