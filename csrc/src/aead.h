/*
 * Cipher seam: what a direction of a stream needs of authenticated encryption. The frame codec knows only how long a tag is
 * and that an operation is begun, fed and finished; which cipher does it, and how nonces step, is behind the vtable.
 *
 * A cipher belongs to one direction of one stream, and so to one thread.
 */
#ifndef CMSGR_AEAD_H
#define CMSGR_AEAD_H

#include "internal.h"

enum { CMSGR__TAG_LEN = 16, CMSGR__PAD = 16, CMSGR__KEY_LEN = 16, CMSGR__NONCE_LEN = 12 };

struct cmsgr_cipher {
    /* Steps the nonce: 0, CMSGR_E_NONCE_USED_UP if it would equal the initial one again, CMSGR_E_CIPHER. */
    int (*begin)(cmsgr_cipher *cipher);
    /* Any pieces, in order; in place is fine. */
    int (*update)(cmsgr_cipher *cipher, const uint8_t *in, uint8_t *out, size_t len);
    /* Sealing writes the tag, opening compares it: CMSGR_E_AUTH_TAG if it does not match. */
    int (*finish)(cmsgr_cipher *cipher, uint8_t tag[CMSGR__TAG_LEN]);
    void (*free)(cmsgr_cipher *cipher);
};

static inline size_t cmsgr__padded(size_t len)
{
    return (len + CMSGR__PAD - 1) & ~(size_t)(CMSGR__PAD - 1);
}

#endif
