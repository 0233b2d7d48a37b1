# Cells: outboxes, subscriptions, sources. The same faces as those of natscore.cells.

@cython.final
@cython.no_gc
cdef class Outbox:
    """The bytes on their way to one connection, in the order of decision."""

    cdef readonly long long cid
    cdef readonly Py_ssize_t size
    cdef readonly long long appended
    cdef public bint open
    cdef public bint accepts
    cdef public bint ready
    cdef public bint blocked
    cdef public bint headers
    cdef public long long messages
    cdef public long long volume
    cdef readonly object responses      # natscore.responses, or None
    cdef list _queue
    cdef Piece *_first
    cdef Piece *_last

    def __cinit__(self, long long cid, list queue not None):
        self.cid = cid
        self.open = self.accepts = True
        self._queue = queue
        self._first = self._last = NULL

    def __dealloc__(self):
        self._drop()

    cdef void _drop(self) noexcept:
        cdef Piece *piece
        while self._first != NULL:
            piece = self._first
            self._first = piece.next
            release_piece(piece)
        self._last = NULL

    cdef int _announce(self) except -1:
        if not self.ready:
            self._queue.append(self)
            self.ready = True
        return 0

    cdef int _link(self, Block *block, char *data, Py_ssize_t size) except -1:
        """Append a piece; takes over the reference to `block`, unless it raises."""
        cdef Piece *piece = new_piece(block, data, size)
        if self._last == NULL:
            self._first = piece
        else:
            self._last.next = piece
        self._last = piece
        return 0

    cdef char *reserve(self, Py_ssize_t size) except NULL:
        """Room for `size` bytes at the end, which the caller fills at once."""
        cdef Piece *last = self._last
        cdef Block *block
        cdef char *data
        cdef Py_ssize_t capacity
        self._announce()
        if (
            last != NULL
            and last.block.refs == 1
            and start_of(last.block) + last.block.capacity - last.data - last.size >= size
        ):
            data = last.data + last.size
            last.size += size
        else:
            capacity = size
            if last != NULL and capacity < CHAIN_BLOCK:
                capacity = max(capacity, min(2 * last.block.capacity, <Py_ssize_t> CHAIN_BLOCK))
            block = new_block(capacity)
            data = start_of(block)
            try:
                self._link(block, data, size)
            except:
                release_block(block)
                raise
        self.size += size
        self.appended += size
        return data

    cdef int attach(self, Block *block, char *data, Py_ssize_t size) except -1:
        """Append bytes of a block that others refer to as well."""
        self._announce()
        block.refs += 1
        try:
            self._link(block, data, size)
        except:
            release_block(block)
            raise
        self.size += size
        self.appended += size
        return 0

    cdef int put(self, const char *data, Py_ssize_t size) except -1:
        """Append a copy."""
        memcpy(self.reserve(size), data, <size_t> size)
        return 0

    def write(self, bytes data not None):
        """Append bytes that the control plane decided on."""
        if PyBytes_GET_SIZE(data):
            self.put(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))

    def blocks(self, Py_ssize_t limit):
        """The first blocks, as many as fit into `limit` bytes, and at least one if there is any."""
        cdef Piece *piece = self._first
        cdef list views = []
        while piece != NULL:
            limit -= piece.size
            if limit < 0 and views:
                break
            views.append(view_of(piece.block, piece.data, piece.size))
            piece = piece.next
        return views

    def advance(self, Py_ssize_t count):
        """The kernel took the first `count` bytes."""
        cdef Piece *piece
        if not 0 <= count <= self.size:
            raise ValueError(f"{count} bytes taken of {self.size}")
        self.size -= count
        if self.size == 0:
            self._drop()
            return
        while count:
            piece = self._first
            if piece.size > count:
                piece.data += count
                piece.size -= count
                return
            count -= piece.size
            self._first = piece.next
            release_piece(piece)

    def condense(self):
        """Nothing to do: small writes share blocks from the start."""

    def tail_blocks(self, Py_ssize_t count):
        """The last `count` bytes appended, of those still held, for checksums and traces."""
        cdef Piece *piece = self._first
        cdef Py_ssize_t skip = self.size - min(count, self.size)
        cdef list pieces = []
        while piece != NULL:
            if skip >= piece.size:
                skip -= piece.size
            else:
                pieces.append(view_of(piece.block, piece.data + skip, piece.size - skip))
                skip = 0
            piece = piece.next
        return pieces

    def retract(self, Py_ssize_t count):
        """Take back the last `count` bytes appended; none of them has been offered to a shell."""
        cdef Piece *piece = self._first
        cdef Piece *following
        cdef Py_ssize_t left
        if not 0 <= count <= self.size:
            raise ValueError(f"{count} bytes taken back of {self.size}")
        self.size -= count
        self.appended -= count
        left = self.size
        if left == 0:
            self._drop()
            return
        while left > piece.size:
            left -= piece.size
            piece = piece.next
        piece.size = left
        self._last = piece
        following = piece.next
        piece.next = NULL
        piece = following
        while piece != NULL:
            following = piece.next
            release_piece(piece)
            piece = following

    def discard(self):
        """Drop everything: the connection is gone or will not be flushed."""
        self._drop()
        self.size = 0


cdef enum Place:
    NOWHERE = 0   # not inserted yet: `_at` is its subject
    IN_NODE = 1   # `_at` is its node
    GONE = 2


@cython.no_gc
cdef class Subscription:
    """One subscription of one connection, as plans see it."""

    cdef readonly Outbox outbox
    cdef readonly bytes sid
    cdef readonly bytes queue
    cdef void *_at
    cdef public long long delivered
    cdef public object filter     # what becomes of what it matches, or None; set before it is inserted
    cdef int _max
    cdef uint32_t _index          # among the members of its node or group
    cdef unsigned char _place
    cdef public bint live

    def __cinit__(self, Outbox outbox not None, bytes sid not None, bytes subject not None, bytes queue):
        self.outbox = outbox
        self.sid = sid
        self.queue = queue
        Py_INCREF(subject)
        self._at = <void *> subject
        self._place = NOWHERE
        self.live = True

    def __dealloc__(self):
        if self._place == NOWHERE and self._at != NULL:
            Py_DECREF(<object> self._at)

    @property
    def subject(self):
        """What it subscribes to; empty when it is removed."""
        if self._place == NOWHERE:
            return <bytes> self._at
        if self._place == IN_NODE:
            return subject_of(<NodeData *> self._at)
        return b""

    @property
    def node(self):
        """Where the sublist keeps it; None when it does not."""
        return self.subject if self._place == IN_NODE else None

    @property
    def max(self):
        """Auto-unsubscribe after this many; 0: never."""
        return self._max

    @max.setter
    def max(self, int value):
        self._max = value

    @property
    def receiver(self):
        """Who gets what it matches."""
        return self


@cython.final
@cython.no_gc
cdef class Shadow(Subscription):
    """A subscription in another account, in whose place another one gets what it matches."""

    cdef Subscription _receiver

    @property
    def receiver(self):
        """The subscription that it was made for."""
        return self._receiver


@cython.final
cdef class Source:
    """The reading side of one connection: bytes not yet parsed, and how to treat its messages.

    Unparsed bytes stand in two places, in this order: `own`, a block of ours,
    and the chunk that was fed last, which is its owner's again after `keep`. An
    operation that straddles both is completed in a block of its own; everything
    else is parsed where it lies.
    """

    cdef readonly long long cid
    cdef readonly Outbox outbox
    cdef SubjectTable table
    cdef public Py_ssize_t max_control_line
    cdef public long long max_payload
    cdef public bint awaiting_connect
    cdef public bint first_ping_due
    cdef public bint verbose
    cdef public bint pedantic
    cdef public bint echo
    cdef public bint headers
    cdef public bint no_responders
    cdef public bint stepping
    cdef public bytes stepped
    cdef public list ops
    cdef public object asked      # what the server itself shall do for a message, or None
    cdef public bint delivered    # whether anybody got the message that was delivered last, by itself
    cdef public tuple missed
    cdef readonly bytes missed_subject
    cdef public object violation
    cdef bytes _drawn             # what a mapping drew for the message in hand, when a plan had to be made first
    cdef object _drawn_by         # by which mapper; None: nothing is kept
    cdef public long long pings
    cdef public long long messages
    cdef public long long volume
    cdef Fanout _unfinished
    cdef Py_ssize_t _need
    cdef Block *_own
    cdef char *_own_at
    cdef char *_own_end
    cdef Block *_retired          # blocks that a run in hand may still refer to
    cdef Py_buffer _chunk
    cdef bint _has_chunk
    cdef char *_chunk_at
    cdef char *_chunk_end

    def __cinit__(
        self, long long cid, Outbox outbox not None, SubjectTable table not None,
        Py_ssize_t max_control_line, long long max_payload,
    ):
        self.cid = cid
        self.outbox = outbox
        self.table = table
        self.max_control_line = max_control_line
        self.max_payload = max_payload if max_payload >= 0 else <long long> 1 << 62
        self.verbose = self.pedantic = self.echo = True
        self.stepped = b""
        self.ops = []
        self.missed = ()
        self.missed_subject = b""
        self._need = 1

    def __dealloc__(self):
        if self._has_chunk:
            PyBuffer_Release(&self._chunk)
        self._release_own()
        self._release_retired()

    @property
    def unfinished(self):
        """A fan-out to more receivers than a turn serves."""
        return self._unfinished

    @property
    def have(self):
        """How many bytes are not yet parsed."""
        return self._count()

    @property
    def has_work(self):
        """Whether something can be done without more bytes, or may be."""
        return self._count() > 0 or self._unfinished is not None

    cdef inline Py_ssize_t _count(self) noexcept:
        return (self._own_end - self._own_at) + (self._chunk_end - self._chunk_at)

    cdef void _release_own(self) noexcept:
        if self._own != NULL:
            release_block(self._own)
        self._own = NULL
        self._own_at = self._own_end = NULL

    cdef void _release_retired(self) noexcept:
        cdef Block *block
        while self._retired != NULL:
            block = self._retired
            self._retired = block.next
            block.next = NULL
            release_block(block)

    cdef void _release_chunk(self) noexcept:
        if self._has_chunk:
            self._has_chunk = False
            PyBuffer_Release(&self._chunk)
        self._chunk_at = self._chunk_end = NULL

    def feed(self, data):
        """Take bytes off the wire, to be parsed where they are. They must not change before `keep`."""
        if self._has_chunk:
            self.keep()
        PyObject_GetBuffer(data, &self._chunk, PyBUF_SIMPLE)
        self._has_chunk = True
        self._chunk_at = <char *> self._chunk.buf
        self._chunk_end = self._chunk_at + self._chunk.len

    def keep(self):
        """Own what is unparsed: what was fed is its owner's again."""
        if not self._has_chunk:
            return
        if self._chunk_at < self._chunk_end:
            self._pull(self._chunk_end - self._chunk_at)
            self._release_retired()
        self._release_chunk()

    cdef int _pull(self, Py_ssize_t count) except -1:
        """Move `count` bytes from the front of the chunk to the end of `own`.

        When that takes another block, the old one is kept until the run ends, because messages parsed in it
        may not be delivered yet. Room grows by doubling, up to what the next operation is known to need.
        """
        cdef Py_ssize_t rest = self._own_end - self._own_at
        cdef Py_ssize_t wanted
        cdef Block *block
        if self._own == NULL or start_of(self._own) + self._own.capacity - self._own_end < count:
            wanted = rest + count
            if self._need > wanted:
                wanted = min(self._need + 2, max(2 * wanted, wanted + CHAIN_BLOCK))
            elif rest:
                wanted = max(wanted, min(2 * self._own.capacity, wanted + CHAIN_BLOCK))
            block = new_block(wanted)
            if self._own != NULL:
                memcpy(start_of(block), self._own_at, <size_t> rest)
                self._own.next = self._retired
                self._retired = self._own
            self._own = block
            self._own_at = start_of(block)
            self._own_end = self._own_at + rest
        memcpy(self._own_end, self._chunk_at, <size_t> count)
        self._own_end += count
        self._chunk_at += count
        return 0

    cdef int _rewrite(self, const char *name, Py_ssize_t name_size, const char *kept, Py_ssize_t kept_size) except -1:
        """Replace what is unparsed by an equivalent that is shorter; more is needed to go on."""
        cdef Block *block = new_block(name_size + 1 + kept_size)
        cdef char *data = start_of(block)
        memcpy(data, name, <size_t> name_size)
        data[name_size] = c" "
        memcpy(data + name_size + 1, kept, <size_t> kept_size)
        self._release_chunk()
        if self._own != NULL:
            self._own.next = self._retired
            self._retired = self._own
        self._own = block
        self._own_at = data
        self._own_end = data + name_size + 1 + kept_size
        self._need = name_size + 1 + kept_size + 1
        return 0

    def peek(self, Py_ssize_t count):
        """The first unparsed bytes, at most `count`."""
        cdef Py_ssize_t first = min(count, self._own_end - self._own_at)
        cdef Py_ssize_t second = min(count - first, self._chunk_end - self._chunk_at)
        own = PyBytes_FromStringAndSize(self._own_at, first) if first > 0 else b""
        return own + PyBytes_FromStringAndSize(self._chunk_at, second) if second > 0 else own

    def forget(self):
        """Drop unparsed bytes: the connection is ending."""
        self._release_chunk()
        self._release_own()
        self._need = 1
