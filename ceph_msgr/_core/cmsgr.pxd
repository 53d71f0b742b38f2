# csrc/include/cmsgr/cmsgr.h for Cython: the same names in the same order; what they mean is told there.

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t


cdef extern from "<sys/uio.h>" nogil:
    struct iovec:
        void *iov_base
        size_t iov_len


cdef extern from "<sys/socket.h>" nogil:
    ctypedef unsigned int socklen_t
    ctypedef unsigned short sa_family_t

    struct sockaddr:
        sa_family_t sa_family

    struct sockaddr_storage:
        sa_family_t ss_family


# Apart, because ours run under the interpreter lock.
cdef extern from "cmsgr/cmsgr.h":
    ctypedef void (*cmsgr_file_fn)(void *arg, int fd, int mask) noexcept
    ctypedef void (*cmsgr_fn)(void *arg) noexcept


cdef extern from "cmsgr/cmsgr.h" nogil:
    # ---- errors ----

    enum:
        CMSGR_E_PREAMBLE_CRC
        CMSGR_E_SEGMENT_CRC
        CMSGR_E_END_OF_STREAM
        CMSGR_E_QUEUE_FULL
        CMSGR_E_CLOSED
        CMSGR_E_INJECTED
        CMSGR_E_NOT_READY
        CMSGR_E_NONCE_USED_UP
        CMSGR_E_CIPHER
        CMSGR_E_DECOMPRESS

    uint64_t CMSGR_FEATURES_ANY

    const char *cmsgr_error_name(int code)
    const char *cmsgr_error_text(int code)

    # ---- the world ----

    ctypedef struct cmsgr_allocator:
        pass

    enum:
        CMSGR_NONE
        CMSGR_READABLE
        CMSGR_WRITABLE

    enum cmsgr_sockopt:
        CMSGR_SO_NODELAY
        CMSGR_SO_RCVBUF
        CMSGR_SO_PRIORITY
        CMSGR_SO_USER_TIMEOUT_MS

    ctypedef struct cmsgr_driver:
        void *ctx
        int64_t (*wall_ns)(void *ctx)
        int (*random)(void *ctx, void *buf, size_t len_bytes)
        int (*socket)(void *ctx, int family)
        int (*bind)(void *ctx, int fd, const sockaddr *addr, socklen_t len)
        int (*listen)(void *ctx, int fd, int backlog)
        int (*accept)(void *ctx, int fd, sockaddr_storage *peer, socklen_t *len)
        int (*connect)(void *ctx, int fd, const sockaddr *addr, socklen_t len)
        int (*connect_result)(void *ctx, int fd)
        ssize_t (*recv)(void *ctx, int fd, const iovec *iov, int count)
        ssize_t (*sendmsg)(void *ctx, int fd, const iovec *iov, int count, int more)
        int (*shutdown)(void *ctx, int fd)
        int (*close)(void *ctx, int fd)
        int (*local_addr)(void *ctx, int fd, sockaddr_storage *addr, socklen_t *len)
        int (*peer_addr)(void *ctx, int fd, sockaddr_storage *addr, socklen_t *len)
        int (*set_option)(void *ctx, int fd, int option, int value)

    ctypedef struct cmsgr_env:
        pass

    int cmsgr_env_new(cmsgr_env **out, const cmsgr_allocator *allocator, const cmsgr_driver *driver)
    void cmsgr_env_free(cmsgr_env *env)
    const cmsgr_driver *cmsgr_env_driver(const cmsgr_env *env)
    int64_t cmsgr_env_now_ns(const cmsgr_env *env)
    uint32_t cmsgr_crc32c(const cmsgr_env *env, uint32_t crc, const void *data, size_t len_bytes)
    const char *cmsgr_crc32c_name(const cmsgr_env *env)

    # ---- frames ----

    enum:
        CMSGR_TAG_MESSAGE

    enum:
        CMSGR_HEADER_LEN
        CMSGR_MAX_SEGMENTS

    ctypedef struct cmsgr_preamble:
        uint8_t tag
        uint8_t num_segments
        uint8_t flags
        uint32_t seg_len[4]
        uint16_t seg_align[4]

    ctypedef struct cmsgr_limits:
        uint32_t control
        uint32_t header
        uint32_t front
        uint32_t middle
        uint32_t data

    void cmsgr_limits_default(cmsgr_limits *limits)

    ctypedef struct cmsgr_span:
        const void *data
        size_t len

    ctypedef struct cmsgr_cipher:
        pass
    int cmsgr_cipher_new(cmsgr_cipher **out, const cmsgr_env *env, int revision, int seal, const uint8_t *key, const uint8_t *nonce)
    void cmsgr_cipher_free(cmsgr_cipher *cipher)
    size_t cmsgr_frame_sealed_len(int revision, const size_t *seg_len, unsigned count)
    ssize_t cmsgr_frame_seal(const cmsgr_env *env, int revision, cmsgr_cipher *cipher, int tag, const cmsgr_span *segments,
                             const uint16_t *align, unsigned count, int flags, uint8_t *out, size_t cap)
    enum:
        CMSGR_COMPRESSION_NUMBERS
    const char *cmsgr_compression_name(int algorithm)
    size_t cmsgr_compress_bound(int algorithm, size_t len)
    ssize_t cmsgr_compress(const cmsgr_env *env, int algorithm, const void *data, size_t len, uint8_t *out, size_t cap)
    int64_t cmsgr_decompressed_len(const cmsgr_env *env, int algorithm, const void *data, size_t len, size_t limit)
    int cmsgr_decompress(const cmsgr_env *env, int algorithm, const void *data, size_t len, uint8_t *out, size_t plain_len)
    ssize_t cmsgr_aes_128_cbc(int seal, const uint8_t *key, const uint8_t *iv, const void *data, size_t len, uint8_t *out)
    size_t cmsgr_frame_wire_len(int revision, const size_t *seg_len, unsigned count)
    enum:
        CMSGR_FRAME_ABORTED
        CMSGR_FRAME_COMPRESSED
    ssize_t cmsgr_frame_assemble(const cmsgr_env *env, int revision, int tag, const cmsgr_span *segments,
                                 const uint16_t *align, unsigned count, int flags, uint8_t *out, size_t cap)

    ctypedef struct cmsgr_parser:
        pass

    enum:
        CMSGR_PARSE_MORE
        CMSGR_PARSE_PREAMBLE
        CMSGR_PARSE_ROOM
        CMSGR_PARSE_FRAME
        CMSGR_PARSE_ABORTED

    int cmsgr_parser_new(cmsgr_parser **out, const cmsgr_env *env, int revision, const cmsgr_limits *limits)
    void cmsgr_parser_free(cmsgr_parser *parser)
    int cmsgr_parser_step(cmsgr_parser *parser, const uint8_t **data, size_t *len)
    const cmsgr_preamble *cmsgr_parser_preamble(const cmsgr_parser *parser)
    size_t cmsgr_parser_segment_at(const cmsgr_parser *parser, unsigned segment)
    void cmsgr_parser_set_cipher(cmsgr_parser *parser, cmsgr_cipher *cipher)
    int cmsgr_parser_set_compression(cmsgr_parser *parser, int algorithm)
    int cmsgr_parser_is_compressed(const cmsgr_parser *parser)
    ssize_t cmsgr_parser_plain_len(cmsgr_parser *parser)
    int cmsgr_parser_decompress(cmsgr_parser *parser, uint8_t *out)
    size_t cmsgr_parser_body_len(const cmsgr_parser *parser)
    void cmsgr_parser_set_body(cmsgr_parser *parser, uint8_t *body, size_t cap)
    uint64_t cmsgr_parser_got(const cmsgr_parser *parser)
    uint64_t cmsgr_parser_expected(const cmsgr_parser *parser)

    # ---- EventCenter ----

    ctypedef struct cmsgr_center:
        pass

    enum:
        CMSGR_PHASE_USER

    int cmsgr_center_new(cmsgr_center **out, cmsgr_env *env, int num_files_hint)
    void cmsgr_center_free(cmsgr_center *center)
    void cmsgr_center_set_owner(cmsgr_center *center, uint64_t owner)
    uint64_t cmsgr_center_owner(const cmsgr_center *center)
    void cmsgr_center_set_polling(cmsgr_center *center, int64_t poll_ns)
    int cmsgr_center_add_file(cmsgr_center *center, int fd, int mask, int phase, cmsgr_file_fn fn, void *arg)
    int cmsgr_center_del_file(cmsgr_center *center, int fd, int mask)
    int cmsgr_center_file_mask(const cmsgr_center *center, int fd)
    void *cmsgr_center_file_arg(const cmsgr_center *center, int fd, int bit)
    int64_t cmsgr_center_add_timer(cmsgr_center *center, int64_t delay_ns, cmsgr_fn fn, cmsgr_fn drop, void *arg)
    int cmsgr_center_del_timer(cmsgr_center *center, int64_t id)
    int cmsgr_center_post(cmsgr_center *center, cmsgr_fn fn, void *arg)
    void cmsgr_center_wakeup(cmsgr_center *center)
    int cmsgr_center_wait(cmsgr_center *center, int64_t max_wait_ns)
    int cmsgr_center_dispatch(cmsgr_center *center)

    ctypedef struct cmsgr_center_stats:
        uint64_t waits
        uint64_t wakeups_sent
        uint64_t events
        uint64_t posted
        uint64_t timers
        uint64_t writable_added
        uint64_t writable_removed
        uint64_t polls_won, polls_lost
        int64_t slept_ns, polled_ns

    void cmsgr_center_get_stats(const cmsgr_center *center, cmsgr_center_stats *stats)

    # ---- throttle ----

    ctypedef struct cmsgr_throttle:
        pass

    ctypedef struct cmsgr_throttle_stats:
        int64_t current
        int64_t max
        uint64_t get
        uint64_t get_sum
        uint64_t get_or_fail_fail
        uint64_t get_or_fail_success
        uint64_t take
        uint64_t take_sum
        uint64_t put
        uint64_t put_sum
        uint64_t waited

    int cmsgr_throttle_new(cmsgr_throttle **out, cmsgr_env *env, int64_t max)
    void cmsgr_throttle_ref(cmsgr_throttle *throttle)
    void cmsgr_throttle_unref(cmsgr_throttle *throttle)
    int cmsgr_throttle_get_or_fail(cmsgr_throttle *throttle, int64_t amount)
    void cmsgr_throttle_take(cmsgr_throttle *throttle, int64_t amount)
    void cmsgr_throttle_put(cmsgr_throttle *throttle, int64_t amount)
    void cmsgr_throttle_set_max(cmsgr_throttle *throttle, int64_t max)
    void cmsgr_throttle_get_stats(cmsgr_throttle *throttle, cmsgr_throttle_stats *stats)

    # ---- messages ----

    ctypedef struct cmsgr_header:
        uint64_t seq
        uint64_t tid
        uint64_t ack_seq
        uint16_t type
        uint16_t priority
        uint16_t version
        uint16_t compat_version
        uint16_t data_off
        uint8_t flags

    ctypedef struct cmsgr_msg:
        cmsgr_header header
        cmsgr_span segment[3]
        int64_t received_ns

    void cmsgr_msg_ref(const cmsgr_msg *msg)
    void cmsgr_msg_unref(const cmsgr_msg *msg)
    void cmsgr_msg_dispatched(const cmsgr_msg *msg)

    ctypedef struct cmsgr_entry:
        cmsgr_entry *next
        cmsgr_header header
        cmsgr_span segment[3]
        void *owner[4]
        uint64_t features
        uint8_t unencoded
        uint8_t done

    cmsgr_entry *cmsgr_entry_new(cmsgr_env *env)
    void cmsgr_entry_free(cmsgr_env *env, cmsgr_entry *entry)

    # ---- session ----

    ctypedef struct cmsgr_worker:
        pass
    ctypedef struct cmsgr_stream:
        pass
    ctypedef struct cmsgr_session:
        pass

    int cmsgr_session_new(cmsgr_session **out, cmsgr_worker *worker, int64_t max_queued_bytes, void *user)
    void cmsgr_session_ref(cmsgr_session *session)
    void cmsgr_session_unref(cmsgr_session *session)
    void *cmsgr_session_user(const cmsgr_session *session)
    void cmsgr_session_set_user(cmsgr_session *session, void *user)
    int cmsgr_session_send(cmsgr_session *session, cmsgr_entry *entry, int on_owner)
    int cmsgr_session_send_keepalive(cmsgr_session *session, int on_owner)
    uint64_t cmsgr_session_features(const cmsgr_session *session)
    cmsgr_entry *cmsgr_session_take_stale(cmsgr_session *session, uint64_t features)
    void cmsgr_session_put_stale(cmsgr_session *session, cmsgr_entry *entries)
    void cmsgr_session_notify_send(cmsgr_session *session, int on)
    void cmsgr_session_notify_drained(cmsgr_session *session, int64_t limit_bytes, int on_owner)
    void cmsgr_session_requeue(cmsgr_session *session)
    void cmsgr_session_drop_acked(cmsgr_session *session, uint64_t seq)
    void cmsgr_session_reset(cmsgr_session *session, int drop_queue)
    int cmsgr_session_move(cmsgr_session *session, cmsgr_worker *worker)
    void cmsgr_session_close(cmsgr_session *session)

    ctypedef struct cmsgr_session_info:
        uint64_t in_seq
        uint64_t out_seq
        uint64_t acked_seq
        uint64_t queued_messages
        uint64_t unacked_messages
        int64_t queued_bytes
        int64_t last_keepalive_ns
        int64_t last_keepalive_ack_ns
        int64_t last_read_ns
        int64_t last_write_ns
        int keepalive_wanted
        int closed
        int lossless

    void cmsgr_session_get_info(cmsgr_session *session, cmsgr_session_info *info)
    int cmsgr_session_priorities(cmsgr_session *session, uint16_t *priority, uint64_t *count, int max)

    # ---- stream ----

    ctypedef struct cmsgr_stream_config:
        cmsgr_limits limits
        cmsgr_throttle *policy_messages
        cmsgr_throttle *policy_bytes
        cmsgr_throttle *dispatch_bytes
        cmsgr_throttle *dispatch_messages
        uint32_t inject_socket_failures, inject_network_congestion

    int cmsgr_stream_new(cmsgr_stream **out, cmsgr_worker *worker, int fd, int connecting,
                         const cmsgr_stream_config *config, void *user)
    void cmsgr_stream_close(cmsgr_stream *stream)
    void *cmsgr_stream_user(const cmsgr_stream *stream)
    int cmsgr_stream_fd(const cmsgr_stream *stream)
    void cmsgr_stream_set_throttles(cmsgr_stream *stream, const cmsgr_stream_config *config)
    void cmsgr_stream_set_revision(cmsgr_stream *stream, int revision)
    int cmsgr_stream_set_keys(cmsgr_stream *stream, const uint8_t *secret, size_t len, int is_client)
    int cmsgr_stream_set_compression(cmsgr_stream *stream, int algorithm, size_t min_len)
    int cmsgr_stream_send_bytes(cmsgr_stream *stream, const void *data, size_t len)
    int cmsgr_stream_send_frame(cmsgr_stream *stream, int tag, const void *payload, size_t len)
    void cmsgr_stream_continue(cmsgr_stream *stream)
    void cmsgr_stream_continue_sent(cmsgr_stream *stream)
    int cmsgr_stream_start(cmsgr_stream *stream, cmsgr_session *session, int lossless)
    ssize_t cmsgr_stream_try_send(cmsgr_stream *stream)
    size_t cmsgr_stream_unsent_bytes(const cmsgr_stream *stream)
    void cmsgr_stream_set_mask(cmsgr_stream *stream, uint32_t received, uint32_t sent)
    void cmsgr_stream_fail(cmsgr_stream *stream)

    # ---- worker ----

    enum cmsgr_item_kind:
        CMSGR_ITEM_MESSAGE
        CMSGR_ITEM_FRAME
        CMSGR_ITEM_CONNECTED
        CMSGR_ITEM_FAULT
        CMSGR_ITEM_INTERCEPTED
        CMSGR_ITEM_SEND_QUEUED
        CMSGR_ITEM_DRAINED
        CMSGR_ITEM_SEQUENCE

    ctypedef struct cmsgr_item:
        int kind
        cmsgr_stream *stream
        cmsgr_session *session
        const cmsgr_msg *msg
        int tag
        int sent
        cmsgr_span payload
        cmsgr_span wire
        int error
        uint64_t got
        uint64_t expected

    int cmsgr_worker_new(cmsgr_worker **out, cmsgr_env *env)
    void cmsgr_worker_free(cmsgr_worker *worker)
    cmsgr_center *cmsgr_worker_center(cmsgr_worker *worker)
    int cmsgr_worker_turn(cmsgr_worker *worker, int64_t max_wait_ns)
    void cmsgr_worker_flush(cmsgr_worker *worker)
    cmsgr_item *cmsgr_worker_take_item(cmsgr_worker *worker)
    size_t cmsgr_worker_flush_every(const cmsgr_worker *worker)
    cmsgr_entry *cmsgr_worker_take_garbage(cmsgr_worker *worker)

    ctypedef struct cmsgr_worker_stats:
        uint64_t turns
        uint64_t rounds
        uint64_t recv_messages
        uint64_t send_messages
        uint64_t recv_bytes
        uint64_t send_bytes
        uint64_t recv_calls
        uint64_t send_calls
        uint64_t acks_sent
        uint64_t keepalives_sent
        uint64_t duplicates_dropped
        uint64_t sequence_gaps
        uint64_t frames_aborted
        uint64_t replayed_messages
        uint64_t throttle_stalls
        int64_t handle_ack_ns
        int64_t queue_latency_ns
        uint64_t acks_handled
        int64_t recv_ns
        int64_t send_ns

    void cmsgr_worker_get_stats(const cmsgr_worker *worker, cmsgr_worker_stats *stats)
