# Ciphers: AES-128-GCM of one direction, for tools and tests (streams make their own), and AES-128-CBC for cephx.


@cython.final
cdef class Cipher:
    cdef cmsgr_cipher *c
    cdef readonly int revision
    cdef readonly bint seals

    def __cinit__(self, bytes key not None, bytes nonce not None, *, bint seals, int revision=1):
        check_revision(revision)
        if len(key) != 16 or len(nonce) != 12:
            raise ValueError(f"a key of {len(key)} and a nonce of {len(nonce)} bytes: expected 16 and 12")
        self.revision = revision
        self.seals = seals
        check(cmsgr_cipher_new(&self.c, ENV, revision, seals, <uint8_t *>PyBytes_AS_STRING(key),
                               <uint8_t *>PyBytes_AS_STRING(nonce)), "Cipher")

    def __dealloc__(self):
        cmsgr_cipher_free(self.c)


def aes_128_cbc(bytes key not None, bytes iv not None, bytes data not None, bint encrypt):
    cdef ssize_t rc
    if len(key) != 16 or len(iv) != 16:
        raise ValueError(f"a key of {len(key)} and an iv of {len(iv)} bytes: expected 16 each")
    out = PyBytes_FromStringAndSize(NULL, len(data) + 16)
    rc = cmsgr_aes_128_cbc(encrypt, <uint8_t *>PyBytes_AS_STRING(key), <uint8_t *>PyBytes_AS_STRING(iv),
                           PyBytes_AS_STRING(data), len(data), <uint8_t *>PyBytes_AS_STRING(out))
    if rc == CMSGR_E_CIPHER:
        raise ValueError(f"{len(data)} bytes of AES-128-CBC: wrong length or padding")
    check(rc, "aes_128_cbc")
    return out[:rc]
