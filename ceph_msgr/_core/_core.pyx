# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, binding=True
"""The binding of cmsgr, the C core. Its typed face and its manual are __init__.pyi.

Rules that hold in every part:

- Convert, own, release, translate errors: no protocol decision is made here.
- Registration holds the strong reference. C gets pointers to Python objects either with a reference of their own (file
  callbacks, timers, posts, queued segments) or as a way back that the object itself takes away when it ends (sessions,
  streams). The latter are not weakly referenceable: the callback of a weak reference would run between the object's
  end and that moment.
- Every call from C into Python happens while one of our own methods holds the interpreter lock (cmsgr_center_dispatch,
  cmsgr_center_free): trampolines are plain `noexcept` functions that hand exceptions to report().
- The interpreter lock may be held while taking one of C's short locks, never the other way round.
- After fork() the child refuses: its copies share epoll with the parent, and locks may be held by threads that are gone.
"""

cimport cython
from cpython.buffer cimport (
    PyBUF_SIMPLE, PyBuffer_FillInfo, PyBuffer_IsContiguous, PyBuffer_Release, PyObject_CheckBuffer, PyObject_GetBuffer,
)
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromObject, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.exc cimport PyErr_CheckSignals
from cpython.memoryview cimport PyMemoryView_FromObject, PyMemoryView_GET_BASE, PyMemoryView_GET_BUFFER
from cpython.pycapsule cimport PyCapsule_GetPointer
from cpython.pythread cimport PyThread_get_thread_ident
from cpython.ref cimport Py_DECREF, Py_INCREF, PyObject
from libc.errno cimport EAGAIN, ENOMEM
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy, memset

from ceph_msgr._core.cmsgr cimport *

import logging
import os
import threading
import warnings

from ceph_msgr.errors import (
    ConnectionFault, DecodeError, LocalProtocolError, RemoteProtocolError, SendQueueFull,
)
from ceph_msgr.wire.addr import AddrType, EntityAddr

include "env.pxi"
include "errors.pxi"
include "cipher.pxi"
include "compress.pxi"
include "frame.pxi"
include "center.pxi"
include "sock.pxi"
include "throttle.pxi"
include "message.pxi"
include "dispatch.pxi"
include "session.pxi"
include "stream.pxi"
include "worker.pxi"
