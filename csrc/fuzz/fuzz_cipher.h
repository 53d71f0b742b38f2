/* A cipher that changes nothing and whose tags always match: damage reaches what lies behind the real one's checks. */
#ifndef CMSGR_FUZZ_CIPHER_H
#define CMSGR_FUZZ_CIPHER_H

#include "aead.h"

static inline int fuzz_cipher_begin(cmsgr_cipher *cipher)
{
    (void)cipher;
    return 0;
}

static inline int fuzz_cipher_update(cmsgr_cipher *cipher, const uint8_t *in, uint8_t *out, size_t len)
{
    (void)cipher;
    memmove(out, in, len);
    return 0;
}

static inline int fuzz_cipher_finish(cmsgr_cipher *cipher, uint8_t tag[CMSGR__TAG_LEN])
{
    (void)cipher;
    memset(tag, 0, CMSGR__TAG_LEN);
    return 0;
}

static inline void fuzz_cipher_free(cmsgr_cipher *cipher) { (void)cipher; }

static const cmsgr_cipher fuzz_cipher = {fuzz_cipher_begin, fuzz_cipher_update, fuzz_cipher_finish, fuzz_cipher_free};

static const uint8_t fuzz_key[16] = "sixteen byte key", fuzz_nonce[12] = "twelve bytes";

#endif
