"""Connections: the control plane's decisions and the data plane's bytes, joined for one peer.

``connection`` is what users see, ``async_connection`` the one over sockets, ``loopback`` the one to oneself.
"""
