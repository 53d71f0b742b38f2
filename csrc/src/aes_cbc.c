/* AES-128-CBC with PKCS#7 padding by OpenSSL's libcrypto: what cephx seals its payloads with. No state; any thread. */
#include <errno.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/evp.h>

#include "internal.h"

ssize_t cmsgr_aes_128_cbc(int seal, const uint8_t key[16], const uint8_t iv[16], const void *in, size_t len, uint8_t *out)
{
    EVP_CIPHER_CTX *evp;
    int updated = 0, finished = 0;
    ssize_t result = CMSGR_E_CIPHER;

    if (len > INT_MAX - 32)
        return -EINVAL;
    evp = EVP_CIPHER_CTX_new();
    if (!evp)
        return -ENOMEM;
    ERR_set_mark();
    if (EVP_CipherInit_ex(evp, EVP_aes_128_cbc(), NULL, key, iv, seal) == 1 &&
        EVP_CipherUpdate(evp, out, &updated, in, (int)len) == 1 && EVP_CipherFinal_ex(evp, out + updated, &finished) == 1)
        result = updated + finished;
    EVP_CIPHER_CTX_free(evp);
    ERR_pop_to_mark(); /* a bad padding is told by the result; left in the thread's queue, it fails the next read of Python's ssl */
    return result;
}
