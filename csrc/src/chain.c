/*
 * Chain. Belongs to a stream, so to one thread.
 *
 * Invariants: bytes is the sum of the pieces' lengths; a chunk's `pieces` counts the pieces that lie in it; every chunk but
 * the current one has at least one piece. An empty chain holds no chunk, so that idle connections cost nothing.
 */
#include "chain.h"

#include <errno.h>

void cmsgr__chain_init(cmsgr__chain *chain, const cmsgr_env *env, cmsgr__pool *pool)
{
    memset(chain, 0, sizeof *chain);
    chain->env = env;
    chain->pool = pool;
}

static cmsgr__piece *chain_piece(const cmsgr__chain *chain, uint32_t index)
{
    return &chain->pieces[(chain->first + index) & (chain->cap - 1)];
}

static int chain_grow(cmsgr__chain *chain, uint32_t wanted)
{
    uint32_t cap = chain->cap ? chain->cap : 16;
    cmsgr__piece *pieces;

    while (cap < wanted)
        cap *= 2;
    if (cap == chain->cap)
        return 0;
    pieces = cmsgr__alloc(chain->env, cap * sizeof *pieces);
    if (!pieces)
        return -ENOMEM;
    for (uint32_t i = 0; i < chain->count; i++)
        pieces[i] = *chain_piece(chain, i);
    cmsgr__free(chain->env, chain->pieces);
    chain->pieces = pieces;
    chain->cap = cap;
    chain->first = 0;
    return 0;
}

static void chunk_release(cmsgr__chain *chain, cmsgr__chunk *chunk)
{
    if (--chunk->pieces)
        return;
    if (chunk == chain->chunk)
        chunk->used = 0;
    else
        cmsgr__pool_put(chunk);
}

int cmsgr__chain_prepare(cmsgr__chain *chain, unsigned pieces, size_t len)
{
    size_t cap = len > CMSGR__CHUNK_LEN ? len : CMSGR__CHUNK_LEN;
    cmsgr__chunk *chunk = chain->chunk;

    if (chain->count + pieces > chain->cap && chain_grow(chain, chain->count + pieces) < 0)
        return -ENOMEM;
    if (!len || (chunk && chunk->cap - chunk->used >= len))
        return 0;
    chunk = cmsgr__pool_get(chain->pool, sizeof *chunk + cap);
    if (!chunk)
        return -ENOMEM;
    *chunk = (cmsgr__chunk){.cap = (uint32_t)cap, .data = (uint8_t *)(chunk + 1)};
    if (chain->chunk && !chain->chunk->pieces)
        cmsgr__pool_put(chain->chunk);
    chain->chunk = chunk;
    return 0;
}

uint8_t *cmsgr__chain_room(cmsgr__chain *chain)
{
    return chain->chunk->data + chain->chunk->used;
}

void cmsgr__chain_commit(cmsgr__chain *chain, size_t len)
{
    cmsgr__piece *last = chain->count ? chain_piece(chain, chain->count - 1) : NULL;
    cmsgr__chunk *chunk = chain->chunk;
    uint8_t *data;

    if (!len) /* then there may be no chunk at all */
        return;
    data = chunk->data + chunk->used;
    chunk->used += (uint32_t)len;
    chain->bytes += len;
    if (last && last->chunk == chunk && last->data + last->len == data) {
        last->len += len; /* a trailer and the next header are one piece */
        return;
    }
    *chain_piece(chain, chain->count++) = (cmsgr__piece){.data = data, .len = len, .chunk = chunk};
    chunk->pieces++;
}

void cmsgr__chain_copy(cmsgr__chain *chain, const void *data, size_t len)
{
    if (len)
        memcpy(cmsgr__chain_room(chain), data, len);
    cmsgr__chain_commit(chain, len);
}

static uint8_t *sink_room(cmsgr__sink *sink, size_t *len)
{
    cmsgr__chain *chain = ((cmsgr__chain_sink *)sink)->chain;

    if (cmsgr__chain_prepare(chain, 1, 1) < 0)
        return NULL;
    *len = chain->chunk->cap - chain->chunk->used;
    return cmsgr__chain_room(chain);
}

static void sink_commit(cmsgr__sink *sink, size_t len)
{
    cmsgr__chain_commit(((cmsgr__chain_sink *)sink)->chain, len);
}

cmsgr__chain_sink cmsgr__chain_sink_of(cmsgr__chain *chain)
{
    return (cmsgr__chain_sink){{sink_room, sink_commit}, chain};
}

void cmsgr__chain_borrow(cmsgr__chain *chain, const void *data, size_t len, cmsgr_entry *entry)
{
    *chain_piece(chain, chain->count++) = (cmsgr__piece){.data = data, .len = len, .entry = entry};
    entry->pieces++;
    chain->bytes += len;
}

int cmsgr__chain_iov(const cmsgr__chain *chain, struct iovec *iov, int max, size_t *len)
{
    int count = chain->count < (uint32_t)max ? (int)chain->count : max;

    *len = 0;
    for (int i = 0; i < count; i++) {
        const cmsgr__piece *piece = chain_piece(chain, (uint32_t)i);

        iov[i] = (struct iovec){.iov_base = (void *)(uintptr_t)piece->data, .iov_len = piece->len};
        *len += piece->len;
    }
    return count;
}

static void chain_drop_first(cmsgr__chain *chain, cmsgr__entry_fn done, void *arg)
{
    cmsgr__piece piece = *chain_piece(chain, 0);

    chain->first = (chain->first + 1) & (chain->cap - 1);
    chain->count--;
    chain->bytes -= piece.len;
    if (piece.chunk)
        chunk_release(chain, piece.chunk);
    else if (--piece.entry->pieces == 0)
        done(arg, piece.entry);
}

static void chain_free_chunk(cmsgr__chain *chain)
{
    if (chain->chunk)
        cmsgr__pool_put(chain->chunk);
    chain->chunk = NULL;
}

void cmsgr__chain_relax(cmsgr__chain *chain)
{
    if (!chain->count)
        chain_free_chunk(chain);
}

void cmsgr__chain_consume(cmsgr__chain *chain, size_t len, cmsgr__entry_fn done, void *arg)
{
    while (chain->count) {
        cmsgr__piece *piece = chain_piece(chain, 0);

        if (len < piece->len) {
            piece->data += len;
            piece->len -= len;
            chain->bytes -= len;
            return;
        }
        len -= piece->len;
        chain_drop_first(chain, done, arg);
    }
    cmsgr__chain_relax(chain);
}

void cmsgr__chain_clear(cmsgr__chain *chain, cmsgr__entry_fn done, void *arg)
{
    while (chain->count)
        chain_drop_first(chain, done, arg);
    chain_free_chunk(chain);
    cmsgr__free(chain->env, chain->pieces);
    chain->pieces = NULL;
    chain->cap = 0;
}
