# What other compiled modules may see of the core: Message, so that a typed message can be a C class.

from libc.stdint cimport uint64_t

from ceph_msgr._core.cmsgr cimport cmsgr_header, cmsgr_msg, cmsgr_span


cdef class Message:
    cdef cmsgr_header header
    # Received: one reference, and the segments are its memory. NULL for a message made here.
    cdef const cmsgr_msg *msg
    cdef object front_segment, middle_segment, data_segment
    cdef public object connection
    # The dispatch throttle has not got its amount back yet.
    cdef bint is_undispatched
    cdef int generation
    cdef object __weakref__

    # Makes it a received message; takes over one reference to msg.
    cdef void attach(self, const cmsgr_msg *msg) noexcept
    cpdef encode_payload(self, uint64_t features)
    cpdef decode_payload(self)
    # The front's bytes; `owner` must live as long as they are looked at.
    cdef object borrow_front(self, cmsgr_span *front)
