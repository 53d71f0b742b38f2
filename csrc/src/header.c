/*
 * The header segment of a MESSAGE (msgr2 "Messages"): 41 bytes without padding. The pre-padding length (offset 22) and
 * the reserved field (offset 39) are sent as 0 and not looked at.
 */
#include "internal.h"

void cmsgr_header_encode(const cmsgr_header *header, uint8_t out[41])
{
    cmsgr__put64(out, header->seq);
    cmsgr__put64(out + 8, header->tid);
    cmsgr__put16(out + 16, header->type);
    cmsgr__put16(out + 18, header->priority);
    cmsgr__put16(out + 20, header->version);
    cmsgr__put32(out + 22, 0);
    cmsgr__put16(out + 26, header->data_off);
    cmsgr__put64(out + 28, header->ack_seq);
    out[36] = header->flags;
    cmsgr__put16(out + 37, header->compat_version);
    cmsgr__put16(out + 39, 0);
}

void cmsgr_header_decode(cmsgr_header *header, const uint8_t in[41])
{
    header->seq = cmsgr__get64(in);
    header->tid = cmsgr__get64(in + 8);
    header->type = cmsgr__get16(in + 16);
    header->priority = cmsgr__get16(in + 18);
    header->version = cmsgr__get16(in + 20);
    header->data_off = cmsgr__get16(in + 26);
    header->ack_seq = cmsgr__get64(in + 28);
    header->flags = in[36];
    header->compat_version = cmsgr__get16(in + 37);
}
