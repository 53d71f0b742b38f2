/* What protects a message, at its end: a crc32c of four bytes, or the tag of AES-128-GCM, sixteen. The crc is the library's
 * own function, so that a ratio shows what is around it. */
#define _GNU_SOURCE
#include "floor.h"

#include <cmsgr/cmsgr.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CRC_BYTES 4u
#define TAG_BYTES 16u
#define NONCE_BYTES 12u

struct floor_guard {
    enum floor_protection protection;
    cmsgr_env *env;
    EVP_CIPHER_CTX *cipher;
    unsigned char nonce[NONCE_BYTES]; /* the message's number, and which direction it goes */
    uint64_t messages;
};

static _Noreturn void fail(const char *what) {
    fprintf(stderr, "floor: %s\n", what);
    exit(1);
}

size_t floor_guard_bytes(enum floor_protection protection) {
    return protection == FLOOR_CRC ? CRC_BYTES : protection == FLOOR_GCM ? TAG_BYTES : 0;
}

struct floor_guard *floor_guard_new(enum floor_protection protection, bool seals, bool to_server) {
    static const unsigned char key[16] = "not for secrets";
    struct floor_guard *guard = floor_alloc(sizeof *guard, 0);
    guard->protection = protection;
    guard->nonce[NONCE_BYTES - 1] = to_server;
    if (protection == FLOOR_CRC && cmsgr_env_new(&guard->env, NULL, NULL) < 0)
        fail("crc32c is not available");
    if (protection == FLOOR_GCM &&
        (!(guard->cipher = EVP_CIPHER_CTX_new()) ||
         !EVP_CipherInit_ex(guard->cipher, EVP_aes_128_gcm(), NULL, key, NULL, seals)))
        fail("AES-128-GCM is not available");
    return guard;
}

static void next_nonce(struct floor_guard *guard) {
    memcpy(guard->nonce, &guard->messages, sizeof guard->messages);
    guard->messages++;
    if (!EVP_CipherInit_ex(guard->cipher, NULL, NULL, NULL, guard->nonce, -1))
        fail("AES-128-GCM takes no nonce");
}

void floor_guard_seal(struct floor_guard *guard, const void *plain, void *message, size_t message_bytes) {
    const size_t covered = message_bytes - floor_guard_bytes(guard->protection);
    unsigned char *end = (unsigned char *)message + covered;
    if (guard->protection == FLOOR_CRC) {
        uint32_t crc = cmsgr_crc32c(guard->env, UINT32_MAX, message, covered);
        memcpy(end, &crc, sizeof crc);
    } else if (guard->protection == FLOOR_GCM) {
        int got;
        next_nonce(guard);
        if (!EVP_EncryptUpdate(guard->cipher, message, &got, plain, (int)covered) ||
            !EVP_EncryptFinal_ex(guard->cipher, end, &got) ||
            !EVP_CIPHER_CTX_ctrl(guard->cipher, EVP_CTRL_GCM_GET_TAG, TAG_BYTES, end))
            fail("a message cannot be sealed");
    }
}

void floor_guard_open(struct floor_guard *guard, void *message, size_t message_bytes) {
    const size_t covered = message_bytes - floor_guard_bytes(guard->protection);
    unsigned char *end = (unsigned char *)message + covered;
    if (guard->protection == FLOOR_CRC) {
        uint32_t crc = cmsgr_crc32c(guard->env, UINT32_MAX, message, covered);
        if (memcmp(end, &crc, sizeof crc))
            fail("a message has the wrong crc32c");
    } else if (guard->protection == FLOOR_GCM) {
        int got;
        next_nonce(guard);
        if (!EVP_DecryptUpdate(guard->cipher, message, &got, message, (int)covered) ||
            !EVP_CIPHER_CTX_ctrl(guard->cipher, EVP_CTRL_GCM_SET_TAG, TAG_BYTES, end) ||
            !EVP_DecryptFinal_ex(guard->cipher, end, &got))
            fail("a message has the wrong tag");
    }
}
