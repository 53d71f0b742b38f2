# DispatchTable: the choice made once per message type, and the way of one message through it.


@cython.final
cdef class Route:
    # None: nobody registered a class for this type, so it arrives as a plain Message.
    cdef object cls
    cdef bint decodes
    # Empty is None, so that asking costs nothing.
    cdef tuple preprocessors
    cdef object fast


# Types below this are found by index, the others in a dict.
cdef enum:
    INDEXED_TYPES = 256


@cython.final
cdef class DispatchTable:
    cdef object classes, resolve, enqueue, on_error
    cdef list indexed
    cdef dict others

    def __cinit__(self, classes not None, resolve not None, enqueue not None, on_error not None):
        self.classes = classes
        self.resolve = resolve
        self.enqueue = enqueue
        self.on_error = on_error
        self.clear()

    def clear(self):
        self.indexed = [None] * INDEXED_TYPES
        self.others = {}

    cdef Route route(self, unsigned type):
        cdef object known
        if type < INDEXED_TYPES:
            known = self.indexed[type]
        else:
            known = self.others.get(type)
        return <Route>known if known is not None else self.make_route(type)

    cdef Route make_route(self, unsigned type):
        cdef Route route = Route.__new__(Route)
        cdef list indexed = self.indexed
        cdef dict others = self.others
        cls = self.classes.get(type)
        if cls is not None:
            if not issubclass(cls, Message):
                raise TypeError(f"{cls!r}, registered for type {type}, is not a subclass of Message")
            route.cls = cls
            route.decodes = flags_of(cls) & DECODES
        preprocessors, route.fast = self.resolve(type)
        route.preprocessors = tuple(preprocessors) or None
        # Into the ones read above: a clear() made by resolve must not be undone.
        if type < INDEXED_TYPES:
            indexed[type] = route
        else:
            others[type] = route
        return route

    # Reports, and never raises: this is the end of the line for an exception.
    cdef void fail(self, message, exc) noexcept:
        if isinstance(exc, KeyboardInterrupt):
            report(exc, "a dispatcher")
            return
        try:
            self.on_error(message, exc)
        except BaseException as second:
            report(exc, "a dispatcher")
            report(second, "on_error")

    # A message as it came off the wire; takes over one reference to msg.
    cdef void receive(self, const cmsgr_msg *msg, connection) noexcept:
        cdef Message message = None
        cdef Route route
        try:
            route = self.route(msg.header.type)
            if route.cls is None and msg.header.type in self.classes:
                route = self.make_route(msg.header.type)  # registered since
            message = new_without_init(Message if route.cls is None else route.cls, NO_ARGS)
        except BaseException as exc:
            self.fail(None, exc)
            cmsgr_msg_dispatched(msg)
            cmsgr_msg_unref(msg)
            return
        message.attach(msg)
        message.connection = connection
        try:
            if route.decodes:
                message.decode_payload()
        except BaseException as exc:
            self.fail(message, exc)
            message.dispatched()
            return
        self.hand_over(message, route)

    cdef void hand_over(self, Message message, Route route) noexcept:
        if route.preprocessors is not None:
            for preprocess in route.preprocessors:
                try:
                    preprocess(message)
                except BaseException as exc:  # the others still have to see the message
                    self.fail(message, exc)
        try:
            if route.fast is None:
                self.enqueue(message)
                return
            route.fast(message)
        except BaseException as exc:
            self.fail(message, exc)
        if message.is_undispatched:
            message.is_undispatched = False
            if message.generation == current_generation:
                cmsgr_msg_dispatched(message.msg)

    def deliver(self, Message message not None, connection):
        cdef Route route = self.route(message.header.type)
        message.connection = connection
        self.hand_over(message, route)
