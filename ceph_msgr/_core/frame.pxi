# Frames and checksums for tools and tests; streams use the same C code without coming through here.


def crc32c(data, uint32_t crc=0xFFFFFFFF):
    cdef Py_buffer view
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        return cmsgr_crc32c(ENV, crc, view.buf, view.len)
    finally:
        PyBuffer_Release(&view)


def crc32c_implementation():
    return cmsgr_crc32c_name(ENV).decode()


cdef int check_revision(int revision) except -1:
    if revision not in (0, 1):
        raise ValueError(f"revision {revision} of msgr2 is neither 0 nor 1")
    return 0


def frame_assemble(int tag, segments, int revision=1, *, alignments=None, bint aborted=False, bint compressed=False,
                   Cipher cipher=None):
    cdef cmsgr_span span[4]
    cdef uint16_t align[4]
    cdef size_t length[4]
    cdef unsigned i, count = len(segments)
    cdef ssize_t rc
    cdef int flags = (CMSGR_FRAME_ABORTED if aborted else 0) | (CMSGR_FRAME_COMPRESSED if compressed else 0)
    check_revision(revision)
    if not 0 <= tag <= 255:
        raise ValueError(f"tag {tag} is not within 0..255")
    if not 1 <= count <= 4:
        raise ValueError(f"a frame has 1 to 4 segments, not {count}")
    if alignments is not None and len(alignments) != count:
        raise ValueError(f"{len(alignments)} alignments for {count} segments")
    held = [bytes(segment) for segment in segments]
    for i in range(count):
        span[i].data = PyBytes_AS_STRING(held[i])
        span[i].len = length[i] = PyBytes_GET_SIZE(held[i])
        if alignments is not None:
            align[i] = alignments[i]
    if cipher is not None:
        if not cipher.seals or cipher.revision != revision:
            raise ValueError(f"the cipher does not seal, or is not of revision {revision}")
        wire = PyBytes_FromStringAndSize(NULL, cmsgr_frame_sealed_len(revision, length, count))
        rc = cmsgr_frame_seal(ENV, revision, cipher.c, tag, span, NULL if alignments is None else align, count, flags,
                              <uint8_t *>PyBytes_AS_STRING(wire), PyBytes_GET_SIZE(wire))
        check(rc, "frame_assemble")
        return wire
    wire = PyBytes_FromStringAndSize(NULL, cmsgr_frame_wire_len(revision, length, count))
    rc = cmsgr_frame_assemble(ENV, revision, tag, span, NULL if alignments is None else align, count, flags,
                              <uint8_t *>PyBytes_AS_STRING(wire), PyBytes_GET_SIZE(wire))
    check(rc, "frame_assemble")
    return wire if rc == PyBytes_GET_SIZE(wire) else wire[:rc]


@cython.final
cdef class Limits:
    cdef cmsgr_limits c

    def __cinit__(self, *, control=None, header=None, front=None, middle=None, data=None):
        cmsgr_limits_default(&self.c)
        if control is not None:
            self.c.control = control
        if header is not None:
            self.c.header = header
        if front is not None:
            self.c.front = front
        if middle is not None:
            self.c.middle = middle
        if data is not None:
            self.c.data = data

    @property
    def control(self):
        return self.c.control

    @property
    def header(self):
        return self.c.header

    @property
    def front(self):
        return self.c.front

    @property
    def middle(self):
        return self.c.middle

    @property
    def data(self):
        return self.c.data

    def __repr__(self):
        return (f"Limits(control={self.c.control}, header={self.c.header}, front={self.c.front}, "
                f"middle={self.c.middle}, data={self.c.data})")


@cython.final
cdef class Frame:
    cdef readonly int tag
    cdef readonly tuple segments
    cdef readonly tuple alignments
    cdef readonly bint aborted

    def __repr__(self):
        return f"<Frame tag={self.tag} segments={[len(s) for s in self.segments]}{' aborted' if self.aborted else ''}>"


# A body begins at this size and doubles with what has arrived: a claimed length is only a claim.
cdef enum:
    BODY_STEP = 1024 * 1024


@cython.final
cdef class FrameParser:
    cdef cmsgr_parser *c
    cdef uint8_t *body
    cdef size_t body_cap
    cdef object error
    cdef Cipher cipher

    def __cinit__(self, int revision=1, *, Limits limits=None):
        check_revision(revision)
        if limits is None:
            limits = Limits()
        check(cmsgr_parser_new(&self.c, ENV, revision, &limits.c), "FrameParser")
        live.parsers += 1

    def __dealloc__(self):
        if self.c:
            cmsgr_parser_free(self.c)
            live.parsers -= 1
        free(self.body)

    def set_cipher(self, Cipher cipher not None):
        if cipher.seals:
            raise ValueError("a cipher that seals cannot open: its tags would not be compared")
        self.cipher = cipher  # the parser only borrows it
        cmsgr_parser_set_cipher(self.c, cipher.c)

    def set_compression(self, int algorithm):
        check(cmsgr_parser_set_compression(self.c, algorithm), "set_compression")

    cdef int make_room(self, size_t cap) except -1:
        cdef void *body = realloc(self.body, cap or 1)
        if not body:
            raise MemoryError()
        self.body = <uint8_t *>body
        self.body_cap = cap
        cmsgr_parser_set_body(self.c, self.body, cap)
        return 0

    # The frame's segments decompressed, in place of the compressed ones: 0 or an error.
    cdef int decompress(self) except? -1:
        cdef ssize_t length = cmsgr_parser_plain_len(self.c)
        cdef uint8_t *plain
        cdef int rc
        if length < 0:
            return <int>length
        plain = <uint8_t *>malloc(length or 1)
        if not plain:
            raise MemoryError()
        rc = cmsgr_parser_decompress(self.c, plain)
        free(self.body)
        self.body = plain
        self.body_cap = length
        return rc

    cdef Frame take(self, bint aborted):
        cdef const cmsgr_preamble *preamble = cmsgr_parser_preamble(self.c)
        cdef Frame frame = Frame.__new__(Frame)
        cdef size_t start
        cdef int i
        segments = []
        alignments = []
        for i in range(preamble.num_segments):
            alignments.append(preamble.seg_align[i])
            start = cmsgr_parser_segment_at(self.c, i)
            if not aborted:
                segments.append(PyBytes_FromStringAndSize(<char *>self.body + start, preamble.seg_len[i]))
        frame.tag = preamble.tag
        frame.segments = tuple(segments)
        frame.alignments = tuple(alignments)
        frame.aborted = aborted
        return frame

    def feed(self, data):
        cdef Py_buffer view
        cdef const uint8_t *at
        cdef size_t left
        cdef int rc, error
        if self.error is not None:
            raise self.error
        frames = []
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            at = <const uint8_t *>view.buf
            left = view.len
            while True:
                rc = cmsgr_parser_step(self.c, &at, &left)
                if rc == CMSGR_PARSE_FRAME and cmsgr_parser_is_compressed(self.c):
                    error = self.decompress()
                    rc = error if error < 0 else rc
                if rc == CMSGR_PARSE_PREAMBLE:
                    self.make_room(min(cmsgr_parser_body_len(self.c), <size_t>BODY_STEP))
                elif rc == CMSGR_PARSE_ROOM:
                    self.make_room(min(cmsgr_parser_body_len(self.c), 2 * self.body_cap))
                elif rc == CMSGR_PARSE_FRAME or rc == CMSGR_PARSE_ABORTED:
                    frames.append(self.take(rc == CMSGR_PARSE_ABORTED))
                elif rc == CMSGR_PARSE_MORE:
                    return frames
                else:
                    self.error = error_from_code(
                        rc, tag=cmsgr_parser_preamble(self.c).tag, got=cmsgr_parser_got(self.c),
                        expected=cmsgr_parser_expected(self.c))
                    if frames:
                        return frames
                    raise self.error
        finally:
            PyBuffer_Release(&view)
