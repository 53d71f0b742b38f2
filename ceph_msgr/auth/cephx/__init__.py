"""Method cephx, sans-I/O: shared keys, tickets, authorizers ("Method cephx, common pieces" and what follows it).

    keys        a key, and sealing things with it
    tickets     what a monitor hands out: ticket blobs, their contents, the replies that carry them
    payloads    what the AUTH frames of a login and of an authorizer carry, for both sides
    login       dialling: a login at a monitor
    authorizer  dialling: an authorizer for a service
    client      CephxClient: the dialling side of one messenger, with its tickets
    service     CephxService: accepts authorizers
    monitor     CephxMonitor: accepts logins, with its clients' keys in a keyring
    rotating    the secrets a service opens tickets with

The public names are those of ``ceph_msgr.auth``.
"""

from __future__ import annotations
