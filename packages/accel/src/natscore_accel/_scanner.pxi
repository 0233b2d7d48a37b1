# Reading lines. The names of ops and what follows them come from the table of natscore.wire.ops.

cdef enum:
    NOT_CANONICAL = 0
    PUB = 1
    HPUB = 2
    SUB = 3
    UNSUB = 4
    CONNECT = 5
    INFO = 6
    PING = 7
    PONG = 8
    OK = 9
    ERROR = 10
    OPS_OF_CLIENTS = 10
    OP_LENGTH_MAX = 7

cdef enum:
    BLANK = 1                 # at least one blank
    ANYTHING = 2              # blanks or the argument
    IGNORED = 3               # the rest of the line does not matter

cdef struct Op:
    int kind
    int follows
    Py_ssize_t size
    PyObject *name            # as in the table, which lives as long as the module
    char text[8]

cdef Op _ops[OPS_OF_CLIENTS]
cdef unsigned char _ends_word[256]
cdef tuple _op_names = tuple(CLIENT_OPS)


def _fill_tables():
    kinds = {
        b"PUB": PUB, b"HPUB": HPUB, b"SUB": SUB, b"UNSUB": UNSUB, b"CONNECT": CONNECT, b"INFO": INFO,
        b"PING": PING, b"PONG": PONG, b"+OK": OK, b"-ERR": ERROR,
    }
    follows = {Follows.BLANK: BLANK, Follows.ANYTHING: ANYTHING, Follows.IGNORED: IGNORED}
    if set(kinds) != set(_op_names) or _OP_LENGTH_MAX != OP_LENGTH_MAX:
        raise ImportError("natscore and natscore-accel know different operations: install matching versions")
    for number, name in enumerate(_op_names):
        _ops[number].kind = kinds[name]
        _ops[number].follows = follows[CLIENT_OPS[name]]
        _ops[number].size = len(name)
        _ops[number].name = <PyObject *> name
        memcpy(_ops[number].text, PyBytes_AS_STRING(name), <size_t> len(name))
    for number in b" \t\r\n":
        _ends_word[<int> number] = 1


_fill_tables()


cdef inline bint is_blank(char byte) noexcept:
    return byte == c" " or byte == c"\t"


cdef inline char upper(char byte) noexcept:
    return <char> (byte - 32) if c"a" <= byte <= c"z" else byte


cdef const Op *op_at(const char *p, const char *end) noexcept:
    """The op whose name stands at `p`, in any case."""
    cdef int number
    cdef Py_ssize_t at
    for number in range(OPS_OF_CLIENTS):
        if end - p < _ops[number].size:
            continue
        at = 0
        while at < _ops[number].size and upper(p[at]) == _ops[number].text[at]:
            at += 1
        if at == _ops[number].size:
            return &_ops[number]
    return NULL


cdef bint is_op_prefix(const char *p, const char *end) noexcept:
    """Whether all that is there is the beginning of a name."""
    cdef int number
    cdef Py_ssize_t at
    for number in range(OPS_OF_CLIENTS):
        if end - p > _ops[number].size:
            continue
        at = 0
        while p + at < end and upper(p[at]) == _ops[number].text[at]:
            at += 1
        if p + at == end:
            return True
    return False


cdef inline Py_ssize_t up_to_newline(const char *p, const char *end) noexcept:
    """How many bytes there are up to the end of a line, or at all."""
    cdef const char *newline = <const char *> memchr(p, c"\n", <size_t> (end - p))
    return newline + 1 - p if newline != NULL else end - p


cdef struct Publish:
    const char *subject
    Py_ssize_t subject_size
    const char *tail          # what follows the subject and its blank
    const char *reply
    Py_ssize_t reply_size     # 0: none
    Py_ssize_t headers
    Py_ssize_t payload        # headers included
    const char *body


cdef int scan_publish(const char *p, const char *end, Publish *op) noexcept:
    """PUB or HPUB in canonical form: upper case, single blanks, sizes of one to nine digits, CRLF, no reserved reply."""
    cdef const char *starts[4]
    cdef Py_ssize_t sizes[4]
    cdef int kind, words = 0, wanted
    cdef const char *start
    if end - p < 9:
        return NOT_CANONICAL
    if memcmp(p, b"PUB ", 4) == 0:
        kind = PUB
        p += 4
        wanted = 2
    elif memcmp(p, b"HPUB ", 5) == 0:
        kind = HPUB
        p += 5
        wanted = 3
    else:
        return NOT_CANONICAL
    while True:
        start = p
        while p < end and not _ends_word[<unsigned char> p[0]]:
            p += 1
        if p == end or p == start or words > wanted:
            return NOT_CANONICAL
        starts[words] = start
        sizes[words] = p - start
        words += 1
        if p[0] == c" ":
            p += 1
        elif p[0] == c"\r":
            break
        else:
            return NOT_CANONICAL
    if words < wanted or end - p < 2 or p[1] != c"\n":
        return NOT_CANONICAL
    op.payload = digits_of(starts[words - 1], sizes[words - 1])
    if op.payload < 0:
        return NOT_CANONICAL
    op.headers = 0
    if kind == HPUB:
        op.headers = digits_of(starts[words - 2], sizes[words - 2])
        if op.headers < 0:
            return NOT_CANONICAL
    op.subject, op.subject_size = starts[0], sizes[0]
    op.tail = starts[1]
    if words > wanted:
        op.reply, op.reply_size = starts[1], sizes[1]
        if (
            starts_with(op.reply, op.reply_size, b"_R_.", 4) or starts_with(op.reply, op.reply_size, b"_GR_.", 5)
            or starts_with(op.reply, op.reply_size, b"$JS.ACK.", 8)
        ):
            return NOT_CANONICAL
    else:
        op.reply, op.reply_size = op.tail, 0
    op.body = p + 2
    return kind


cdef inline Py_ssize_t digits_of(const char *data, Py_ssize_t size) noexcept:
    """The number that one to nine digits say; -1 for anything else."""
    cdef Py_ssize_t value = 0, at
    if not 1 <= size <= 9:
        return -1
    for at in range(size):
        if not c"0" <= data[at] <= c"9":
            return -1
        value = value * 10 + (data[at] - c"0")
    return value


cdef Py_ssize_t scan_subscription(const char *p, const char *end) noexcept:
    """How long a SUB or UNSUB line is that comes as they come in long rows; 0 for anything else."""
    cdef Py_ssize_t name
    cdef const char *newline
    if end - p >= 4 and memcmp(p, b"SUB ", 4) == 0:
        name = 4
    elif end - p >= 6 and memcmp(p, b"UNSUB ", 6) == 0:
        name = 6
    else:
        return 0
    newline = <const char *> memchr(p + name, c"\n", <size_t> (end - p - name))
    if newline == NULL or newline - p < name + 2 or (newline - 1)[0] != c"\r":
        return 0
    if memchr(p + name, c"\r", <size_t> (newline - 1 - p - name)) != NULL:
        return 0
    return newline + 1 - p


cdef struct Word:
    const char *data
    Py_ssize_t size


cdef int split(const char *p, const char *end, Word *words, int most) noexcept:
    """Words between blanks; how many, counting no further than `most`."""
    cdef int count = 0
    while count < most:
        while p < end and is_blank(p[0]):
            p += 1
        if p == end:
            break
        words[count].data = p
        while p < end and not is_blank(p[0]):
            p += 1
        words[count].size = p - words[count].data
        count += 1
    return count


cdef inline Py_ssize_t number_of(Word *word) noexcept:
    return digits_of(word.data, word.size)


cdef list words_of(const char *p, const char *end):
    """Words between blanks and CRs."""
    cdef list words = []
    cdef const char *start
    while True:
        while p < end and (is_blank(p[0]) or p[0] == c"\r"):
            p += 1
        if p == end:
            return words
        start = p
        while p < end and not is_blank(p[0]) and p[0] != c"\r":
            p += 1
        words.append(PyBytes_FromStringAndSize(start, p - start))
