# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
# cython: embedsignature=False, binding=False
"""The compiled data plane: what natscore.dataplane does, in C.

The pure plane is the reference, and this one agrees with it byte for byte: the
same operations in the same order, the same draws, the same reasons to stop, the
same cost of a turn. It differs in where bytes stand. Input is parsed in place;
output is appended to blocks from one pool; messages become no Python objects.

Rules that the code keeps:

- Every offset that a peer controls is compared with the end of what is there
  before it is used; sizes are 64 bits wide and at most nine digits long.
- Nothing that may call into Python stands between reserving room and filling it.
- Memory that somebody may still look at is counted, and not moved or reused.

Hot path: `run` and `_hand_run` (guarded by `nox -s bench`; twin:
`natscore.dataplane.PureDataPlane`, compared by `testing.PairedDataPlane`).
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_FillInfo, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.list cimport PyList_GET_SIZE
from cpython.memoryview cimport PyMemoryView_FromObject
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF, Py_XDECREF
from cpython.tuple cimport PyTuple_GET_ITEM, PyTuple_GET_SIZE
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memchr, memcmp, memcpy, memmove, memset

from natscore import delivery, plan, sublist
from natscore.account.permissions import RESPONSES_MAX
from natscore.cells import LARGE_PAYLOAD as _LARGE_PAYLOAD
from natscore.controlops import OPS_MAX as _OPS_MAX
from natscore.delivery import DENIED_MAX as _DENIED_MAX
from natscore.errors import (
    control_line_exceeded,
    error_from_client,
    invalid_publish_subject,
    malformed,
    payload_exceeded,
    publish_denied,
    reply_denied,
    unknown_operation,
)
from natscore.plan import Plan, refusal
from natscore.plane import Asked, Stop
from natscore.subject import is_valid_literal
from natscore.responses import Responses
from natscore.turn import CHOICE_STEPS as _CHOICE_STEPS
from natscore.turn import DELIVERY_COST as _DELIVERY_COST, READY_COST as _READY_COST, RULE_COST as _RULE_COST
from natscore.turn import SINGLE_COST as _SINGLE_COST, STEP_COST as _STEP_COST
from natscore.wire.headers import no_responders
from natscore.wire.ops import CLIENT_OPS, OP_LENGTH_MAX as _OP_LENGTH_MAX, Follows

cdef extern from "Python.h":
    const Py_ssize_t PY_SSIZE_T_MAX
    PyObject *PyDict_GetItem(object mapping, object key)

cdef Py_ssize_t LARGE_PAYLOAD = _LARGE_PAYLOAD
cdef Py_ssize_t OPS_MAX = _OPS_MAX
cdef Py_ssize_t DENIED_MAX = _DENIED_MAX
cdef long long CHOICE_STEPS = _CHOICE_STEPS
cdef Py_ssize_t DELIVERY_COST = _DELIVERY_COST
cdef Py_ssize_t READY_COST = _READY_COST
cdef Py_ssize_t RULE_COST = _RULE_COST
cdef Py_ssize_t SINGLE_COST = _SINGLE_COST
cdef Py_ssize_t STEP_COST = _STEP_COST
cdef enum:
    OVERHEAD_PENDING = 64     # how much of an incomplete line that is ignored anyway is kept

include "_memory.pxi"
include "_sublist.pxi"
include "_cells.pxi"
include "_delivery.pxi"
include "_scanner.pxi"


@cython.final
cdef class CompiledDataPlane(Delivery):
    """The compiled implementation of DataPlane."""

    cdef CompiledPlan _refusal

    def __cinit__(self, choices not None):
        self._refusal = CompiledPlan.__new__(CompiledPlan)
        self._refusal.receivers = receivers_of(refusal())

    def outbox(self, cid):
        """The writing side of a new connection."""
        return Outbox(cid, self.ready)

    def source(self, cid, outbox, table, max_control_line, max_payload):
        """The reading side of a new connection."""
        return Source(cid, outbox, table, max_control_line, max_payload)

    def bind(
        self, Source source not None, SubjectTable table not None, responses=None, responses_max=RESPONSES_MAX
    ):
        """From now on, look the subjects of `source` up in `table`."""
        source.table = table
        source.outbox.responses = table.responses(responses, responses_max) if responses is not None else None

    def sublist(self):
        """The subscriptions of a new account."""
        return Sublist()

    def table(self, sublist, reserved, allow=None, deny=None, mapper=None):
        """A look-up table over `sublist` for connections with equal rights."""
        return SubjectTable(sublist, reserved, self._refusal, self._nobody, allow, deny, mapper)

    def retire(self, SubjectTable table not None):
        """A table that nobody will look anything up in again."""
        table.sublist.tables.remove(table)
        if table._mapped is not None:
            table.sublist.tables.remove(table._mapped)

    def subscription(self, outbox, sid, subject, queue):
        """A new subscription, not yet in any sublist."""
        return Subscription(outbox, sid, subject, queue)

    def shadow(self, Subscription receiver not None, bytes subject not None, renaming):
        """A subscription in another account, not yet in any sublist, for one in the importer's."""
        cdef Shadow made
        if type(receiver) is not Subscription:
            raise TypeError("a shadow is made for a subscription of a connection")
        made = Shadow(receiver.outbox, receiver.sid, subject, receiver.queue)
        made._receiver = receiver
        made.filter = renaming
        return made

    def install(self, SubjectTable table not None, tuple nodes not None, plan, bytes subject not None=b""):
        """Answer a MISS: from now on messages to `subject` that match `nodes` are delivered by `plan`."""
        table.sublist.install(nodes, plan, subject)

    @property
    def left(self):
        """Output that this turn may still write; less than nothing when it wrote more."""
        return self._left

    def begin_turn(self, long long output_max, long long now_ns=0):
        """Allow `output_max` bytes of output until `run` answers TURN_OVER."""
        self._now_ns = now_ns
        self._left = output_max
        self._receivers_max = delivery.RECEIVERS_MAX
        self._part_max = delivery.PART_MAX

    def spend(self, long long cost):
        """Count work of the control plane as if it were `cost` bytes of output. Is anything left?"""
        self._left -= cost
        return self._left > 0

    def go_on(self, Source source not None):
        """Perform the next part of a fan-out. Is it done?"""
        try:
            return self._go_on(source)
        finally:
            self._end_drawing()

    def post(
        self, Source source not None, SubjectTable table not None, bytes subject not None, bytes reply not None,
        bytes headers not None, bytes payload not None,
    ):
        """Publish in the account of `table` what a message of `source` led to: DONE, or MISS."""
        try:
            return self._post(source, table, subject, reply, headers, payload)
        finally:
            self._end_drawing()

    def tell_no_responders(self, Source source not None, bytes subject not None, bytes reply not None):
        """Answer a request of `source` that nobody got, where it waits for the answer."""
        cdef Sublist sublist = source.table.sublist
        cdef long long steps = sublist.steps
        cdef Py_ssize_t ready = PyList_GET_SIZE(self.ready)
        cdef long long cost = self._tell_no_responders(
            source, PyBytes_AS_STRING(subject), PyBytes_GET_SIZE(subject),
            PyBytes_AS_STRING(reply), PyBytes_GET_SIZE(reply),
        )
        cost += (sublist.steps - steps) * STEP_COST
        self._left -= cost + READY_COST * (PyList_GET_SIZE(self.ready) - ready)

    def run(self, Source source not None):
        """Parse and deliver until something needs the control plane. Never raises for what a peer sent."""
        cdef Py_ssize_t have
        if source._unfinished is not None and not self.go_on(source):
            return TURN_OVER
        if source.asked is not None:
            return ASK
        have = source._count()
        if have < source._need:
            if not have:
                source.forget()
            return NEED_DATA
        try:
            return self._run(source)
        finally:
            self._end_drawing()
            source._release_retired()

    cdef object _run(self, Source source):
        cdef Sublist sublist = source.table.sublist
        cdef long long steps = sublist.steps
        cdef long long max_payload = source.max_payload
        cdef Py_ssize_t line_max = source.max_control_line + 6     # of `PUB ` and CRLF
        cdef bint one_by_one = source.verbose or source.pedantic or source.stepping
        cdef bint alone = one_by_one
        cdef bint in_own = source._own_at < source._own_end
        cdef const char *p = source._own_at if in_own else source._chunk_at
        cdef const char *end = source._own_end if in_own else source._chunk_end
        cdef Py_ssize_t need = 1
        cdef object stop = None
        cdef Publish op
        cdef Message message
        cdef PyObject *found
        # the run in hand: messages of one subject and form that were parsed and not yet delivered
        cdef Tail *tails = <Tail *> self._tails.data
        cdef Py_ssize_t tail_count = 0
        cdef Py_ssize_t tails_max = self._tails.capacity // <Py_ssize_t> sizeof(Tail)
        cdef const char *subject = NULL            # as they are delivered
        cdef Py_ssize_t subject_size = 0
        cdef const char *published = NULL          # as they were published, to know the next one by
        cdef Py_ssize_t published_size = 0
        cdef bint with_headers = False
        cdef CompiledPlan plan = None
        cdef CompiledPlan chosen                   # what a mapping says of them, and the subject that it led to
        cdef bytes target
        cdef CompiledPlan taken
        cdef Receivers *receivers = NULL
        # the control line of the message before, if the next may well be the same
        cdef const char *line = NULL
        cdef Py_ssize_t line_size = 0, tail_at = 0, stride = 0
        cdef long long weight = 0
        cdef int kind
        cdef bint canonical

        if source.awaiting_connect and p[0] != c"C" and p[0] != c"c":
            return UNAUTHENTICATED
        memset(&message, 0, sizeof(Message))

        while True:
            if p == end:
                if not in_own or source._chunk_at == source._chunk_end:
                    break
                source._own_at = source._own_end
                in_own = False
                p, end = source._chunk_at, source._chunk_end
            if in_own and source._chunk_at < source._chunk_end and memchr(p, c"\n", <size_t> (end - p)) == NULL:
                # the line goes on in the chunk: bring what there is of it into one place
                source._own_at = <char *> p
                source._need = 1
                source._pull(up_to_newline(source._chunk_at, source._chunk_end))
                p, end = source._own_at, source._own_end

            # -- the same control line again: nothing to look up ------------------------------------
            if line_size and end - p >= line_size and memcmp(p, line, <size_t> line_size) == 0:
                if end - p < stride:
                    need = stride
                    if in_own and source._chunk_at < source._chunk_end:
                        self._complete(source, p, need)
                        p, end = source._own_at, source._own_end
                    if end - p < need:
                        if lacks_cr(p, end, need):
                            stop = _violate(source, unknown_operation())
                        need = needed(p, end, need)
                        break
                    need = 1
                if p[stride - 2] != c"\r" or p[stride - 1] != c"\n":
                    stop = _violate(source, unknown_operation())
                    break
                if tail_count == tails_max:
                    tails_max = self._more_tails(tail_count)
                    tails = <Tail *> self._tails.data
                tails[tail_count] = tails[tail_count - 1]
                tails[tail_count].data = p + tail_at
                tail_count += 1
                self._left -= weight
                p += stride
                if self._left <= 0:
                    stop = TURN_OVER
                    break
                continue

            # -- any other line ---------------------------------------------------------------------
            if self.exhausted:
                stop = EXHAUSTED
                break
            line_size = 0
            kind = scan_publish(p, end, &op)
            if kind == NOT_CANONICAL:
                if tail_count:   # delivered before anything else is said on any connection
                    self._fan_out(source, receivers, subject, subject_size, tails, tail_count, with_headers)
                    tail_count = 0
                    if self.exhausted or source._unfinished is not None:
                        stop = EXHAUSTED
                        break
                _put_back(source, p, in_own)
                stop = self._other_op(source, p, end, &need)
                in_own = source._own_at < source._own_end
                p = source._own_at if in_own else source._chunk_at
                end = source._own_end if in_own else source._chunk_end
                if stop is not None:
                    break
                if need > 1:
                    if in_own and source._chunk_at < source._chunk_end and end - p < need:
                        self._complete(source, p, need)
                        p, end = source._own_at, source._own_end
                        need = 1
                        continue
                    break
                continue
            canonical = kind == PUB
            if op.body - p > line_max + (not canonical):
                stop = _violate(source, control_line_exceeded())
                break
            if not canonical and (not source.headers or op.headers > op.payload):
                stop = _violate(source, malformed())
                break
            if op.payload > max_payload:
                stop = _violate(source, payload_exceeded())
                break
            need = op.body - p + op.payload + 2
            if end - p < need:
                if in_own and source._chunk_at < source._chunk_end:
                    self._complete(source, p, need)
                    p, end = source._own_at, source._own_end
                    if end - p >= need:
                        need = 1
                        continue   # all of it is there now
                if lacks_cr(p, end, need):
                    stop = _violate(source, unknown_operation())
                need = needed(p, end, need)
                break
            stride = need
            need = 1
            if p[stride - 2] != c"\r" or p[stride - 1] != c"\n":
                stop = _violate(source, unknown_operation())
                break
            if (
                receivers == NULL or with_headers == canonical or op.subject_size != published_size
                or memcmp(op.subject, published, <size_t> published_size) != 0
            ):
                if tail_count:
                    self._fan_out(source, receivers, subject, subject_size, tails, tail_count, with_headers)
                    tail_count = 0
                    if self.exhausted or source._unfinished is not None:
                        stop = EXHAUSTED
                        break
                found = source.table.look_up_text(op.subject, op.subject_size)
                subject, subject_size = op.subject, op.subject_size
                published, published_size = op.subject, op.subject_size
                alone = one_by_one
                if found != NULL and (<CompiledPlan> found).choice is not None:
                    chosen = <CompiledPlan> found
                    if not chosen.is_fixed:   # each message has a draw of its own, in the order of arrival
                        published_size = -1
                        alone = True
                    target = self._target_of(source, source.table, chosen)
                    found = self._look_up_target(source, source.table, chosen, target)
                    if target is not None:
                        subject, subject_size = PyBytes_AS_STRING(target), PyBytes_GET_SIZE(target)
                if found == NULL:
                    source.missed = sublist.found_nodes()
                    source.missed_subject = PyBytes_FromStringAndSize(subject, subject_size)
                    stop = MISS
                    break
                plan = <CompiledPlan> found
                receivers = plan.receivers
                with_headers = not canonical

            if (
                alone
                or op.payload >= LARGE_PAYLOAD
                or not receivers.distinct
                or receivers.refuses
                or receivers.asks != NULL
                or (not canonical and op.headers == 0)
                or (op.reply_size and (source.no_responders or receivers.tracks))
            ):
                if tail_count:
                    self._fan_out(source, receivers, subject, subject_size, tails, tail_count, with_headers)
                    tail_count = 0
                    if self.exhausted or source._unfinished is not None:
                        stop = EXHAUSTED
                        break
                taken = plan
                if receivers.refuses and source.outbox.responses is not None:
                    found = self._response(source, plan, subject, subject_size)
                    if found == NULL:
                        if published_size < 0:
                            source._drawn, source._drawn_by = target, source.table._mapper
                        source.missed = sublist.found_nodes()
                        source.missed_subject = PyBytes_FromStringAndSize(subject, subject_size)
                        stop = MISS
                        break
                    taken = <CompiledPlan> found
                if source.pedantic:
                    self._complain(source, op.subject, op.subject_size)
                message.subject, message.subject_size = subject, subject_size
                message.line, message.line_size = op.tail, op.body - op.tail
                message.body, message.body_size = op.body, op.payload + 2
                message.headers = -1 if canonical else op.headers
                self._publish(source, taken.receivers, &message, op.reply, op.reply_size)
                if source.stepping:
                    source.stepped = PyBytes_FromStringAndSize(p, stride)
                    stop = STEPPED
                elif source.asked is not None:
                    stop = ASK
                p += stride
                if stop is not None:
                    break
            else:
                tail_at = op.tail - p
                if not op.reply_size:
                    line = p
                    line_size = op.body - p
                if tail_count == tails_max:
                    tails_max = self._more_tails(tail_count)
                    tails = <Tail *> self._tails.data
                tails[tail_count].data = op.tail
                tails[tail_count].size = stride - tail_at
                tails[tail_count].payload = op.payload
                tails[tail_count].headers = 0 if canonical else op.headers
                tail_count += 1
                weight = stride * receivers.width + receivers.overhead
                self._left -= weight
                p += stride
            if sublist.steps != steps:
                self._left -= (sublist.steps - steps) * STEP_COST
                steps = sublist.steps
            if self._left <= 0 or source._unfinished is not None:
                stop = TURN_OVER
                break

        if tail_count:
            self._fan_out(source, receivers, subject, subject_size, tails, tail_count, with_headers)
        if source._unfinished is not None and stop is not STEPPED:
            stop = TURN_OVER   # whatever it was is found again when these messages are delivered
        self._left -= (sublist.steps - steps) * STEP_COST
        _put_back(source, p, in_own)
        if source._own_at == source._own_end:
            source._release_own()
        if stop is None:
            source._need = need
            return NEED_DATA
        source._need = 1
        return stop

    cdef PyObject *_response(
        self, Source source, CompiledPlan refusal, const char *text, Py_ssize_t size
    ) except? NULL:
        """What becomes of a publish that is refused, to a subject where it may be a response; NULL: a miss."""
        cdef object responses = source.outbox.responses
        cdef bytes subject = PyBytes_FromStringAndSize(text, size)
        cdef PyObject *found
        if not responses.permit(subject, self._now_ns):
            return <PyObject *> refusal
        found = source.table.look_up_response(text, size)
        if found != NULL and not (<CompiledPlan> found).receivers.refuses:
            responses.use(subject)
        return found

    cdef int _complete(self, Source source, const char *p, Py_ssize_t need) except -1:
        """The operation at `p` in `own` has `need` bytes: bring as many of them as there are from the chunk."""
        source._own_at = <char *> p
        source._need = need
        source._pull(min(need - (source._own_end - p), source._chunk_end - source._chunk_at))
        return 0

    cdef Py_ssize_t _more_tails(self, Py_ssize_t count) except -1:
        """Room for twice as many; how many there are now."""
        cdef Py_ssize_t capacity = max(<Py_ssize_t> 256, 2 * count)
        cdef char *grown = <char *> malloc(<size_t> capacity * sizeof(Tail))
        if grown == NULL:
            raise MemoryError
        if count:
            memcpy(grown, self._tails.data, <size_t> count * sizeof(Tail))
        free(self._tails.data)
        self._tails.data = grown
        self._tails.capacity = capacity * <Py_ssize_t> sizeof(Tail)
        return capacity

    cdef object _other_op(self, Source source, const char *p, const char *end, Py_ssize_t *need):
        """Do one op that is not a canonical PUB or HPUB, at `p`, where the source stands.

        None: done, and the source is behind it (or, with `need` above 1, it is incomplete).
        """
        cdef const Op *op = op_at(p, end)
        cdef const char *newline
        cdef const char *after
        cdef const char *line_end
        need[0] = 1
        if op == NULL:
            if is_op_prefix(p, end):
                need[0] = end - p + 1
                return None
            return _violate(source, unknown_operation())
        after = p + op.size
        if op.follows == BLANK:
            if after == end:
                need[0] = end - p + 1
                return None
            if not is_blank(after[0]):
                return _violate(source, unknown_operation())
        newline = <const char *> memchr(after, c"\n", <size_t> (end - after))
        if newline == NULL:
            return self._incomplete(source, op, p, after, end, need)
        line_end = newline - 1 if newline > after and (newline - 1)[0] == c"\r" else newline
        if op.follows == IGNORED:
            _put_back(source, newline + 1, source._own_at < source._own_end)
            return self._bare_op(source, op)
        while after < line_end and is_blank(after[0]):
            after += 1
        if line_end - after > source.max_control_line:
            _put_back(source, newline + 1, source._own_at < source._own_end)
            return _violate(source, control_line_exceeded())
        if op.kind == SUB or op.kind == UNSUB:
            return self._subscription_ops(source, op, p, after, line_end, newline + 1)
        if op.kind == PUB or op.kind == HPUB:
            return self._loose_publish(source, op, p, after, line_end, newline + 1, end, need)
        _put_back(source, newline + 1, source._own_at < source._own_end)
        if op.kind == ERROR:
            return _violate(source, error_from_client())
        while line_end > after and is_blank((line_end - 1)[0]):
            line_end -= 1
        source.ops.append((<object> op.name, [PyBytes_FromStringAndSize(after, line_end - after)]))
        return OPS

    cdef object _bare_op(self, Source source, const Op *op):
        """PING, PONG and +OK, complete."""
        if op.kind == OK:
            return None
        if op.kind == PONG or source.first_ping_due or source.stepping:
            source.ops.append((<object> op.name, []))
            return OPS
        source.pings += 1
        source.outbox.put(b"PONG\r\n", 6)
        self._left -= SINGLE_COST
        return TURN_OVER if self._left <= 0 else None

    cdef object _incomplete(
        self, Source source, const Op *op, const char *p, const char *after, const char *end, Py_ssize_t *need
    ):
        """A line without its end: check what is there, and keep no more of it than may matter."""
        cdef const char *kept = after
        if op.follows == IGNORED:
            kept = end
        else:
            while kept < end and is_blank(kept[0]):
                kept += 1
            # the CR of a line end may be the last byte so far
            if end - kept - (end > kept and (end - 1)[0] == c"\r") > source.max_control_line:
                return _violate(source, control_line_exceeded())
        if kept - after > OVERHEAD_PENDING:
            source._rewrite(PyBytes_AS_STRING(<object> op.name), op.size, kept, end - kept)
            need[0] = source._need
        else:
            need[0] = end - p + 1
        return None

    cdef object _subscription_ops(
        self, Source source, const Op *op, const char *p, const char *start, const char *line_end, const char *following
    ):
        """Collect this SUB or UNSUB and those directly behind it, for one fact."""
        cdef list words
        cdef Py_ssize_t count, size
        cdef bint in_own = source._own_at < source._own_end
        cdef const char *end
        while True:
            words = words_of(start, line_end)
            count = len(words)
            if not (2 <= count <= 3 if op.kind == SUB else 1 <= count <= 2):
                if source.ops:   # those before it count; this one is met again, alone
                    _put_back(source, p, in_own)
                    return OPS
                _put_back(source, following, in_own)
                return _violate(source, malformed())
            source.ops.append((<object> op.name, words))
            p = following
            _put_back(source, p, in_own)
            if len(source.ops) >= OPS_MAX or source.stepping:
                return OPS
            end = source._own_end if in_own else source._chunk_end
            if in_own and source._chunk_at < source._chunk_end:
                if p == end:
                    in_own = False
                    p, end = source._chunk_at, source._chunk_end
                elif memchr(p, c"\n", <size_t> (end - p)) == NULL:
                    source._need = 1
                    source._pull(up_to_newline(source._chunk_at, source._chunk_end))
                    p, end = source._own_at, source._own_end
            size = scan_subscription(p, end)
            if size == 0 or size > source.max_control_line:
                return OPS
            op = op_at(p, end)
            start = p + op.size + 1
            line_end = p + size - 2
            following = p + size

    cdef object _loose_publish(
        self, Source source, const Op *op, const char *p, const char *start, const char *line_end,
        const char *body, const char *end, Py_ssize_t *need,
    ):
        """A PUB or HPUB that is not in canonical form, or whose reply is reserved."""
        cdef Word found[5]
        cdef int count = split(start, line_end, found, 5)
        cdef int sizes = 2 if op.kind == HPUB else 1
        cdef Py_ssize_t payload, headers = -1, size, reply_size = 0
        cdef const char *reply = b""
        cdef PyObject *plan
        cdef Block *block
        cdef char *to
        cdef Message message
        cdef CompiledPlan chosen = None
        cdef bytes target = None
        cdef int number
        cdef bint in_own = source._own_at < source._own_end
        _put_back(source, body, in_own)
        if not sizes + 1 <= count <= sizes + 2 or memchr(start, c"\r", <size_t> (line_end - start)) != NULL:
            return _violate(source, malformed())
        if op.kind == HPUB and not source.headers:
            return _violate(source, malformed())
        payload = number_of(&found[count - 1])
        if op.kind == HPUB:
            headers = number_of(&found[count - 2])
            if headers < 0:
                return _violate(source, malformed())
        if payload < 0 or headers > payload:
            return _violate(source, malformed())
        if payload > source.max_payload:
            return _violate(source, payload_exceeded())
        size = body - p + payload + 2
        if end - p < size:
            _put_back(source, p, in_own)
            if in_own and source._chunk_at < source._chunk_end:
                need[0] = size        # there is more of it
                return None
            need[0] = needed(p, end, size)
            return _violate(source, unknown_operation()) if lacks_cr(p, end, size) else None
        if p[size - 2] != c"\r" or p[size - 1] != c"\n":
            return _violate(source, unknown_operation())
        plan = source.table.look_up_text(found[0].data, found[0].size)
        memset(&message, 0, sizeof(Message))
        message.subject, message.subject_size = found[0].data, found[0].size
        if plan != NULL and (<CompiledPlan> plan).choice is not None:
            chosen = <CompiledPlan> plan
            target = self._target_of(source, source.table, chosen)
            plan = self._look_up_target(source, source.table, chosen, target)
            if target is not None:
                message.subject, message.subject_size = PyBytes_AS_STRING(target), PyBytes_GET_SIZE(target)
        if plan != NULL and (<CompiledPlan> plan).receivers.refuses and source.outbox.responses is not None:
            plan = self._response(source, <CompiledPlan> plan, message.subject, message.subject_size)
            if plan == NULL and chosen is not None and not chosen.is_fixed:
                source._drawn, source._drawn_by = target, source.table._mapper
        if plan == NULL:
            _put_back(source, p, in_own)
            source.missed = source.table.sublist.found_nodes()
            source.missed_subject = PyBytes_FromStringAndSize(message.subject, message.subject_size)
            return MISS
        if source.pedantic:
            self._complain(source, found[0].data, found[0].size)
        if count == sizes + 2:
            reply, reply_size = found[1].data, found[1].size
        message.body, message.body_size = body, payload + 2
        message.headers = headers
        block = new_block(line_end - start + 4)
        try:
            to = start_of(block)
            message.line = to
            for number in range(1, count):
                memcpy(to, found[number].data, <size_t> found[number].size)
                to += found[number].size
                to[0] = c" "
                to += 1
            memcpy(to - 1, b"\r\n", 2)
            message.line_size = to + 1 - message.line
            _put_back(source, p + size, in_own)
            self._publish(source, (<CompiledPlan> plan).receivers, &message, reply, reply_size)
        finally:
            release_block(block)
        if source.stepping:
            source.stepped = PyBytes_FromStringAndSize(p, size)
            return STEPPED
        if source.asked is not None:
            return ASK
        return TURN_OVER if self._left <= 0 or source._unfinished is not None else None


cdef object TURN_OVER = Stop.TURN_OVER
cdef object NEED_DATA = Stop.NEED_DATA
cdef object OPS = Stop.OPS
cdef object MISS = Stop.MISS
cdef object ASK = Stop.ASK
cdef object DONE = Stop.DONE
cdef object STEPPED = Stop.STEPPED
cdef object EXHAUSTED = Stop.EXHAUSTED
cdef object VIOLATION = Stop.VIOLATION
cdef object UNAUTHENTICATED = Stop.UNAUTHENTICATED


cdef inline bint lacks_cr(const char *p, const char *end, Py_ssize_t need) noexcept:
    """Whether a message of `need` bytes has come but for its last byte, and wrongly."""
    return end - p == need - 1 and (end - 1)[0] != c"\r"


cdef inline Py_ssize_t needed(const char *p, const char *end, Py_ssize_t size) noexcept:
    """Without how many bytes nothing more can be said of a message: its CR is looked at without its LF."""
    return size if end - p == size - 1 else size - 1


cdef object _violate(Source source, object violation):
    source.violation = violation
    return VIOLATION


cdef inline void _put_back(Source source, const char *p, bint in_own) noexcept:
    """What stands before `p` is done."""
    if in_own:
        source._own_at = <char *> p
    else:
        source._chunk_at = <char *> p
