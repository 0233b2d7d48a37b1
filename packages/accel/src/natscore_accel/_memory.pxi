# Blocks of memory, and the chains of pieces that outboxes are made of.
#
# A block is counted by those who refer to it: outboxes, sources, and the views that a shell holds. It never
# moves. Released blocks of a usual size go back to one pool, which is bounded.

cdef struct Block:
    Py_ssize_t refs
    Py_ssize_t capacity
    Py_ssize_t size_class   # place in the pool; SIZE_CLASSES: none
    Block *next             # in the pool, or in a list of blocks to be released later

cdef struct Piece:
    Block *block
    char *data
    Py_ssize_t size
    Piece *next

cdef enum:
    SIZE_CLASSES = 10       # 512 bytes to 256 KiB
    SMALLEST_BLOCK = 512
    CHAIN_BLOCK = 65_536    # blocks of a chain grow up to this size
    POOL_BYTES_MAX = 8_388_608
    PIECES_FREE_MAX = 8_192

cdef Block *_free_blocks[SIZE_CLASSES]
cdef Py_ssize_t _pooled = 0
cdef Piece *_free_pieces = NULL
cdef Py_ssize_t _pieces_free = 0


cdef inline char *start_of(Block *block) noexcept:
    return <char *> (block + 1)


cdef Block *new_block(Py_ssize_t size) except NULL:
    """A block of at least `size` bytes, referred to once."""
    global _pooled
    cdef Py_ssize_t size_class = 0
    cdef Py_ssize_t capacity = SMALLEST_BLOCK
    cdef Block *block
    while capacity < size and size_class < SIZE_CLASSES:
        capacity <<= 1
        size_class += 1
    if size_class < SIZE_CLASSES and _free_blocks[size_class] != NULL:
        block = _free_blocks[size_class]
        _free_blocks[size_class] = block.next
        _pooled -= capacity
    else:
        if size_class == SIZE_CLASSES:
            capacity = size
        if capacity > PY_SSIZE_T_MAX - <Py_ssize_t> sizeof(Block):
            raise MemoryError
        block = <Block *> malloc(sizeof(Block) + <size_t> capacity)
        if block == NULL:
            raise MemoryError
        block.capacity = capacity
        block.size_class = size_class
    block.refs = 1
    block.next = NULL
    return block


cdef inline void release_block(Block *block) noexcept:
    """One who refers to it does so no more."""
    global _pooled
    block.refs -= 1
    if block.refs > 0:
        return
    if block.size_class < SIZE_CLASSES and _pooled + block.capacity <= POOL_BYTES_MAX:
        block.next = _free_blocks[block.size_class]
        _free_blocks[block.size_class] = block
        _pooled += block.capacity
    else:
        free(block)


cdef Piece *new_piece(Block *block, char *data, Py_ssize_t size) except NULL:
    """A piece of a chain; it takes over the reference to `block`."""
    global _free_pieces, _pieces_free
    cdef Piece *piece = _free_pieces
    if piece != NULL:
        _free_pieces = piece.next
        _pieces_free -= 1
    else:
        piece = <Piece *> malloc(sizeof(Piece))
        if piece == NULL:
            raise MemoryError
    piece.block = block
    piece.data = data
    piece.size = size
    piece.next = NULL
    return piece


cdef inline void release_piece(Piece *piece) noexcept:
    global _free_pieces, _pieces_free
    release_block(piece.block)
    if _pieces_free < PIECES_FREE_MAX:
        piece.next = _free_pieces
        _free_pieces = piece
        _pieces_free += 1
    else:
        free(piece)


@cython.final
@cython.freelist(64)
cdef class View:
    """Some bytes of a block, lent to a shell. They stay where they are while the view exists."""

    cdef Block *_block
    cdef char *_data
    cdef Py_ssize_t _size

    def __dealloc__(self):
        if self._block != NULL:
            release_block(self._block)

    @property
    def block(self):
        """Which block it is: views of equal blocks share their memory."""
        return <size_t> self._block

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        PyBuffer_FillInfo(buffer, self, self._data, self._size, 1, flags)


cdef object view_of(Block *block, char *data, Py_ssize_t size):
    """A memoryview of bytes in a block."""
    cdef View view = View.__new__(View)
    block.refs += 1
    view._block = block
    view._data = data
    view._size = size
    return PyMemoryView_FromObject(view)


# -- a hash that strangers cannot predict ----------------------------------------------------------
# SipHash with 1 and 3 rounds. Its key comes from that of Python's own hash, which is drawn once per process: it
# decides where an entry of a table lies, and nothing that anybody can see.

cdef uint64_t _key0, _key1
_key0 = <uint64_t> <Py_ssize_t> hash(b"natscore_accel first")
_key1 = <uint64_t> <Py_ssize_t> hash(b"natscore_accel second")


cdef inline uint64_t _rotated(uint64_t x, int by) noexcept nogil:
    return (x << by) | (x >> (64 - by))


cdef uint64_t hash_of(const char *data, Py_ssize_t size, uint64_t tweak) noexcept nogil:
    cdef uint64_t v0 = _key0 ^ 0x736F6D6570736575ULL
    cdef uint64_t v1 = _key1 ^ 0x646F72616E646F6DULL
    cdef uint64_t v2 = _key0 ^ 0x6C7967656E657261ULL ^ tweak
    cdef uint64_t v3 = _key1 ^ 0x7465646279746573ULL
    cdef uint64_t m
    cdef Py_ssize_t left = size
    cdef int rounds
    while True:
        if left >= 8:
            memcpy(&m, data, 8)
            data += 8
        else:
            m = 0
            if left > 0:
                memcpy(&m, data, <size_t> left)
            m |= (<uint64_t> size) << 56
        v3 ^= m
        v0 += v1; v1 = _rotated(v1, 13); v1 ^= v0; v0 = _rotated(v0, 32)
        v2 += v3; v3 = _rotated(v3, 16); v3 ^= v2
        v0 += v3; v3 = _rotated(v3, 21); v3 ^= v0
        v2 += v1; v1 = _rotated(v1, 17); v1 ^= v2; v2 = _rotated(v2, 32)
        v0 ^= m
        if left < 8:
            break
        left -= 8
    v2 ^= 0xFF
    for rounds in range(3):
        v0 += v1; v1 = _rotated(v1, 13); v1 ^= v0; v0 = _rotated(v0, 32)
        v2 += v3; v3 = _rotated(v3, 16); v3 ^= v2
        v0 += v3; v3 = _rotated(v3, 21); v3 ^= v0
        v2 += v1; v1 = _rotated(v1, 17); v1 ^= v2; v2 = _rotated(v2, 32)
    return v0 ^ v1 ^ v2 ^ v3
