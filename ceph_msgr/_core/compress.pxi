# Segments to and from their compressed form, for tools and tests; streams use the same C code without coming through here.


def compression_algorithms():
    return {algorithm: cmsgr_compression_name(algorithm).decode() for algorithm in range(CMSGR_COMPRESSION_NUMBERS)
            if cmsgr_compression_name(algorithm)}


cdef int check_algorithm(int algorithm) except -1:
    if not cmsgr_compression_name(algorithm):
        raise ValueError(f"compression algorithm {algorithm} is not compiled in, these are: {compression_algorithms()}")
    return 0


def compress(int algorithm, bytes data not None):
    cdef ssize_t rc
    check_algorithm(algorithm)
    out = PyBytes_FromStringAndSize(NULL, cmsgr_compress_bound(algorithm, len(data)))
    rc = cmsgr_compress(ENV, algorithm, PyBytes_AS_STRING(data), len(data), <uint8_t *>PyBytes_AS_STRING(out), len(out))
    check(rc, "compress")
    return out[:rc]


def decompress(int algorithm, bytes data not None, size_t limit):
    cdef int64_t length
    check_algorithm(algorithm)
    length = cmsgr_decompressed_len(ENV, algorithm, PyBytes_AS_STRING(data), len(data), limit)
    check(length, "decompress")
    if <size_t>length > limit:
        raise RemoteProtocolError(f"decompress: {len(data)} bytes become at least {length}, the limit is {limit}")
    out = PyBytes_FromStringAndSize(NULL, length)
    check(cmsgr_decompress(ENV, algorithm, PyBytes_AS_STRING(data), len(data), <uint8_t *>PyBytes_AS_STRING(out), length), "decompress")
    return out
