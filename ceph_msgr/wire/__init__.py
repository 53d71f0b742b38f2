"""Values that travel in frames and messages: how they look in memory, as text and as bytes.

Nothing here knows of sockets, sessions or time. Every value class follows the ``Encodable`` protocol of ``encoding``.
"""
