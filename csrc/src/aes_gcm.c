/*
 * AES-128-GCM by OpenSSL's libcrypto ("Secure mode"): 12-byte nonce, no associated data, 16-byte tag.
 *
 * The nonce is used as given for the first operation, then stepped once per operation: in msgr2.1 the last eight bytes are a
 * little-endian counter, in msgr2.0 the first four. It starts at random and may wrap; what is refused is the operation
 * whose nonce would equal the initial one, for GCM with a nonce used twice gives its key stream away.
 *
 * libcrypto allocates by itself; nothing else in the library does.
 */
#include <errno.h>
#include <openssl/evp.h>

#include "aead.h"

typedef struct gcm {
    cmsgr_cipher vtable;
    const cmsgr_env *env;
    EVP_CIPHER_CTX *evp;
    int seal;
    int revision;
    int started; /* the initial nonce has been used */
    uint8_t nonce[CMSGR__NONCE_LEN];
    uint64_t initial_counter;
} gcm;

static uint64_t gcm_counter(const gcm *cipher)
{
    return cipher->revision ? cmsgr__get64(cipher->nonce + 4) : cmsgr__get32(cipher->nonce);
}

static int gcm_step(gcm *cipher)
{
    uint64_t next = gcm_counter(cipher) + 1;

    if (!cipher->started) {
        cipher->started = 1;
        return 0;
    }
    if (!cipher->revision)
        next = (uint32_t)next;
    /* Not stored: whoever asks again must be refused again, not given the second nonce. */
    if (next == cipher->initial_counter)
        return CMSGR_E_NONCE_USED_UP;
    if (cipher->revision)
        cmsgr__put64(cipher->nonce + 4, next);
    else
        cmsgr__put32(cipher->nonce, (uint32_t)next);
    return 0;
}

static int gcm_begin(cmsgr_cipher *vtable)
{
    gcm *cipher = (gcm *)vtable;
    int result = gcm_step(cipher);

    if (result < 0)
        return result;
    return EVP_CipherInit_ex(cipher->evp, NULL, NULL, NULL, cipher->nonce, -1) == 1 ? 0 : CMSGR_E_CIPHER;
}

static int gcm_update(cmsgr_cipher *vtable, const uint8_t *in, uint8_t *out, size_t len)
{
    gcm *cipher = (gcm *)vtable;
    enum { STEP = 1 << 30 }; /* EVP counts in int */
    int done;

    while (len) {
        int step = len < STEP ? (int)len : STEP;

        if (EVP_CipherUpdate(cipher->evp, out, &done, in, step) != 1 || done != step)
            return CMSGR_E_CIPHER;
        in += step;
        out += step;
        len -= (size_t)step;
    }
    return 0;
}

static int gcm_finish(cmsgr_cipher *vtable, uint8_t tag[CMSGR__TAG_LEN])
{
    gcm *cipher = (gcm *)vtable;
    uint8_t none[CMSGR__TAG_LEN];
    int len;

    if (!cipher->seal && EVP_CIPHER_CTX_ctrl(cipher->evp, EVP_CTRL_AEAD_SET_TAG, CMSGR__TAG_LEN, tag) != 1)
        return CMSGR_E_CIPHER;
    if (EVP_CipherFinal_ex(cipher->evp, none, &len) != 1)
        return cipher->seal ? CMSGR_E_CIPHER : CMSGR_E_AUTH_TAG;
    if (cipher->seal && EVP_CIPHER_CTX_ctrl(cipher->evp, EVP_CTRL_AEAD_GET_TAG, CMSGR__TAG_LEN, tag) != 1)
        return CMSGR_E_CIPHER;
    return 0;
}

static void gcm_free(cmsgr_cipher *vtable)
{
    gcm *cipher = (gcm *)vtable;

    EVP_CIPHER_CTX_free(cipher->evp); /* wipes the key */
    cmsgr__free(cipher->env, cipher);
}

int cmsgr_cipher_new(cmsgr_cipher **out, const cmsgr_env *env, int revision, int seal, const uint8_t key[16],
                     const uint8_t nonce[12])
{
    gcm *cipher = cmsgr__zalloc(env, sizeof *cipher);

    if (!cipher)
        return -ENOMEM;
    cipher->vtable = (cmsgr_cipher){gcm_begin, gcm_update, gcm_finish, gcm_free};
    cipher->env = env;
    cipher->seal = seal;
    cipher->revision = revision;
    memcpy(cipher->nonce, nonce, sizeof cipher->nonce);
    cipher->initial_counter = gcm_counter(cipher);
    cipher->evp = EVP_CIPHER_CTX_new();
    if (!cipher->evp || EVP_CipherInit_ex(cipher->evp, EVP_aes_128_gcm(), NULL, key, NULL, seal) != 1) {
        gcm_free(&cipher->vtable);
        return cipher->evp ? CMSGR_E_CIPHER : -ENOMEM;
    }
    *out = &cipher->vtable;
    return 0;
}

void cmsgr_cipher_free(cmsgr_cipher *cipher)
{
    if (cipher)
        cipher->free(cipher);
}
