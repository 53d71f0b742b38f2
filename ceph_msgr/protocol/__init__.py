"""msgr2's control plane, sans-I/O: handshake, reconnect, take-over, reset.

Pure state machines: events in, actions out. No socket, lock, thread, clock or chance inside, so that every race can be
replayed. Start reading at ``session``.
"""
