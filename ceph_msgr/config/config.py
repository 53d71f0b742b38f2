"""All options of a messenger, under Ceph's names where Ceph has them."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

from ceph_msgr.config.option import Option, count, flag, microseconds, number, seconds, size, text, words

__all__ = ["Config"]

_KiB = 1 << 10
_MiB = 1 << 20
_FRAME_SEGMENT_MAX = 2**32 - 1

_MODES = "crc", "secure"
_STACK = "async+posix"
_ENTITIES = "mon", "mds", "osd", "client", "mgr"


class Config:
    """The values of all options.

    ``Config(ms_tcp_nodelay=False, ms_dispatch_throttle_bytes="64M")``; then read and assign attributes. Values may be
    given typed or as text. An unknown name and a bad value raise ``ValueError``; a misspelt attribute raises
    ``AttributeError``. Any thread may read and assign; a messenger looks at most options when it makes a connection,
    so a change acts on later ones.
    """

    __slots__ = ("_values",)

    def __init__(self, **options: object) -> None:
        #: Only what was set; everything else has its default.
        self._values: dict[str, Any] = {}
        for name, value in options.items():
            self.set(name, value)

    def set(self, name: str, value: object) -> None:
        """Set an option by name, as from a command line or a file."""
        option = _OPTIONS.get(name)
        if option is None:
            close = get_close_matches(name, _OPTIONS, n=1)
            hint = f", did you mean {close[0]}?" if close else ""
            raise ValueError(f'there is no option "{name}"{hint}')
        self._values[name] = option.convert(value)

    @staticmethod
    def options() -> tuple[Option[Any], ...]:
        """The record of every option, in the order of this file."""
        return tuple(_OPTIONS.values())

    def __repr__(self) -> str:
        return f"Config({', '.join(f'{name}={value!r}' for name, value in self._values.items())})"

    # ---- threads and network stack ----

    ms_type = text(
        _STACK, "Implementation of the messenger. Accepted, no effect: there is only this one, any other is refused.", _STACK
    )
    ms_public_type = text("", "The same for the public network. Accepted, no effect: a messenger knows no networks.", "", _STACK)
    ms_cluster_type = text("", "The same for the cluster network. Accepted, no effect, as for the public one.", "", _STACK)
    ms_async_poll_us = microseconds(
        -1,
        "How long a worker looks for events before it sleeps: 0 never, -1 as it pays (at most 200 us, and only while that has "
        "been finding something), else always so long. A wakeup costs more than the work on a small message.",
        minimum=-1,
    )
    ms_async_op_threads = count(
        1,
        "Worker threads. More than one pays only where encryption or large messages dominate, because the Python code "
        "of all workers shares one interpreter lock.",
        minimum=1,
        maximum=24,
    )
    ms_async_reap_threshold = count(
        5, "Closed connections collected before they are released. Accepted, no effect: each is released at once."
    )
    ms_time_events_min_wait_interval = microseconds(
        1000,
        "Shortest sleep of a worker while a timer is pending. Accepted, no effect: sleeps are counted in nanoseconds, or rounded "
        "up to milliseconds, so that no timer makes a worker spin.",
    )

    # ---- TCP ----

    ms_tcp_nodelay = flag(True, "Send small segments at once instead of gathering them (TCP_NODELAY).")
    ms_tcp_rcvbuf = size(
        0, "Kernel receive buffer of a socket (SO_RCVBUF); 0 leaves it to the system.", maximum=2**31 - 1
    )
    ms_tcp_prefetch_max_size = size(
        64 * _KiB,
        "Accepted, no effect: a worker reads up to 256 KiB at once into one buffer that all its connections share.",
        minimum=4 * _KiB,
        maximum=16 * _MiB,
    )
    ms_tcp_listen_backlog = count(512, "Connections the kernel holds until they are accepted.", minimum=1)
    ms_tcp_user_timeout = seconds(
        30,
        "How long sent bytes may stay without an answer of the peer's kernel until the connection faults "
        "(TCP_USER_TIMEOUT); 0 leaves it to the system, which takes many minutes to notice a cut link.",
    )
    mon_use_min_delay_socket = flag(False, "Raise the socket priority between monitors. Accepted, no effect yet.")
    osd_heartbeat_use_min_delay_socket = flag(
        False, "Raise the socket priority of heartbeats. Accepted, no effect yet."
    )

    # ---- addresses and binding ----

    ms_learn_addr_from_peer = flag(
        True, "Learn the own ip from what the first peer sees; otherwise from the local end of the socket."
    )
    ms_bind_ipv4 = flag(
        True, "Bind IPv4 addresses. Accepted, no effect: bound is what bind() is told, for the program picks addresses."
    )
    ms_bind_ipv6 = flag(False, "An address to be bound that has no ip becomes the wildcard of IPv6, not of IPv4.")
    ms_bind_prefer_ipv4 = flag(
        False, "Where both families are bound, put IPv4 first. Accepted, no effect: a vector keeps the order bind() is told."
    )
    ms_bind_msgr1 = flag(True, "Bind the first messenger protocol too. Accepted, no effect: only msgr2 is spoken.")
    ms_bind_msgr2 = flag(True, "Bind msgr2. Accepted, no effect: every address is bound for msgr2.")
    ms_bind_port_min = count(
        6800, "First port tried when none is given; with 0 for this and the last, the kernel picks one.", maximum=65535
    )
    ms_bind_port_max = count(7568, "Last port tried when none is given.", maximum=65535)
    ms_bind_retry_count = count(3, "How often binding is tried again after it failed.")
    ms_bind_retry_delay = seconds(5, "Pause between these attempts.")
    ms_bind_before_connect = flag(False, "Bind an outgoing socket to the own ip before it connects.")
    ms_max_accept_failures = count(4, "Failures of accept in a row until they are reported as an error; never fatal.")

    # ---- authentication modes ----

    ms_mon_cluster_mode = words(("secure", "crc"), "Modes between monitors, most preferred first.", *_MODES)
    ms_mon_service_mode = words(("secure", "crc"), "Modes a monitor permits all others.", *_MODES)
    ms_mon_client_mode = words(("secure", "crc"), "Modes clients want with a monitor, most preferred first.", *_MODES)
    ms_cluster_mode = words(("crc", "secure"), "Modes between daemons, most preferred first.", *_MODES)
    ms_service_mode = words(("crc", "secure"), "Modes a daemon permits its clients.", *_MODES)
    ms_client_mode = words(("crc", "secure"), "Modes clients want with a daemon, most preferred first.", *_MODES)

    # ---- compression and checksums ----

    # These act on connections made after the change; both sides must be so configured.
    ms_osd_compress_mode = text("none", "Whether messages to and from OSDs are compressed.", "none", "force")
    ms_osd_compress_min_size = size(1 * _KiB, "Smaller messages are sent uncompressed.")
    ms_osd_compression_algorithm = words(
        ("snappy",),
        "Compression algorithms, most preferred first; none disables. What was not there at the build is left out.",
        "none", "snappy", "zlib", "zstd", "lz4",
    )
    ms_compress_secure = flag(False, "Compress on encrypted connections too.")
    ms_crc_header = flag(True, "Compute and check the checksums of frame headers. Accepted, no effect: msgr2 always does.")
    ms_crc_data = flag(
        True,
        "Compute and check the checksum of the data segment. Accepted, no effect: it is always done, for a peer that checks "
        "would refuse a frame without.",
    )

    # ---- reconnecting and time-outs ----

    ms_initial_backoff = seconds(0.2, "Pause before the second attempt to reconnect; it doubles with each further one.")
    ms_max_backoff = seconds(15, "Longest pause between attempts to reconnect.")
    ms_backoff_jitter = number(
        0.2, "Share by which a pause is made shorter or longer at random, so that many clients spread out.", maximum=1
    )
    ms_connection_ready_timeout = seconds(10, "From dialling until the session is ready; then the attempt has failed.")
    ms_connection_idle_timeout = seconds(900, "A ready connection on which nothing is read or written for so long faults.")
    ms_accept_handshake_timeout = seconds(10, "From accepting until the session is ready; then the socket is closed.")
    ms_accept_max_handshakes = count(
        1024,
        "Accepted sockets whose handshake is unfinished; while there are so many, no more are accepted.",
        minimum=1,
    )
    ms_keepalive_interval = seconds(0, "Send a keepalive on every ready connection this often; 0 never does by itself.")
    ms_keepalive_timeout = seconds(0, "A keepalive unanswered for so long faults the connection; 0 never does.")

    # ---- bounds on memory ----

    ms_dispatch_throttle_messages = count(
        64 * 1024,
        "Messages read and not yet dispatched, per messenger; 0 is no bound. Small messages weigh next to nothing in bytes.",
    )
    ms_dispatch_throttle_bytes = size(
        100 * _MiB, "Messages read but not yet dispatched, per messenger; 0 is unbounded."
    )
    ms_client_throttle_retry_time_interval = microseconds(
        5000, "Pause before a refused throttle is asked again. Accepted, no effect: waiters are woken."
    )
    ms_send_queue_max_bytes = size(
        64 * _MiB,
        "Messages unsent or unacknowledged, per connection; past it sending raises SendQueueFull. An empty queue takes "
        "any one message; 0 is unbounded.",
    )
    ms_max_front_bytes = size(64 * _MiB, "Longest front of a received message.", maximum=_FRAME_SEGMENT_MAX)
    ms_max_middle_bytes = size(64 * _MiB, "Longest middle of a received message.", maximum=_FRAME_SEGMENT_MAX)
    ms_max_data_bytes = size(256 * _MiB, "Longest data of a received message.", maximum=_FRAME_SEGMENT_MAX)
    ms_max_control_bytes = size(
        1 * _MiB, "Longest segment of any other received frame.", minimum=1 * _KiB, maximum=_FRAME_SEGMENT_MAX
    )
    ms_pq_max_tokens_per_priority = count(16 * _MiB, "Most tokens a priority below 64 can save up.", minimum=1)
    ms_pq_min_cost = size(64 * _KiB, "Least cost of a message in the dispatch queue.")

    # ---- strictness and fault injection, for tests ----

    # What these call fatal is a log line of level critical, and is handed to Messenger.on_fatal, which may abort.
    ms_die_on_bad_msg = flag(False, "A message that cannot be decoded (DecodeError) is fatal, instead of dropped.")
    ms_die_on_unhandled_msg = flag(False, "A message no dispatcher takes is fatal.")
    ms_die_on_old_message = flag(False, "A repeated sequence number is fatal, instead of dropped and counted.")
    ms_die_on_skipped_message = flag(False, "A skipped sequence number is fatal, instead of counted.")
    ms_die_on_bug = flag(False, "An event that a connection cannot handle is fatal, instead of the end of that connection.")
    ms_dump_on_send = flag(False, "Log every message sent in hexadecimal. Accepted, no effect yet.")
    ms_dump_corrupt_message_level = count(
        1, "Log level of the dump of a corrupt message. Accepted, no effect yet.", maximum=30
    )
    ms_inject_socket_failures = count(0, "Shut the socket down at one of this many reads and writes; 0 never does.")
    ms_inject_internal_delays = seconds(
        0, "Accepting, looking a session up, taking over and faulting come so much later; the worker goes on meanwhile."
    )
    ms_inject_delay_type = words((), "Delay received messages from peers of these types, before they are dispatched.", *_ENTITIES)
    ms_inject_delay_probability = number(0, "Share of these messages that is delayed.", maximum=1)
    ms_inject_delay_max = seconds(1, "Longest such delay; each is random up to it. The order of messages is kept.")
    ms_inject_network_congestion = count(0, "Only one of this many attempts to send really writes; 0 lets all write.")
    # These and the delays concern connections made while one of them is set; there they may be changed at any time.
    ms_blackhole_osd = flag(False, "Drop all messages to and from OSDs; connections stay up.")
    ms_blackhole_mon = flag(False, "Drop all messages to and from monitors.")
    ms_blackhole_mds = flag(False, "Drop all messages to and from MDSs.")
    ms_blackhole_mgr = flag(False, "Drop all messages to and from managers.")
    ms_blackhole_client = flag(False, "Drop all messages to and from clients.")


_OPTIONS: dict[str, Option[Any]] = {name: value for name, value in vars(Config).items() if isinstance(value, Option)}
