"""Options: names, defaults, ranges, and what happens to wrong ones."""

from __future__ import annotations

import pytest

from ceph_msgr.config import Config, Option

MIB = 1 << 20

# What the behaviour contract and the design promise.
DEFAULTS = {
    "ms_type": "async+posix",
    "ms_mon_cluster_mode": ("secure", "crc"),
    "ms_mon_service_mode": ("secure", "crc"),
    "ms_mon_client_mode": ("secure", "crc"),
    "ms_cluster_mode": ("crc", "secure"),
    "ms_service_mode": ("crc", "secure"),
    "ms_client_mode": ("crc", "secure"),
    "ms_osd_compress_mode": "none",
    "ms_osd_compress_min_size": 1024,
    "ms_osd_compression_algorithm": ("snappy",),
    "ms_compress_secure": False,
    "ms_learn_addr_from_peer": True,
    "ms_tcp_nodelay": True,
    "ms_tcp_rcvbuf": 0,
    "ms_tcp_prefetch_max_size": 65536,
    "ms_tcp_listen_backlog": 512,
    "ms_initial_backoff": 0.2,
    "ms_max_backoff": 15.0,
    "ms_connection_ready_timeout": 10.0,
    "ms_connection_idle_timeout": 900.0,
    "ms_crc_data": True,
    "ms_crc_header": True,
    "ms_dispatch_throttle_bytes": 100 * MIB,
    "ms_client_throttle_retry_time_interval": 5000,
    "ms_time_events_min_wait_interval": 1000,
    "ms_async_op_threads": 1,
    "ms_async_reap_threshold": 5,
    "ms_max_accept_failures": 4,
    "ms_bind_ipv4": True,
    "ms_bind_ipv6": False,
    "ms_bind_prefer_ipv4": False,
    "ms_bind_msgr1": True,
    "ms_bind_msgr2": True,
    "ms_bind_port_min": 6800,
    "ms_bind_port_max": 7568,
    "ms_bind_retry_count": 3,
    "ms_bind_retry_delay": 5.0,
    "ms_bind_before_connect": False,
    "ms_pq_max_tokens_per_priority": 16 * MIB,
    "ms_pq_min_cost": 65536,
    "ms_die_on_bad_msg": False,
    "ms_die_on_unhandled_msg": False,
    "ms_die_on_old_message": False,
    "ms_die_on_skipped_message": False,
    "ms_die_on_bug": False,
    "ms_inject_socket_failures": 0,
    "ms_inject_internal_delays": 0.0,
    "ms_inject_delay_type": (),
    "ms_inject_delay_probability": 0.0,
    "ms_inject_delay_max": 1.0,
    "ms_inject_network_congestion": 0,
    "ms_blackhole_osd": False,
    "ms_blackhole_mon": False,
    "ms_blackhole_mds": False,
    "ms_blackhole_mgr": False,
    "ms_blackhole_client": False,
    "ms_send_queue_max_bytes": 64 * MIB,
    "ms_tcp_user_timeout": 30.0,
    "ms_accept_handshake_timeout": 10.0,
    "ms_keepalive_interval": 0.0,
    "ms_keepalive_timeout": 0.0,
    "ms_backoff_jitter": 0.2,
    "ms_max_front_bytes": 64 * MIB,
    "ms_max_middle_bytes": 64 * MIB,
    "ms_max_data_bytes": 256 * MIB,
    "ms_max_control_bytes": 1 * MIB,
}


@pytest.mark.parametrize("name", DEFAULTS)
def test_defaults(name: str) -> None:
    value = getattr(Config(), name)
    assert value == DEFAULTS[name]
    assert type(value) is type(DEFAULTS[name])


@pytest.mark.parametrize("option", Config.options(), ids=lambda option: option.name)
def test_every_option_is_a_complete_record(option: Option[object]) -> None:
    assert getattr(Config, option.name) is option
    assert option.convert(option.default) == option.default, "the default is allowed"
    assert option.meaning.endswith(".")
    assert option.unit in ("", "bytes", "seconds", "microseconds")
    assert option.expects
    if option.type in (int, float):
        assert option.minimum < option.maximum


def test_the_values_of_two_configs_are_independent() -> None:
    changed = Config(ms_tcp_nodelay=False)
    assert not changed.ms_tcp_nodelay
    assert Config().ms_tcp_nodelay
    assert repr(changed) == "Config(ms_tcp_nodelay=False)"


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("ms_tcp_nodelay", "false", False),
        ("ms_tcp_nodelay", "No", False),
        ("ms_bind_ipv6", "true", True),
        ("ms_bind_ipv6", "1", True),
        ("ms_dispatch_throttle_bytes", "100M", 100 * MIB),
        ("ms_dispatch_throttle_bytes", "100 MiB", 100 * MIB),
        ("ms_dispatch_throttle_bytes", "64k", 65536),
        ("ms_dispatch_throttle_bytes", "2G", 2 << 30),
        ("ms_dispatch_throttle_bytes", "12345", 12345),
        ("ms_initial_backoff", "0.2", 0.2),
        ("ms_initial_backoff", "3", 3.0),
        ("ms_async_op_threads", " 24 ", 24),
        ("ms_client_mode", "secure crc", ("secure", "crc")),
        ("ms_client_mode", "crc,secure", ("crc", "secure")),
        ("ms_inject_delay_type", "", ()),
        ("ms_inject_delay_type", "osd mon", ("osd", "mon")),
        ("ms_osd_compress_mode", "force", "force"),
    ],
)
def test_values_given_as_text(name: str, text: str, value: object) -> None:
    config = Config()
    config.set(name, text)
    assert getattr(config, name) == value
    assert type(getattr(config, name)) is type(value)


def test_typed_values_and_attributes() -> None:
    config = Config(ms_initial_backoff=1, ms_client_mode=["secure"])
    assert config.ms_initial_backoff == 1.0
    assert config.ms_client_mode == ("secure",)
    config.ms_max_backoff = 2.5
    config.ms_send_queue_max_bytes = "1M"  # text is fine for attributes too
    assert (config.ms_max_backoff, config.ms_send_queue_max_bytes) == (2.5, MIB)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("ms_tcp_nodelay", 1, "true or false"),
        ("ms_tcp_nodelay", "maybe", "true or false"),
        ("ms_async_op_threads", 0, "an integer from 1 to 24"),
        ("ms_async_op_threads", 25, "an integer from 1 to 24"),
        ("ms_async_op_threads", True, "an integer from 1 to 24"),
        ("ms_async_op_threads", 2.0, "an integer from 1 to 24"),
        ("ms_async_op_threads", "2K", "an integer from 1 to 24"),
        ("ms_async_op_threads", None, "an integer from 1 to 24"),
        ("ms_bind_port_min", 65536, "an integer from 0 to 65535"),
        ("ms_dispatch_throttle_bytes", "100MB", "bytes from 0 to 1099511627776, such as 4096, 64K or 100M"),
        ("ms_dispatch_throttle_bytes", "-1", "bytes from 0"),
        ("ms_max_data_bytes", "4G", "bytes from 0 to 4294967295"),
        ("ms_initial_backoff", -0.1, "a number of seconds from 0 to 1000000000"),
        ("ms_initial_backoff", "nan", "a number of seconds from 0"),
        ("ms_initial_backoff", float("inf"), "a number of seconds from 0"),
        ("ms_backoff_jitter", 1.5, "a number from 0 to 1"),
        ("ms_time_events_min_wait_interval", 0.5, "an integer of microseconds from 0"),
        ("ms_client_mode", "crc safe", "a list of crc, secure"),
        ("ms_client_mode", 3, "a list of crc, secure"),
        ("ms_client_mode", (1,), "a list of crc, secure"),
        ("ms_type", "async+rdma", "one of 'async+posix'"),
        ("ms_type", 5, "one of 'async+posix'"),
    ],
)
def test_bad_values(name: str, value: object, expected: str) -> None:
    config = Config()
    with pytest.raises(ValueError) as by_set:
        config.set(name, value)
    assert str(by_set.value).startswith(f"option {name} cannot be {value!r}: expected {expected}")
    with pytest.raises(ValueError) as by_attribute:
        setattr(config, name, value)
    assert str(by_attribute.value) == str(by_set.value)
    assert getattr(config, name) == getattr(Config(), name), "a refused value changes nothing"


def test_unknown_names() -> None:
    with pytest.raises(ValueError, match=r'^there is no option "ms_tcp_nodelya", did you mean ms_tcp_nodelay\?$'):
        Config(ms_tcp_nodelya=True)
    with pytest.raises(ValueError, match=r'^there is no option "zzz"$'):
        Config().set("zzz", 1)
    with pytest.raises(AttributeError):
        Config().ms_tcp_nodelya  # type: ignore[attr-defined]  # noqa: B018
    with pytest.raises(AttributeError):
        Config().ms_tcp_nodelya = True  # type: ignore[attr-defined]
