"""The perf tools on a stack that is set up first, because they have no option for what it decides:
``python -m bench.peers.tool POLL_US WORKERS server|client [OPTION ...]``."""

from __future__ import annotations

import sys

from ceph_msgr import Stack
from ceph_msgr.tools import perf_msgr_client, perf_msgr_server


def main() -> int:
    poll_us, workers, role, *options = sys.argv[1:]
    # Whoever comes first decides; the tools' messengers then find this one.
    Stack.default(workers=int(workers), poll_us=int(poll_us))
    return (perf_msgr_server if role == "server" else perf_msgr_client).main(options)


if __name__ == "__main__":
    sys.exit(main())
