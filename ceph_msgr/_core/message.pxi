# Message, the memory it lends, and the queue entries made from it.

cdef extern from *:
    """
    static PyObject *new_without_init(PyObject *cls, PyObject *no_args)
    {
        return ((PyTypeObject *)cls)->tp_new((PyTypeObject *)cls, no_args, NULL);
    }
    """
    # cls.__new__(cls), without looking anything up.
    object new_without_init(cls, tuple no_args)

cdef tuple NO_ARGS = ()
cdef object EMPTY_VIEW = memoryview(b"")
cdef tuple SEGMENT_NAMES = ("front", "middle", "data")

cdef enum:
    PRIO_DEFAULT = 127
    # "complete, no crc of its own": what every msgr2 sender puts there.
    FLAGS_SENT = 3
    MAX_SEGMENT_LEN = 0xFFFFFFFF


@cython.final
@cython.no_gc
@cython.freelist(64)
cdef class SegmentMemory:
    # Lends one segment of a received message, and keeps the message's memory alive for it.
    cdef const cmsgr_msg *msg
    cdef int index
    cdef int generation

    def __dealloc__(self):
        if self.msg and self.generation == current_generation:
            cmsgr_msg_unref(self.msg)
            live.messages -= 1

    def __getbuffer__(self, Py_buffer *view, int flags):
        cdef const cmsgr_span *segment = &self.msg.segment[self.index]
        PyBuffer_FillInfo(view, self, <void *>segment.data, segment.len, True, flags)


cdef object view_segment(const cmsgr_msg *msg, int index):
    cdef SegmentMemory memory
    if not msg.segment[index].len:
        return EMPTY_VIEW
    memory = SegmentMemory.__new__(SegmentMemory)
    cmsgr_msg_ref(msg)
    live.messages += 1
    memory.msg = msg
    memory.index = index
    memory.generation = current_generation
    return PyMemoryView_FromObject(memory)


cdef object require_buffer(value, str name):
    if not PyObject_CheckBuffer(value):
        raise TypeError(f"{name} must be a bytes-like object, not {type(value).__name__}")
    return value


cdef uint16_t require_u16(value, str name) except? 0xFFFF:
    try:
        return value
    except OverflowError:
        raise ValueError(f"{name} {value} is not within 0..65535") from None


cdef uint64_t require_u64(value, str name) except? 0xFFFFFFFFFFFFFFFF:
    try:
        return value
    except OverflowError:
        raise ValueError(f"{name} {value} is not within 0..2**64-1") from None


# What a class overrides, as a sum of these; asked for once per class.
cdef enum:
    ENCODES = 1
    DECODES = 2

cdef dict class_flags = {}


cdef int flags_of(cls) except -1:
    flags = class_flags.get(cls)
    if flags is None:
        flags = 0
        base = <object>Message  # as an object: else Cython would take its C methods
        if cls.encode_payload is not base.encode_payload:
            flags |= ENCODES
        if cls.decode_payload is not base.decode_payload:
            flags |= DECODES
        class_flags[cls] = flags
    return flags


@cython.freelist(256)
cdef class Message:
    def __init__(self, type, front=b"", middle=b"", data=b"", *, priority=PRIO_DEFAULT, tid=0, version=1,
                 compat_version=1):
        self.header.type = require_u16(type, "type")
        self.header.priority = require_u16(priority, "priority")
        self.header.tid = require_u64(tid, "tid")
        self.header.version = require_u16(version, "version")
        self.header.compat_version = require_u16(compat_version, "compat_version")
        self.front_segment = require_buffer(front, "front")
        self.middle_segment = require_buffer(middle, "middle")
        self.data_segment = require_buffer(data, "data")

    @classmethod
    def from_segments(cls, type, front=b"", middle=b"", data=b"", *, priority=PRIO_DEFAULT, tid=0, version=1,
                      compat_version=1):
        cdef Message self = new_without_init(cls, NO_ARGS)
        Message.__init__(self, type, front, middle, data, priority=priority, tid=tid, version=version,
                         compat_version=compat_version)
        self.decode_payload()
        return self

    def __dealloc__(self):
        if self.msg and self.generation == current_generation:
            cmsgr_msg_unref(self.msg)
            live.messages -= 1

    cdef void attach(self, const cmsgr_msg *msg) noexcept:
        self.header = msg.header
        self.msg = msg
        self.is_undispatched = True
        self.generation = current_generation
        live.messages += 1

    @property
    def type(self):
        return self.header.type

    @property
    def tid(self):
        return self.header.tid

    @tid.setter
    def tid(self, tid):
        self.header.tid = require_u64(tid, "tid")

    @property
    def priority(self):
        return self.header.priority

    @priority.setter
    def priority(self, priority):
        self.header.priority = require_u16(priority, "priority")

    @property
    def version(self):
        return self.header.version

    @version.setter
    def version(self, version):
        self.header.version = require_u16(version, "version")

    @property
    def compat_version(self):
        return self.header.compat_version

    @compat_version.setter
    def compat_version(self, compat_version):
        self.header.compat_version = require_u16(compat_version, "compat_version")

    @property
    def seq(self):
        return self.header.seq

    @property
    def received_ns(self):
        return self.msg.received_ns if self.msg else 0

    @property
    def src(self):
        return None if self.connection is None else self.connection.peer_name

    @property
    def front(self):
        if self.front_segment is None:
            self.front_segment = view_segment(self.msg, 0) if self.msg else b""
        return self.front_segment

    @front.setter
    def front(self, value):
        self.front_segment = require_buffer(value, "front")

    @property
    def middle(self):
        if self.middle_segment is None:
            self.middle_segment = view_segment(self.msg, 1) if self.msg else b""
        return self.middle_segment

    @middle.setter
    def middle(self, value):
        self.middle_segment = require_buffer(value, "middle")

    @property
    def data(self):
        if self.data_segment is None:
            self.data_segment = view_segment(self.msg, 2) if self.msg else b""
        return self.data_segment

    @data.setter
    def data(self, value):
        self.data_segment = require_buffer(value, "data")

    cpdef encode_payload(self, uint64_t features):
        return self.front

    cpdef decode_payload(self):
        return None

    def encoded(self, uint64_t features):
        cdef Message plain = Message.__new__(Message)
        plain.front_segment = require_buffer(self.encode_payload(features), "front")
        plain.middle_segment = self.middle
        plain.data_segment = self.data
        plain.header = self.header
        plain.header.seq = 0
        return plain

    cdef object borrow_front(self, cmsgr_span *front):
        cdef const Py_buffer *view
        if self.msg and (self.front_segment is None or is_lent_by_c(self.front_segment)):
            front[0] = self.msg.segment[0]
            return self
        # Never the user's own view, which he may release.
        owner = PyMemoryView_FromObject(self.front)
        view = PyMemoryView_GET_BUFFER(owner)
        if not PyBuffer_IsContiguous(view, b"C"):
            owner = PyMemoryView_FromObject(PyBytes_FromObject(owner))
            view = PyMemoryView_GET_BUFFER(owner)
        front.data = view.buf
        front.len = view.len
        return owner

    def dispatched(self):
        if self.is_undispatched:
            self.is_undispatched = False
            if self.generation == current_generation:
                cmsgr_msg_dispatched(self.msg)

    def __repr__(self):
        return (f"<{self.__class__.__name__} type={self.header.type} tid={self.header.tid} seq={self.header.seq} "
                f"segments={memoryview(self.front).nbytes}+{memoryview(self.middle).nbytes}"
                f"+{memoryview(self.data).nbytes}>")


# ---- queue entries: what C keeps of a message ----

# The places in cmsgr_entry.owner: one per segment, and the message itself.
cdef enum:
    OWNER_MESSAGE = 3


cdef bint is_lent_by_c(value) noexcept:
    cdef PyObject *base
    if type(value) is not memoryview:
        return False
    base = <PyObject *>PyMemoryView_GET_BASE(value)
    return base != NULL and type(<object>base) is SegmentMemory


cdef int borrow_bytes(cmsgr_entry *entry, int index, bytes value) except -1:
    entry.segment[index].data = PyBytes_AS_STRING(value)
    entry.segment[index].len = PyBytes_GET_SIZE(value)
    if entry.segment[index].len:
        Py_INCREF(value)
        entry.owner[index] = <void *>value
    return 0


cdef int fill_segment(cmsgr_entry *entry, int index, value, bint borrow) except -1:
    # What can never change is borrowed, anything else copied, unless the sender promised not to touch it.
    cdef const Py_buffer *view
    cdef PyObject *base
    if isinstance(value, bytes):
        borrow_bytes(entry, index, value)
    else:
        if borrow or type(value) is not memoryview:
            value = PyMemoryView_FromObject(value)
        view = PyMemoryView_GET_BUFFER(value)
        base = <PyObject *>PyMemoryView_GET_BASE(value)
        if not PyBuffer_IsContiguous(view, b"C"):
            borrow_bytes(entry, index, PyBytes_FromObject(value))
        elif borrow or (base and (type(<object>base) is bytes or type(<object>base) is SegmentMemory)):
            entry.segment[index].data = view.buf
            entry.segment[index].len = view.len
            # The base and not the view, which its holder may release; a borrowed view is one of our own.
            owner = value if borrow else <object>base
            Py_INCREF(owner)
            entry.owner[index] = <void *>owner
        else:
            borrow_bytes(entry, index, PyBytes_FromStringAndSize(<const char *>view.buf, view.len))
    if entry.segment[index].len > MAX_SEGMENT_LEN:
        raise ValueError(f"{SEGMENT_NAMES[index]} has {entry.segment[index].len} bytes, "
                         f"a segment holds at most {MAX_SEGMENT_LEN}")
    return 0


cdef int hold_message(cmsgr_entry *entry, Message message) except -1:
    if not entry.owner[OWNER_MESSAGE]:
        Py_INCREF(message)
        entry.owner[OWNER_MESSAGE] = <void *>message
    return 0


cdef int fill_entry(cmsgr_entry *entry, Message message, front, bint borrow) except -1:
    # `front` is the encoded one, or None for the message's own.
    cdef int index
    cdef object value
    for index in range(3):
        if index == 0:
            value = message.front_segment if front is None else front
        elif index == 1:
            value = message.middle_segment
        else:
            value = message.data_segment
        if value is not None:
            fill_segment(entry, index, value, borrow)
        elif message.msg and message.msg.segment[index].len:
            entry.segment[index] = message.msg.segment[index]
            hold_message(entry, message)
    return 0


cdef void release_owners(cmsgr_entry *entry, int count) noexcept:
    cdef int i
    cdef void *owner
    for i in range(count):
        owner = entry.owner[i]
        if owner:
            entry.owner[i] = NULL
            Py_DECREF(<object>owner)


# Entries are made by whoever sends and freed on the worker, always under the interpreter lock, which so guards the spare ones.
# A batch of them is more than malloc keeps at hand for a thread. The last worker takes them along when it ends.
cdef extern from *:
    """
    #if defined(__SANITIZE_ADDRESS__)
    enum { SPARE_ENTRIES = 0 }; /* so that use after free is seen */
    #else
    enum { SPARE_ENTRIES = 1024 };
    #endif
    """
    enum:
        SPARE_ENTRIES

cdef cmsgr_entry *spare_entries = NULL
cdef int spare_count = 0


cdef cmsgr_entry *take_entry() noexcept:
    global spare_entries, spare_count
    cdef cmsgr_entry *entry = spare_entries
    if not entry:
        return cmsgr_entry_new(ENV)
    spare_entries = entry.next
    spare_count -= 1
    memset(entry, 0, sizeof(cmsgr_entry))
    return entry


cdef void free_entry(cmsgr_entry *entry) noexcept:
    global spare_entries, spare_count
    release_owners(entry, 4)
    live.entries -= 1
    if spare_count >= SPARE_ENTRIES or not live.workers:
        cmsgr_entry_free(ENV, entry)
        return
    entry.next = spare_entries
    spare_entries = entry
    spare_count += 1


cdef void free_spare_entries() noexcept:
    global spare_entries, spare_count
    cdef cmsgr_entry *entry
    while spare_entries:
        entry = spare_entries
        spare_entries = entry.next
        cmsgr_entry_free(ENV, entry)
    spare_count = 0


cdef void free_entries(cmsgr_entry *entry) noexcept:
    cdef cmsgr_entry *next
    while entry:
        next = entry.next
        free_entry(entry)
        entry = next


cdef cmsgr_entry *new_entry(Message message) except NULL:
    cdef cmsgr_entry *entry = take_entry()
    if not entry:
        raise MemoryError()
    live.entries += 1
    entry.header = message.header
    entry.header.seq = 0
    entry.header.ack_seq = 0
    entry.header.flags = FLAGS_SENT
    if not entry.header.priority:
        entry.header.priority = PRIO_DEFAULT
    return entry
