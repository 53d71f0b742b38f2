# How MOSDOp and MOSDOpReply are read and written: part of osd_op.pyx.

# ---- reading: every length is compared with the bytes that are there ----

cdef struct Reader:
    const uint8_t *start
    const uint8_t *at
    const uint8_t *end


cdef int raise_short(const Reader *reader, size_t len_bytes) except -1:
    raise DecodeError(
        f"byte {reader.at - reader.start} of the front: {len_bytes} bytes needed, {reader.end - reader.at} left")


cdef inline const uint8_t *take(Reader *reader, size_t len_bytes) except NULL:
    cdef const uint8_t *at = reader.at
    if len_bytes > <size_t>(reader.end - at):
        raise_short(reader, len_bytes)
    reader.at = at + len_bytes
    return at


cdef inline uint8_t get8(Reader *reader) except? 0xFF:
    return take(reader, 1)[0]


cdef inline uint16_t get16(Reader *reader) except? 0xFFFF:
    cdef uint16_t value
    memcpy(&value, take(reader, 2), 2)
    return le16toh(value)


cdef inline uint32_t get32(Reader *reader) except? 0xFFFFFFFF:
    cdef uint32_t value
    memcpy(&value, take(reader, 4), 4)
    return le32toh(value)


cdef inline uint64_t get64(Reader *reader) except? 0xFFFFFFFFFFFFFFFF:
    cdef uint64_t value
    memcpy(&value, take(reader, 8), 8)
    return le64toh(value)


cdef str get_str(Reader *reader):
    cdef uint32_t len_bytes = get32(reader)
    cdef const uint8_t *text = take(reader, len_bytes)
    if not len_bytes:
        return ""
    # Ceph's strings are bytes: those that are not UTF-8 must survive a round trip.
    return PyBytes_FromStringAndSize(<const char *>text, len_bytes).decode("utf-8", "surrogateescape")


# The body of a versioned struct, which `reader` is already behind: what a newer version appended is skipped.
cdef int get_versioned(Reader *reader, int known_version, str what, Reader *body) except -1:
    cdef uint32_t len_bytes
    take(reader, 1)
    cdef int compat_version = get8(reader)
    if compat_version > known_version:
        require_readable(what, compat_version, known_version)
    len_bytes = get32(reader)
    body.start = reader.start
    body.at = take(reader, len_bytes)
    body.end = reader.at
    return 0


cdef void start_reading(Reader *reader, const cmsgr_span *front) noexcept:
    reader.start = reader.at = <const uint8_t *>front.data
    reader.end = reader.start + front.len


cdef int start_reading_list(Reader *reader, size_t item_len, Reader *items) except -1:
    cdef size_t count = get32(reader)
    items.start = reader.start
    items.at = take(reader, count * item_len)
    items.end = reader.at
    return 0


# A placement group: u8 1, pool, seed and a number that is no longer used.
cdef int get_pg(Reader *reader, int64_t *pool, uint32_t *seed) except -1:
    cdef int version = get8(reader)
    if version != 1:
        raise DecodeError(f"version {version} of a placement group, expected 1")
    pool[0] = <int64_t>get64(reader)
    seed[0] = get32(reader)
    take(reader, 4)
    return 0


cdef list get_ops(Reader *reader, size_t count):
    cdef Reader ops
    cdef OSDOp op
    ops.start = reader.start
    ops.at = take(reader, count * OSD_OP_LEN)
    ops.end = reader.at
    result = []
    for _ in range(count):
        op = OSDOp.__new__(OSDOp)
        op.op = get16(&ops)
        op.flags = get32(&ops)
        op.offset = get64(&ops)
        op.length = get64(&ops)
        op.truncate_size = get64(&ops)
        op.truncate_seq = get32(&ops)
        op.payload_len = get32(&ops)
        result.append(op)
    return result


# ---- writing: the length was computed before, so each step only moves on ----

# A string as bytes, read where they lie: in the string itself, unless it has bytes that are no UTF-8.
cdef struct Text:
    const char *start
    size_t len_bytes


# Returns what the bytes belong to.
cdef object read_text(str value, Text *text):
    cdef Py_ssize_t len_bytes = 0
    cdef bytes escaped
    if not value:
        text.start, text.len_bytes = b"", 0
        return value
    try:
        text.start = PyUnicode_AsUTF8AndSize(value, &len_bytes)
        text.len_bytes = len_bytes
        return value
    except UnicodeEncodeError:
        escaped = value.encode("utf-8", "surrogateescape")
        text.start, text.len_bytes = PyBytes_AS_STRING(escaped), len(escaped)
        return escaped


cdef inline uint8_t *put8(uint8_t *at, uint8_t value) noexcept:
    at[0] = value
    return at + 1


cdef inline uint8_t *put16(uint8_t *at, uint16_t value) noexcept:
    value = htole16(value)
    memcpy(at, &value, 2)
    return at + 2


cdef inline uint8_t *put32(uint8_t *at, uint32_t value) noexcept:
    value = htole32(value)
    memcpy(at, &value, 4)
    return at + 4


cdef inline uint8_t *put64(uint8_t *at, uint64_t value) noexcept:
    value = htole64(value)
    memcpy(at, &value, 8)
    return at + 8


cdef inline uint8_t *put_text(uint8_t *at, const Text *text) noexcept:
    at = put32(at, <uint32_t>text.len_bytes)
    memcpy(at, text.start, text.len_bytes)
    return at + text.len_bytes


cdef inline uint8_t *put_versioned(uint8_t *at, uint8_t version, uint8_t compat_version, uint32_t len_bytes) noexcept:
    return put32(put8(put8(at, version), compat_version), len_bytes)


cdef inline uint8_t *put_pg(uint8_t *at, int64_t pool, uint32_t seed) noexcept:
    return put32(put32(put64(put8(at, 1), <uint64_t>pool), seed), <uint32_t>-1)


cdef uint8_t *put_ops(uint8_t *at, list ops) except NULL:
    cdef OSDOp op
    for op in ops:
        at = put16(at, op.op)
        at = put32(at, op.flags)
        at = put64(at, op.offset)
        at = put64(at, op.length)
        at = put64(at, op.truncate_size)
        at = put32(at, op.truncate_seq)
        at = put32(at, op.payload_len)
    return at
