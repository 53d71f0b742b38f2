/* Sealing and opening frames in flat memory, for tests. */
#ifndef SEALED_H
#define SEALED_H

#include "aead.h"
#include "check.h"

static uint8_t payload[5 << 20];
static uint8_t wire[6 << 20], body[6 << 20];

static const uint8_t key[16] = "sixteen byte key";
static const uint8_t nonce[12] = "twelve bytes";

static inline void fill_payload(void)
{
    for (size_t i = 0; i < sizeof payload; i++)
        payload[i] = (uint8_t)(i * 131 + (i >> 8) * 7);
}

static inline cmsgr_cipher *cipher(cmsgr_env *env, int revision, int seal, const uint8_t *with_nonce)
{
    cmsgr_cipher *made;

    CHECK_EQ(cmsgr_cipher_new(&made, env, revision, seal, key, with_nonce), 0);
    return made;
}

static inline cmsgr_parser *parser(cmsgr_env *env, int revision, cmsgr_cipher *with)
{
    cmsgr_parser *made;

    CHECK_EQ(cmsgr_parser_new(&made, env, revision, NULL), 0);
    cmsgr_parser_set_cipher(made, with);
    return made;
}

/* Steps until a frame, an error or the end of the input, `piece` bytes at a time. */
static inline int feed(cmsgr_parser *parser, const uint8_t *data, size_t len, size_t piece)
{
    int result = CMSGR_PARSE_MORE;

    while (len) {
        const uint8_t *at = data;
        size_t left = piece < len ? piece : len;

        do {
            result = cmsgr_parser_step(parser, &at, &left);
            if (result == CMSGR_PARSE_PREAMBLE)
                cmsgr_parser_set_body(parser, body, sizeof body);
        } while (result == CMSGR_PARSE_PREAMBLE);
        CHECK(result != CMSGR_PARSE_ROOM);
        len -= (size_t)(at - data);
        data = at;
        if (result != CMSGR_PARSE_MORE)
            break;
    }
    CHECK(result <= 0 || len == 0); /* a complete frame uses all its bytes */
    return result;
}

#endif
