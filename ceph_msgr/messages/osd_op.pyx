# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, binding=True
"""MOSDOp and MOSDOpReply, compiled: the messages of the perf tools' hot path. Their manual is osd_op.pyi."""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.stdint cimport int8_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from ceph_msgr._core._core cimport Message
from ceph_msgr._core.cmsgr cimport cmsgr_span

from ceph_msgr.errors import DecodeError
from ceph_msgr.wire.encoding import Utime, require_readable

cdef extern from "<endian.h>" nogil:
    uint16_t htole16(uint16_t value)
    uint32_t htole32(uint32_t value)
    uint64_t htole64(uint64_t value)
    uint16_t le16toh(uint16_t value)
    uint32_t le32toh(uint32_t value)
    uint64_t le64toh(uint64_t value)

cdef enum:
    TYPE_OP = 42
    TYPE_OP_REPLY = 43
    HEAD = 8
    OP_COMPAT = 3
    REPLY_COMPAT = 2
    PRIORITY = 127
    # What the request's flags lose in a reply: ack, onnvram, ondisk.
    FLAGS_OF_REPLY = 7
    OSD_OP_LEN = 38

SNAP_HEAD = 0xFFFFFFFFFFFFFFFE


include "osd_op_wire.pxi"


@cython.final
@cython.freelist(64)
cdef class OSDOp:
    cdef public uint16_t op
    cdef public uint32_t flags
    cdef public uint64_t offset, length, truncate_size
    cdef public uint32_t truncate_seq, payload_len

    def __init__(self, uint16_t op, *, uint32_t flags=0, uint64_t offset=0, uint64_t length=0, uint64_t truncate_size=0,
                 uint32_t truncate_seq=0, uint32_t payload_len=0):
        self.op = op
        self.flags = flags
        self.offset = offset
        self.length = length
        self.truncate_size = truncate_size
        self.truncate_seq = truncate_seq
        self.payload_len = payload_len

    cdef tuple fields(self):
        return (self.op, self.flags, self.offset, self.length, self.truncate_size, self.truncate_seq, self.payload_len)

    def __eq__(self, other):
        return (<OSDOp>other).fields() == self.fields() if isinstance(other, OSDOp) else NotImplemented

    __hash__ = None

    def __repr__(self):
        return f"OSDOp(0x{self.op:x}, offset={self.offset}, length={self.length}, payload_len={self.payload_len})"


# The fields of MOSDOp that are decoded when one of them is asked for.
cdef enum:
    CLIENT_INC
    MTIME
    KEY
    NAMESPACE
    LOCATOR_HASH
    OID
    OPS
    SNAPID
    SNAP_SEQ
    SNAPS
    RETRY_ATTEMPT
    FEATURES
    LATE_FIELDS


@cython.final
cdef class LateField:
    cdef int index

    def __cinit__(self, int index):
        self.index = index

    def __get__(self, instance, owner):
        if instance is None:
            return self
        (<MOSDOp>instance).finish_decode()
        return (<MOSDOp>instance).late[self.index]

    def __set__(self, instance, value):
        (<MOSDOp>instance).finish_decode()
        (<MOSDOp>instance).late[self.index] = value


cdef class MOSDOp(Message):
    TYPE = TYPE_OP
    HEAD_VERSION = HEAD

    cdef public int64_t pool
    cdef public uint32_t seed, hash, epoch, flags
    cdef public int8_t shard
    # Who asked first, if this is a copy; normally zero. Kept as they came.
    cdef uint8_t reqid[21]
    cdef uint64_t trace[3]
    # Where the late fields begin in the front.
    cdef size_t late_at
    cdef list late

    client_inc = LateField(CLIENT_INC)
    mtime = LateField(MTIME)
    key = LateField(KEY)
    namespace = LateField(NAMESPACE)
    locator_hash = LateField(LOCATOR_HASH)
    oid = LateField(OID)
    ops = LateField(OPS)
    snapid = LateField(SNAPID)
    snap_seq = LateField(SNAP_SEQ)
    snaps = LateField(SNAPS)
    retry_attempt = LateField(RETRY_ATTEMPT)
    features = LateField(FEATURES)

    def __init__(self, str oid="", ops=(), *, data=b"", pool=0, seed=0, hash=0, epoch=0, flags=0, shard=-1, str key="",
                 str namespace="", locator_hash=-1, snapid=SNAP_HEAD, snap_seq=0, snaps=(), retry_attempt=-1,
                 mtime=Utime(), client_inc=0, priority=PRIORITY, tid=0):
        Message.__init__(self, TYPE_OP, data=data, priority=priority, tid=tid, version=HEAD, compat_version=OP_COMPAT)
        self.pool = pool
        self.seed = seed
        self.hash = hash
        self.epoch = epoch
        self.flags = flags
        self.shard = shard
        self.late = [client_inc, mtime, key, namespace, locator_hash, oid, list(ops), snapid, snap_seq, list(snaps),
                     retry_attempt, 0]

    cpdef decode_payload(self):
        cdef cmsgr_span front
        cdef Reader reader, body
        cdef int i
        owner = self.borrow_front(&front)
        start_reading(&reader, &front)
        check_version(self, "MOSDOp")
        get_versioned(&reader, 1, "placement group", &body)
        get_pg(&body, &self.pool, &self.seed)
        self.shard = <int8_t>take(&body, 1)[0]
        self.hash = get32(&reader)
        self.epoch = get32(&reader)
        self.flags = get32(&reader)
        get_versioned(&reader, 2, "request id", &body)
        memcpy(self.reqid, take(&body, sizeof(self.reqid)), sizeof(self.reqid))
        for i in range(3):
            self.trace[i] = get64(&reader)
        self.late_at = reader.at - reader.start
        self.late = None

    cdef int finish_decode(self) except -1:
        cdef cmsgr_span front
        cdef Reader reader, body
        if self.late is not None:
            return 0
        if self.header.version > HEAD:
            raise DecodeError(f"MOSDOp of version {self.header.version}: the layout behind its trace is known up to {HEAD}")
        owner = self.borrow_front(&front)
        start_reading(&reader, &front)
        take(&reader, self.late_at)
        late = [None] * LATE_FIELDS
        late[CLIENT_INC] = get32(&reader)
        late[MTIME] = Utime(get32(&reader), get32(&reader))
        get_versioned(&reader, 6, "object locator", &body)
        take(&body, 8 + 4)  # the pool again, and a number that is no longer used
        late[KEY] = get_str(&body)
        late[NAMESPACE] = get_str(&body)
        late[LOCATOR_HASH] = <int64_t>get64(&body) if body.at < body.end else -1
        late[OID] = get_str(&reader)
        late[OPS] = get_ops(&reader, get16(&reader))
        late[SNAPID] = get64(&reader)
        late[SNAP_SEQ] = get64(&reader)
        start_reading_list(&reader, 8, &body)
        snaps = []
        while body.at < body.end:
            snaps.append(get64(&body))
        late[SNAPS] = snaps
        late[RETRY_ATTEMPT] = <int32_t>get32(&reader)
        late[FEATURES] = get64(&reader)
        self.late = late
        return 0

    cpdef encode_payload(self, uint64_t features):
        cdef Text key, namespace, oid
        cdef bytes front
        cdef list ops, snaps, late
        cdef uint8_t *at
        cdef uint64_t snapid, snap_seq
        cdef int64_t locator_hash
        cdef uint32_t client_inc, seconds, nanoseconds
        cdef int32_t retry_attempt
        cdef int i
        self.finish_decode()
        late = self.late
        # Turning an object into a number may run anything, also what changes the lists. So numbers come first, lists are
        # measured after that, and snaps, whose numbers are not known yet, are copied.
        client_inc, locator_hash = late[CLIENT_INC], late[LOCATOR_HASH]
        snapid, snap_seq, retry_attempt = late[SNAPID], late[SNAP_SEQ], late[RETRY_ATTEMPT]
        mtime = late[MTIME]
        if not isinstance(mtime, tuple) or len(<tuple>mtime) != 2:
            raise TypeError(f"MOSDOp: mtime {mtime!r} is not a pair of seconds and nanoseconds")
        # As a tuple: indexing a named one goes through its class's slots, at ten times the price.
        seconds, nanoseconds = (<tuple>mtime)[0], (<tuple>mtime)[1]
        key_owner = read_text(late[KEY], &key)
        namespace_owner = read_text(late[NAMESPACE], &namespace)
        oid_owner = read_text(late[OID], &oid)
        snaps = late[SNAPS]
        if snaps:
            snaps = list(snaps)
        ops = late[OPS]
        if len(ops) > 0xFFFF:
            raise ValueError(f"MOSDOp: {len(ops)} ops, at most 65535 can be told")
        front = PyBytes_FromStringAndSize(
            NULL, 87 + 12 + 6 + 28 + key.len_bytes + namespace.len_bytes + 4 + oid.len_bytes + 2 + OSD_OP_LEN * len(ops)
            + 16 + 4 + 8 * len(snaps) + 12)
        at = <uint8_t *>PyBytes_AS_STRING(front)
        at = put_versioned(at, 1, 1, 18)
        at = put_pg(at, self.pool, self.seed)
        at = put8(at, <uint8_t>self.shard)
        at = put32(at, self.hash)
        at = put32(at, self.epoch)
        at = put32(at, self.flags)
        at = put_versioned(at, 2, 2, sizeof(self.reqid))
        memcpy(at, self.reqid, sizeof(self.reqid))
        at += sizeof(self.reqid)
        for i in range(3):
            at = put64(at, self.trace[i])
        at = put32(at, client_inc)
        at = put32(put32(at, seconds), nanoseconds)
        # A reader that does not know the hash must not take the locator for one without.
        at = put_versioned(at, 6, 3 if locator_hash == -1 else 6, <uint32_t>(28 + key.len_bytes + namespace.len_bytes))
        at = put32(put64(at, <uint64_t>self.pool), <uint32_t>-1)
        at = put_text(put_text(at, &key), &namespace)
        at = put64(at, <uint64_t>locator_hash)
        at = put_text(at, &oid)
        at = put_ops(put16(at, len(ops)), ops)
        at = put64(put64(at, snapid), snap_seq)
        at = put32(at, <uint32_t>len(snaps))
        for snap in snaps:
            at = put64(at, snap)
        put64(put32(at, <uint32_t>retry_attempt), features)
        return front


cdef class MOSDOpReply(Message):
    TYPE = TYPE_OP_REPLY
    HEAD_VERSION = HEAD

    cdef public str oid
    cdef public int64_t pool
    cdef public uint32_t seed
    cdef public uint64_t flags
    cdef public int32_t result
    cdef public uint32_t epoch
    cdef public int32_t retry_attempt
    cdef public uint64_t user_version
    cdef uint64_t bad_replay[2]
    cdef uint64_t replay[2]
    cdef uint64_t trace[3]
    # None stands for an empty one: most replies never make a list.
    cdef list ops_, results_

    def __init__(self, str oid not None="", ops=(), results=(), *, data=b"", pool=0, seed=0, flags=0, result=0, epoch=0,
                 retry_attempt=-1, bad_replay_version=(0, 0), replay_version=(0, 0), user_version=0, priority=PRIORITY,
                 tid=0):
        Message.__init__(self, TYPE_OP_REPLY, data=data, priority=priority, tid=tid, version=HEAD,
                         compat_version=REPLY_COMPAT)
        self.oid = oid
        self.ops_ = list(ops)
        self.results_ = list(results)
        self.pool = pool
        self.seed = seed
        self.flags = flags
        self.result = result
        self.epoch = epoch
        self.retry_attempt = retry_attempt
        self.bad_replay_version = bad_replay_version
        self.replay_version = replay_version
        self.user_version = user_version

    @staticmethod
    def for_request(MOSDOp request not None, *, int32_t result=0, data=None):
        cdef MOSDOpReply reply = MOSDOpReply.__new__(MOSDOpReply)
        reply.header.type = TYPE_OP_REPLY
        reply.header.version = HEAD
        reply.header.compat_version = REPLY_COMPAT
        reply.header.priority = PRIORITY
        reply.header.tid = request.header.tid
        reply.oid = ""
        reply.pool = request.pool
        reply.seed = request.seed
        reply.flags = request.flags & ~<uint32_t>FLAGS_OF_REPLY
        reply.result = result
        reply.retry_attempt = -1
        if data is not None:
            reply.data = data
        return reply

    @property
    def ops(self):
        if self.ops_ is None:
            self.ops_ = []
        return self.ops_

    @ops.setter
    def ops(self, ops):
        self.ops_ = list(ops)

    @property
    def results(self):
        if self.results_ is None:
            self.results_ = []
        return self.results_

    @results.setter
    def results(self, results):
        self.results_ = list(results)

    @property
    def bad_replay_version(self):
        return self.bad_replay[0], self.bad_replay[1]

    @bad_replay_version.setter
    def bad_replay_version(self, value):
        self.bad_replay[0], self.bad_replay[1] = value

    @property
    def replay_version(self):
        return self.replay[0], self.replay[1]

    @replay_version.setter
    def replay_version(self, value):
        self.replay[0], self.replay[1] = value

    cpdef decode_payload(self):
        cdef cmsgr_span front
        cdef Reader reader, body
        cdef uint32_t count
        cdef int i
        owner = self.borrow_front(&front)
        start_reading(&reader, &front)
        check_version(self, "MOSDOpReply")
        self.oid = get_str(&reader)
        get_pg(&reader, &self.pool, &self.seed)
        self.flags = get64(&reader)
        self.result = <int32_t>get32(&reader)
        self.bad_replay[0] = get64(&reader)
        self.bad_replay[1] = get32(&reader)
        self.epoch = get32(&reader)
        count = get32(&reader)
        self.ops_ = get_ops(&reader, count) if count else None
        self.retry_attempt = <int32_t>get32(&reader)
        self.results_ = None
        if count:
            body.start = reader.start
            body.at = take(&reader, 4 * <size_t>count)
            body.end = reader.at
            self.results_ = []
            while body.at < body.end:
                self.results_.append(<int32_t>get32(&body))
        self.replay[0] = get64(&reader)
        self.replay[1] = get32(&reader)
        self.user_version = get64(&reader)
        if get8(&reader):
            raise DecodeError("MOSDOpReply: redirects are not supported")
        for i in range(3):
            self.trace[i] = get64(&reader)

    cpdef encode_payload(self, uint64_t features):
        cdef Text oid
        cdef bytes front
        cdef list ops = self.ops_
        cdef list results = None if self.results_ is None else list(self.results_)
        cdef Py_ssize_t count = 0 if ops is None else len(ops)
        cdef uint8_t *at
        cdef int i
        if (0 if results is None else len(results)) != count:
            raise ValueError(f"MOSDOpReply: {len(self.results)} results for {count} ops")
        owner = read_text(self.oid, &oid)
        front = PyBytes_FromStringAndSize(NULL, 102 + oid.len_bytes + (OSD_OP_LEN + 4) * count)
        at = put_text(<uint8_t *>PyBytes_AS_STRING(front), &oid)
        at = put_pg(at, self.pool, self.seed)
        at = put64(at, self.flags)
        at = put32(at, <uint32_t>self.result)
        at = put32(put64(at, self.bad_replay[0]), <uint32_t>self.bad_replay[1])
        at = put32(at, self.epoch)
        at = put32(at, <uint32_t>count)
        if count:
            at = put_ops(at, ops)
        at = put32(at, <uint32_t>self.retry_attempt)
        if count:
            for one in results:
                at = put32(at, <uint32_t><int32_t>one)
        at = put32(put64(at, self.replay[0]), <uint32_t>self.replay[1])
        at = put64(at, self.user_version)
        at = put8(at, 0)
        for i in range(3):
            at = put64(at, self.trace[i])
        return front


cdef int check_version(Message message, str what) except -1:
    # compat_version 0 stands for the same as version.
    cdef int compat_version = message.header.compat_version or message.header.version
    if compat_version > HEAD:
        require_readable(what, compat_version, HEAD)
    if message.header.version < HEAD:
        raise DecodeError(f"{what} of version {message.header.version}, expected at least {HEAD}")
    return 0
