# Executing plans. The order of checks, draws and answers is that of natscore.delivery.

cdef struct Tail:
    # a message as it stands in its source: `[reply ]sizes CRLF [headers]payload CRLF`
    const char *data
    Py_ssize_t size
    Py_ssize_t payload        # headers and payload
    Py_ssize_t headers


cdef struct Message:
    # one message that is delivered by itself
    const char *subject
    Py_ssize_t subject_size
    const char *line          # `[reply ]sizes CRLF`
    Py_ssize_t line_size
    const char *body          # headers, payload, CRLF
    Py_ssize_t body_size
    Py_ssize_t headers        # their size; -1 or 0: none
    PyObject *own             # the outbox that does not get it, which its source keeps alive; NULL: everybody may
    bint is_posted            # by the control plane, in any account
    const char *reply         # if it is to be noted
    Py_ssize_t reply_size     # 0: it is not, or there is none
    Block *block              # holds the body, or NULL: it is the source's
    const char *bare_line     # for receivers that take no headers, made when needed
    Py_ssize_t bare_line_size
    Block *bare_block


cdef struct Drawing:
    # a run being divided among a group
    Py_ssize_t n              # who may be drawn
    Py_ssize_t tries          # how many are asked then
    Py_ssize_t touched        # members that got something
    Py_ssize_t *candidates    # NULL: all members


cdef inline Py_ssize_t write_number(char *to, Py_ssize_t number) noexcept:
    """Decimal digits; how many."""
    cdef char digits[20]
    cdef int count = 0
    cdef int at
    while True:
        digits[count] = <char> (c"0" + number % 10)
        count += 1
        number //= 10
        if number == 0:
            break
    for at in range(count):
        to[at] = digits[count - 1 - at]
    return count


cdef inline Py_ssize_t reply_size(const char *line, Py_ssize_t size, bint with_headers) noexcept:
    """How much of `[reply ]sizes CRLF` is the reply and its blank."""
    cdef Py_ssize_t at = size - 2
    cdef int blanks = 2 if with_headers else 1
    while at > 0:
        if line[at - 1] == c" ":
            blanks -= 1
            if blanks == 0:
                return at
        at -= 1
    return 0


@cython.final
@cython.no_gc
cdef class Scratch:
    """Memory that is used within one call and kept for the next."""

    cdef char *data
    cdef Py_ssize_t capacity

    def __dealloc__(self):
        free(self.data)

    cdef char *room(self, Py_ssize_t size) except NULL:
        """At least `size` bytes; what stood there before is lost."""
        cdef char *grown
        if size > self.capacity:
            size += size // 2 + 256
            grown = <char *> malloc(<size_t> size)
            if grown == NULL:
                raise MemoryError
            free(self.data)
            self.data = grown
            self.capacity = size
        return self.data


@cython.final
cdef class Fanout:
    """A fan-out to more receivers than a turn serves: of a run of messages, or of one.

    It holds what it needs: the receivers, and copies of the messages.
    """

    cdef Receivers *receivers
    cdef Block *block             # copies of subject and messages
    cdef const char *subject
    cdef Py_ssize_t subject_size
    cdef Tail *tails              # a run
    cdef Py_ssize_t tail_count
    cdef Message message          # or one message
    cdef const char *reply
    cdef Py_ssize_t reply_size
    cdef Outbox own               # gets none of it, or None
    cdef bint with_headers
    cdef Py_ssize_t at            # the next receiver
    cdef Py_ssize_t part
    cdef bint delivered
    cdef list shares              # of a run: members of groups and the numbers of their messages, once divided

    def __dealloc__(self):
        if self.receivers != NULL:
            release_receivers(self.receivers)
        if self.block != NULL:
            release_block(self.block)
        free(self.tails)
        release_message(&self.message)


cdef void release_message(Message *message) noexcept:
    if message.block != NULL:
        release_block(message.block)
        message.block = NULL
    if message.bare_block != NULL:
        release_block(message.bare_block)
        message.bare_block = NULL


@cython.no_gc_clear
cdef class Delivery:
    """Executes plans: appends to outboxes, counts, chooses members of queue groups."""

    cdef readonly list ready
    cdef readonly list exhausted
    cdef readonly list strained
    cdef readonly list denied
    cdef object _choices
    cdef uint64_t _state          # of the generator, while drawn from
    cdef bint _drawing
    cdef long long _left          # output that this turn may still write
    cdef long long _now_ns        # of this turn
    cdef Py_ssize_t _receivers_max
    cdef Py_ssize_t _part_max
    cdef Scratch _head
    cdef Scratch _tails
    cdef Scratch _division
    cdef Scratch _bare
    cdef CompiledPlan _nobody     # of messages that a mapping loses

    def __cinit__(self, choices not None):
        self.ready = []
        self.exhausted = []
        self.strained = []
        self.denied = []
        self._choices = choices
        self._head = Scratch.__new__(Scratch)
        self._tails = Scratch.__new__(Scratch)
        self._division = Scratch.__new__(Scratch)
        self._bare = Scratch.__new__(Scratch)
        self._nobody = CompiledPlan.__new__(CompiledPlan)
        self._nobody.receivers = receivers_of(Plan((), ()))

    def __dealloc__(self):
        # An outbox refers to the list that it stands in, and the collector cannot see that.
        if self.ready is not None:
            self.ready.clear()

    # -- choices

    cdef int _begin_drawing(self) except -1:
        self._state = self._choices.state
        self._drawing = True
        return 0

    cdef int _end_drawing(self) except -1:
        if self._drawing:
            self._drawing = False
            self._choices.state = self._state
        return 0

    cdef inline Py_ssize_t _pick(self, Py_ssize_t n) except -1:
        cdef uint64_t x
        if not self._drawing:
            self._begin_drawing()
        x = self._state
        x ^= x << 13
        x ^= x >> 7
        x ^= x << 17
        self._state = x
        return <Py_ssize_t> (((x >> 32) * <uint64_t> n) >> 32)

    # -- runs of messages

    cdef int _fan_out(
        self, Source source, Receivers *plan, const char *subject, Py_ssize_t subject_size,
        Tail *tails, Py_ssize_t count, bint with_headers,
    ) except -1:
        """Hand a run of messages to every receiver of a plan in which no two share an outbox; weigh who is ready."""
        cdef Py_ssize_t number, ready = PyList_GET_SIZE(self.ready)
        cdef Outbox own = None if source.echo else source.outbox
        source.messages += count
        for number in range(count):
            source.volume += tails[number].payload
        if plan.fanout > self._receivers_max:
            self._begin_run(source, plan, own, subject, subject_size, tails, count, with_headers)
        else:
            self._hand_run(
                plan.local, plan.published_count, own, subject, subject_size, tails, count, with_headers
            )
            if plan.renamed_count:
                self._hand_renamed(plan, own, tails, count, with_headers)
            if plan.group_count:
                self._divide(plan, own, subject, subject_size, tails, count, with_headers, None)
        self._left -= READY_COST * (PyList_GET_SIZE(self.ready) - ready)
        return 0

    cdef int _hand_renamed(
        self, Receivers *plan, Outbox own, Tail *tails, Py_ssize_t count, bint with_headers
    ) except -1:
        """Hand a run of messages to the plain receivers that know them by another subject."""
        cdef Py_ssize_t number, start = plan.published_count
        cdef Renamed *row
        for number in range(plan.renamed_count):
            row = &plan.renamed[number]
            self._hand_run(
                plan.local + start, row.end - start, own, PyBytes_AS_STRING(<object> row.subject),
                PyBytes_GET_SIZE(<object> row.subject), tails, count, with_headers,
            )
            start = row.end
        return 0

    cdef int _hand_run(
        self, PyObject **receivers, Py_ssize_t receiver_count, Outbox own, const char *subject,
        Py_ssize_t subject_size, Tail *tails, Py_ssize_t count, bint with_headers,
    ) except -1:
        """Hand a run of messages to plain subscriptions."""
        cdef Py_ssize_t number, place, head_size, sid_size, total = 0, wanted, made_size = 0
        cdef Py_ssize_t volume = 0
        cdef Subscription one
        cdef Outbox outbox
        cdef char *head = NULL
        cdef char *to
        cdef char *made = NULL
        cdef const char *made_sid = NULL
        cdef Py_ssize_t made_sid_size = -1
        for number in range(count):
            total += tails[number].size
            volume += tails[number].payload
        for place in range(receiver_count):
            one = <Subscription> receivers[place]
            outbox = one.outbox
            if not outbox.accepts or not one.live or outbox is own:
                continue
            if one._max or (with_headers and not outbox.headers):
                wanted = min(count, one._max - one.delivered) if one._max else count
                self._hand(one, subject, subject_size, tails, wanted, NULL, 0, with_headers)
                continue
            sid_size = PyBytes_GET_SIZE(one.sid)
            if made != NULL and sid_size == made_sid_size and memcmp(
                made_sid, PyBytes_AS_STRING(one.sid), <size_t> sid_size
            ) == 0:
                # receivers with equal sids get the same bytes
                memcpy(outbox.reserve(made_size), made, <size_t> made_size)
            else:
                head = self._make_head(subject, subject_size, one.sid, with_headers, &head_size)
                made_size = total + count * head_size
                made = to = outbox.reserve(made_size)
                for number in range(count):
                    memcpy(to, head, <size_t> head_size)
                    to += head_size
                    memcpy(to, tails[number].data, <size_t> tails[number].size)
                    to += tails[number].size
                made_sid = PyBytes_AS_STRING(one.sid)
                made_sid_size = sid_size
            one.delivered += count
            outbox.messages += count
            outbox.volume += volume
            if outbox.blocked:
                self.strained.append(outbox)
        return 0

    cdef char *_make_head(
        self, const char *subject, Py_ssize_t subject_size, bytes sid, bint with_headers, Py_ssize_t *size
    ) except NULL:
        """What stands before the tail of a message: `MSG subject sid `."""
        cdef Py_ssize_t sid_size = PyBytes_GET_SIZE(sid)
        cdef char *head = self._head.room(subject_size + sid_size + 8)
        cdef char *to = head
        if with_headers:
            memcpy(to, b"HMSG ", 5)
            to += 5
        else:
            memcpy(to, b"MSG ", 4)
            to += 4
        memcpy(to, subject, <size_t> subject_size)
        to += subject_size
        to[0] = c" "
        memcpy(to + 1, PyBytes_AS_STRING(sid), <size_t> sid_size)
        to += 1 + sid_size
        to[0] = c" "
        size[0] = to + 1 - head
        return head

    cdef int _hand(
        self, Subscription one, const char *subject, Py_ssize_t subject_size, Tail *tails, Py_ssize_t count,
        Py_ssize_t *following, Py_ssize_t first, bint with_headers,
    ) except -1:
        """Give messages to one subscription, which is live and has room for all of them.

        They are the first `count` of `tails`, or with `following` those of a list that begins at `first`.
        """
        cdef Outbox outbox = one.outbox
        cdef bint bare = with_headers and not outbox.headers
        cdef Py_ssize_t head_size, total, number, step, at, reply, digits_size, payload
        cdef char digits[20]
        cdef Tail *tail
        cdef char *head = self._make_head(subject, subject_size, one.sid, with_headers and not bare, &head_size)
        cdef char *to
        total = head_size * count
        number = first
        for step in range(count):
            tail = &tails[number]
            if bare:
                reply, digits_size = self._bare_line(tail, digits)
                total += reply + digits_size + 2 + tail.payload - tail.headers + 2
            else:
                total += tail.size
            number = following[number] if following != NULL else number + 1
        to = outbox.reserve(total)
        number = first
        for step in range(count):
            tail = &tails[number]
            memcpy(to, head, <size_t> head_size)
            to += head_size
            if bare:
                reply, digits_size = self._bare_line(tail, digits)
                memcpy(to, tail.data, <size_t> reply)
                to += reply
                memcpy(to, digits, <size_t> digits_size)
                to += digits_size
                memcpy(to, b"\r\n", 2)
                payload = tail.payload - tail.headers
                memcpy(to + 2, tail.data + tail.size - 2 - payload, <size_t> payload + 2)
                to += 2 + payload + 2
                outbox.volume += payload
            else:
                memcpy(to, tail.data, <size_t> tail.size)
                to += tail.size
                outbox.volume += tail.payload
            number = following[number] if following != NULL else number + 1
        outbox.messages += count
        if outbox.blocked:
            self.strained.append(outbox)
        one.delivered += count
        if one.delivered == one._max:
            one.live = False
            self.exhausted.append(one)
        return 0

    cdef (Py_ssize_t, Py_ssize_t) _bare_line(self, Tail *tail, char *digits) noexcept:
        """Without headers: how much of the line is the reply, and how many digits its size has."""
        cdef Py_ssize_t line_size = tail.size - tail.payload - 2
        return (
            reply_size(tail.data, line_size, True),
            write_number(digits, tail.payload - tail.headers),
        )

    cdef int _divide(
        self, Receivers *plan, Outbox own, const char *subject, Py_ssize_t subject_size,
        Tail *tails, Py_ssize_t count, bint with_headers, list shares,
    ) except -1:
        """Hand each message of a run to one member of each group; or, with `shares`, note who gets which.

        A draw must mean the same wherever a run is cut. So every group draws for a message before any draws
        for the next, and a member that has reached its max is no candidate for the next.
        """
        cdef Py_ssize_t row, number, tries, start_at, step, at, who
        cdef Drawing *drawings
        cdef Drawing *drawing
        cdef Py_ssize_t *order         # of each group: its members, by their first message
        cdef Py_ssize_t *following     # of each group and message: the next one of the same share
        cdef GroupRow *group
        cdef Share *share
        cdef Subscription member
        cdef const char *known_as
        cdef Py_ssize_t known_as_size
        drawings = <Drawing *> self._division.room(
            plan.group_count * <Py_ssize_t> (sizeof(Drawing) + 2 * <size_t> count * sizeof(Py_ssize_t))
        )
        order = <Py_ssize_t *> (drawings + plan.group_count)
        following = order + plan.group_count * count
        for row in range(plan.group_count):
            group = &plan.groups[row]
            if group.shares == NULL:
                group.shares = <Share *> calloc(<size_t> group.count, sizeof(Share))
                if group.shares == NULL:
                    raise MemoryError
            drawings[row].candidates = NULL
            drawings[row].n = drawings[row].tries = group.count
            drawings[row].touched = 0
        try:
            for number in range(count):
                for row in range(plan.group_count):
                    group = &plan.groups[row]
                    drawing = &drawings[row]
                    start_at = self._pick(drawing.n) if drawing.n > 1 else 0
                    for step in range(drawing.tries):
                        at = start_at + step
                        if at >= drawing.n:
                            at -= drawing.n
                        who = drawing.candidates[at] if drawing.candidates != NULL else at
                        member = <Subscription> group.members[who]
                        if not member.outbox.accepts or not member.live or member.outbox is own:
                            continue
                        share = &group.shares[who]
                        if share.count == 0:
                            share.first = number
                            order[row * count + drawing.touched] = who
                            drawing.touched += 1
                        else:
                            following[row * count + share.last] = number
                        share.last = number
                        share.count += 1
                        if member._max and member.delivered + share.count == member._max:
                            self._leave(group, drawing, at)
                        break
                    else:
                        drawing.tries = 0             # nobody takes any, and nobody will before the next settle
            for row in range(plan.group_count):
                group = &plan.groups[row]
                for step in range(drawings[row].touched):
                    who = order[row * count + step]
                    share = &group.shares[who]
                    if shares is None:
                        known_as, known_as_size = subject, subject_size
                        if group.names != NULL:
                            known_as = PyBytes_AS_STRING(<object> group.names[who])
                            known_as_size = PyBytes_GET_SIZE(<object> group.names[who])
                        self._hand(
                            <Subscription> group.members[who], known_as, known_as_size, tails, share.count,
                            following + row * count, share.first, with_headers,
                        )
                    else:
                        numbers = []
                        number = share.first
                        for at in range(share.count):
                            numbers.append(number)
                            number = following[row * count + number]
                        name = <object> group.names[who] if group.names != NULL else None
                        shares.append((<Subscription> group.members[who], numbers, name))
        finally:
            for row in range(plan.group_count):
                free(drawings[row].candidates)
                for step in range(drawings[row].touched):
                    plan.groups[row].shares[order[row * count + step]].count = 0
        return 0

    cdef int _leave(self, GroupRow *group, Drawing *drawing, Py_ssize_t at) except -1:
        """One candidate has got all that it wanted."""
        cdef Py_ssize_t number
        if drawing.candidates == NULL:
            drawing.candidates = <Py_ssize_t *> malloc(<size_t> group.count * sizeof(Py_ssize_t))
            if drawing.candidates == NULL:
                raise MemoryError
            for number in range(group.count):
                drawing.candidates[number] = number
        drawing.n -= 1
        drawing.tries = drawing.n
        memmove(
            drawing.candidates + at, drawing.candidates + at + 1, <size_t> (drawing.n - at) * sizeof(Py_ssize_t)
        )
        return 0

    # -- fan-outs in parts

    cdef int _begin_run(
        self, Source source, Receivers *plan, Outbox own, const char *subject, Py_ssize_t subject_size,
        Tail *tails, Py_ssize_t count, bint with_headers,
    ) except -1:
        cdef Fanout parts = Fanout.__new__(Fanout)
        cdef Py_ssize_t size = subject_size, number
        cdef char *to
        for number in range(count):
            size += tails[number].size
        parts.block = new_block(size)
        parts.tails = <Tail *> malloc(<size_t> count * sizeof(Tail))
        if parts.tails == NULL:
            raise MemoryError
        parts.tail_count = count
        to = start_of(parts.block)
        memcpy(to, subject, <size_t> subject_size)
        parts.subject, parts.subject_size = to, subject_size
        to += subject_size
        for number in range(count):
            memcpy(to, tails[number].data, <size_t> tails[number].size)
            parts.tails[number] = tails[number]
            parts.tails[number].data = to
            to += tails[number].size
        parts.own = own
        parts.with_headers = with_headers
        parts.part = self._receivers_max
        plan.refs += 1
        parts.receivers = plan
        source._unfinished = parts
        self._go_on(source)
        return 0

    cdef int _begin_message(
        self, Source source, Receivers *plan, Message *message, const char *reply, Py_ssize_t reply_size
    ) except -1:
        cdef Fanout parts = Fanout.__new__(Fanout)
        cdef Py_ssize_t size = message.subject_size + message.line_size + reply_size
        cdef char *to
        self._share_body(source, message)
        parts.block = new_block(size)
        to = start_of(parts.block)
        memcpy(to, message.subject, <size_t> message.subject_size)
        parts.subject, parts.subject_size = to, message.subject_size
        to += message.subject_size
        parts.message = message[0]
        parts.message.block.refs += 1
        if parts.message.bare_block != NULL:
            parts.message.bare_block.refs += 1
        parts.message.subject = parts.subject
        memcpy(to, message.line, <size_t> message.line_size)
        parts.message.line = to
        to += message.line_size
        memcpy(to, reply, <size_t> reply_size)
        parts.reply, parts.reply_size = to, reply_size
        parts.message.reply = to
        parts.part = max(<Py_ssize_t> 1, min(self._receivers_max, self._part_max // message.body_size))
        plan.refs += 1
        parts.receivers = plan
        source._unfinished = parts
        self._go_on(source)
        return 0

    cdef bint _go_on(self, Source source) except -1:
        """Perform the next part of a fan-out. Is it done?"""
        cdef Fanout parts = source._unfinished
        if self._next_part(source, parts):
            return False
        source._unfinished = None
        return True

    cdef bint _next_part(self, Source source, Fanout parts) except -1:
        """Serve some more receivers. Are there, or may there be, more?"""
        cdef Receivers *plan = parts.receivers
        cdef Py_ssize_t count, end, subject_size
        cdef const char *subject
        if parts.tails == NULL:
            return self._next_part_of_message(source, parts)
        if parts.at < plan.local_count:
            self._name_of(plan, parts, &subject, &subject_size, &end)
            count = min(parts.part, end - parts.at)
            self._hand_run(
                plan.local + parts.at, count, parts.own, subject, subject_size,
                parts.tails, parts.tail_count, parts.with_headers,
            )
            parts.at += count
            return True
        if parts.shares is None:
            parts.shares = []
            if plan.group_count:
                self._divide(
                    plan, parts.own, parts.subject, parts.subject_size, parts.tails, parts.tail_count,
                    parts.with_headers, parts.shares,
                )
            parts.at = plan.local_count
        count = 0
        while parts.at - plan.local_count < len(parts.shares):
            member, numbers, name = parts.shares[parts.at - plan.local_count]
            self._hand_numbers(member, parts, numbers, name)
            parts.at += 1
            count += 1
            if count == self._receivers_max:
                return True
        return False

    cdef int _name_of(
        self, Receivers *plan, Fanout parts, const char **subject, Py_ssize_t *size, Py_ssize_t *end
    ) noexcept:
        """The subject for the receiver that is next, and where those end who know the message by it."""
        cdef Py_ssize_t row
        subject[0], size[0], end[0] = parts.subject, parts.subject_size, plan.published_count
        for row in range(plan.renamed_count):
            if parts.at < end[0]:
                break
            subject[0] = PyBytes_AS_STRING(<object> plan.renamed[row].subject)
            size[0] = PyBytes_GET_SIZE(<object> plan.renamed[row].subject)
            end[0] = plan.renamed[row].end
        return 0

    cdef int _hand_numbers(self, Subscription member, Fanout parts, list numbers, bytes name) except -1:
        """Give the messages of these numbers to a member, under its name of them or as they were published."""
        cdef Py_ssize_t number
        cdef const char *subject = parts.subject if name is None else PyBytes_AS_STRING(name)
        cdef Py_ssize_t subject_size = parts.subject_size if name is None else PyBytes_GET_SIZE(name)
        cdef Tail *tails = <Tail *> malloc((<size_t> len(numbers)) * sizeof(Tail))
        if tails == NULL:
            raise MemoryError
        try:
            for number in range(len(numbers)):
                tails[number] = parts.tails[<Py_ssize_t> numbers[number]]
            self._hand(member, subject, subject_size, tails, len(numbers), NULL, 0, parts.with_headers)
        finally:
            free(tails)
        return 0

    cdef bint _next_part_of_message(self, Source source, Fanout parts) except -1:
        cdef Receivers *plan = parts.receivers
        cdef Message *message = &parts.message
        cdef long long asked = 0
        cdef Py_ssize_t end
        while parts.at < plan.local_count + plan.group_count:
            if parts.at < plan.local_count:
                self._name_of(plan, parts, &message.subject, &message.subject_size, &end)
                parts.delivered |= self._deliver(source, <Subscription> plan.local[parts.at], message)
                message.subject, message.subject_size = parts.subject, parts.subject_size
            else:
                parts.delivered |= self._deliver_to_one(
                    source, &plan.groups[parts.at - plan.local_count], message, &asked
                )
            parts.at += 1
            if parts.at % parts.part == 0:
                return True
        self._conclude(source, plan, message, parts.reply, parts.reply_size, parts.delivered)
        return False

    # -- mappings

    cdef bytes _target_of(self, Source source, SubjectTable table, CompiledPlan chosen):
        """The subject that a mapping gives the message in hand: the same each time, or drawn; None: it is lost."""
        if chosen.is_fixed:
            return chosen.target
        if source._drawn_by is table._mapper:
            source._drawn_by = None
            return source._drawn
        source._drawn_by = None
        self._end_drawing()   # the generator is the choice's to draw from
        target = chosen.choice.draw(self._choices.pick)
        table.sublist.steps += CHOICE_STEPS
        return target

    cdef PyObject *_look_up_target(
        self, Source source, SubjectTable table, CompiledPlan chosen, bytes target
    ) except? NULL:
        """The plan for it, borrowed; NULL: one has to be made first, and what was drawn is kept until then."""
        cdef PyObject *found
        if target is None:
            return <PyObject *> self._nobody
        found = table._mapped.look_up_text(PyBytes_AS_STRING(target), PyBytes_GET_SIZE(target))
        if found == NULL and not chosen.is_fixed:
            source._drawn, source._drawn_by = target, table._mapper
        return found

    # -- one message

    cdef int _complain(self, Source source, const char *published, Py_ssize_t size) except -1:
        """Tell a pedantic client that a subject is not one to publish to; the message goes on."""
        if not is_valid_literal(PyBytes_FromStringAndSize(published, size)):
            _say(source.outbox, invalid_publish_subject())
        return 0

    cdef int _publish(
        self, Source source, Receivers *plan, Message *message, const char *reply, Py_ssize_t reply_size
    ) except -1:
        """Deliver one message, and take what it cost off the turn. The order of checks is that of the section 10."""
        cdef Outbox own = source.outbox
        source.messages += 1
        source.volume += message.body_size - 2
        if plan.refuses:
            subject = PyBytes_FromStringAndSize(message.subject, message.subject_size)
            _say(own, publish_denied(subject))
            self._deny(source, subject, b"")
            self._left -= SINGLE_COST
            return 0
        if is_reserved_reply(reply, reply_size):
            subject = PyBytes_FromStringAndSize(message.subject, message.subject_size)
            asked_for = PyBytes_FromStringAndSize(reply, reply_size)
            _say(own, reply_denied(asked_for))
            self._deny(source, subject, asked_for)
            self._left -= SINGLE_COST
            return 0
        if source.verbose:
            own.put(b"+OK\r\n", 5)
        message.own = NULL if source.echo else <PyObject *> own
        if message.headers == 0:  # no header after all: MSG for everybody
            self._make_bare(message)
            message.line, message.line_size = message.bare_line, message.bare_line_size
        return self._send(source, plan, message, reply, reply_size)

    cdef object _post(
        self, Source source, SubjectTable table, bytes subject, bytes reply, bytes headers, bytes payload
    ):
        """Publish in the account of `table` what a message of `source` led to: DONE, or MISS."""
        cdef Message message
        cdef Sublist sublist = table.sublist
        cdef long long steps = sublist.steps
        cdef PyObject *found = table.look_up_text(PyBytes_AS_STRING(subject), PyBytes_GET_SIZE(subject))
        cdef CompiledPlan plan, chosen
        cdef Receivers *receivers
        cdef bytes line, body, target
        if found != NULL and (<CompiledPlan> found).choice is not None:
            chosen = <CompiledPlan> found
            target = self._target_of(source, table, chosen)
            found = self._look_up_target(source, table, chosen, target)
            if target is not None:
                subject = target
        self._left -= (sublist.steps - steps) * STEP_COST
        if found == NULL:
            source.missed = sublist.found_nodes()
            source.missed_subject = subject
            return MISS
        plan = <CompiledPlan> found
        body = headers + payload + b"\r\n"
        line = b"%d\r\n" % (len(body) - 2)
        if headers:
            line = b"%d " % len(headers) + line
        if reply:
            line = reply + b" " + line
        memset(&message, 0, sizeof(Message))
        message.subject, message.subject_size = PyBytes_AS_STRING(subject), PyBytes_GET_SIZE(subject)
        message.line, message.line_size = PyBytes_AS_STRING(line), PyBytes_GET_SIZE(line)
        message.body, message.body_size = PyBytes_AS_STRING(body), PyBytes_GET_SIZE(body)
        message.headers = PyBytes_GET_SIZE(headers)
        message.is_posted = True
        source.delivered = False
        if not plan.receivers.refuses:
            receivers = plan.receivers if plan.receivers.inland == NULL else plan.receivers.inland
            self._send(source, receivers, &message, PyBytes_AS_STRING(reply), PyBytes_GET_SIZE(reply))
        return DONE

    cdef int _send(
        self, Source source, Receivers *plan, Message *message, const char *reply, Py_ssize_t reply_size
    ) except -1:
        """Give one message to those whom a plan names, and take what it cost off the turn."""
        cdef long long cost = SINGLE_COST, asked = 0, delivered = 0
        cdef Py_ssize_t number, ready = PyList_GET_SIZE(self.ready)
        message.reply, message.reply_size = reply, reply_size if plan.tracks else 0
        try:
            cost += plan.overhead
            if plan.fanout > self._receivers_max or plan.fanout * message.body_size > self._part_max:
                self._begin_message(source, plan, message, reply, reply_size)
            else:
                for number in range(plan.published_count):
                    delivered += self._deliver(source, <Subscription> plan.local[number], message)
                if plan.renamed_count:
                    delivered += self._deliver_renamed(source, plan, message)
                for number in range(plan.group_count):
                    delivered += self._deliver_to_one(source, &plan.groups[number], message, &asked)
                cost += DELIVERY_COST * asked + delivered * (SINGLE_COST + message.body_size)
                if message.reply_size:
                    cost += delivered * RULE_COST
                cost += self._conclude(source, plan, message, reply, reply_size, delivered > 0)
        finally:
            release_message(message)
        self._left -= cost + READY_COST * (PyList_GET_SIZE(self.ready) - ready)
        return 0

    cdef long long _conclude(
        self, Source source, Receivers *plan, Message *message, const char *reply, Py_ssize_t reply_size,
        bint delivered,
    ) except -1:
        """Everybody has it who gets it: ask the server itself, or tell that there is nobody."""
        cdef Py_ssize_t start = max(message.headers, <Py_ssize_t> 0)
        source.delivered = delivered
        if plan.asks != NULL:
            source.asked = Asked(
                <object> plan.asks,
                PyBytes_FromStringAndSize(message.subject, message.subject_size),
                PyBytes_FromStringAndSize(reply, reply_size),
                PyBytes_FromStringAndSize(message.body, start),
                PyBytes_FromStringAndSize(message.body + start, message.body_size - 2 - start),
                bool(delivered),
            )
        elif not delivered and reply_size and source.no_responders and not message.is_posted:
            return self._tell_no_responders(source, message.subject, message.subject_size, reply, reply_size)
        return 0

    cdef long long _deliver_renamed(self, Source source, Receivers *plan, Message *message) except -1:
        """Deliver one message to the plain receivers that know it by another subject. To how many?"""
        cdef const char *subject = message.subject
        cdef Py_ssize_t subject_size = message.subject_size
        cdef Py_ssize_t row, at = plan.published_count
        cdef long long delivered = 0
        for row in range(plan.renamed_count):
            message.subject = PyBytes_AS_STRING(<object> plan.renamed[row].subject)
            message.subject_size = PyBytes_GET_SIZE(<object> plan.renamed[row].subject)
            while at < plan.renamed[row].end:
                delivered += self._deliver(source, <Subscription> plan.local[at], message)
                at += 1
        message.subject, message.subject_size = subject, subject_size
        return delivered

    cdef bint _deliver_to_one(
        self, Source source, GroupRow *group, Message *message, long long *asked
    ) except -1:
        """Deliver to one member of a group, and count how many were asked."""
        cdef Py_ssize_t n = group.count
        cdef Py_ssize_t start_at = self._pick(n) if n > 1 else 0
        cdef Py_ssize_t step, at, subject_size = message.subject_size
        cdef const char *subject = message.subject
        cdef bint taken = False
        for step in range(n):
            at = (start_at + step) % n
            if group.names != NULL:
                message.subject = PyBytes_AS_STRING(<object> group.names[at])
                message.subject_size = PyBytes_GET_SIZE(<object> group.names[at])
            taken = self._deliver(source, <Subscription> group.members[at], message)
            if taken:
                n = step + 1
                break
        asked[0] += n
        message.subject, message.subject_size = subject, subject_size
        return taken

    cdef bint _deliver(self, Source source, Subscription one, Message *message) except -1:
        """Append one message for one subscription, if it accepts it."""
        cdef Outbox outbox = one.outbox
        cdef bint with_headers = message.headers > 0
        cdef const char *line = message.line
        cdef const char *body = message.body
        cdef Py_ssize_t line_size = message.line_size, body_size = message.body_size
        cdef Py_ssize_t sid_size, head_size
        cdef char *to
        if not outbox.accepts or not one.live or <PyObject *> outbox == message.own:
            return False
        if with_headers and not outbox.headers:
            self._make_bare(message)
            line, line_size = message.bare_line, message.bare_line_size
            body += message.headers
            body_size -= message.headers
            with_headers = False
        sid_size = PyBytes_GET_SIZE(one.sid)
        head_size = (5 if with_headers else 4) + message.subject_size + sid_size + 2
        if body_size >= LARGE_PAYLOAD:
            self._share_body(source, message)
            body = message.body + (message.body_size - body_size)
            to = outbox.reserve(head_size + line_size)
        else:
            to = outbox.reserve(head_size + line_size + body_size)
            memcpy(to + head_size + line_size, body, <size_t> body_size)
        if with_headers:
            memcpy(to, b"HMSG ", 5)
            to += 5
        else:
            memcpy(to, b"MSG ", 4)
            to += 4
        memcpy(to, message.subject, <size_t> message.subject_size)
        to += message.subject_size
        to[0] = c" "
        memcpy(to + 1, PyBytes_AS_STRING(one.sid), <size_t> sid_size)
        to += 1 + sid_size
        to[0] = c" "
        memcpy(to + 1, line, <size_t> line_size)
        if body_size >= LARGE_PAYLOAD:
            outbox.attach(message.block, <char *> body, body_size)
        outbox.messages += 1
        outbox.volume += body_size - 2
        if outbox.blocked:
            self.strained.append(outbox)
        if message.reply_size and outbox.responses is not None:
            outbox.responses.note(PyBytes_FromStringAndSize(message.reply, message.reply_size), self._now_ns)
        one.delivered += 1
        if one.delivered == one._max:
            one.live = False
            self.exhausted.append(one)
        return True

    cdef int _share_body(self, Source source, Message *message) except -1:
        """Have the body in a block that outboxes can refer to: the source's own, or a copy made once."""
        cdef Block *block
        if message.block != NULL:
            return 0
        if source._own != NULL and start_of(source._own) <= message.body < source._own_end:
            source._own.refs += 1
            message.block = source._own
            return 0
        block = new_block(message.body_size)
        memcpy(start_of(block), message.body, <size_t> message.body_size)
        message.block = block
        message.body = start_of(block)
        return 0

    cdef int _make_bare(self, Message *message) except -1:
        """The line for those who take no headers."""
        cdef Py_ssize_t reply
        cdef char *line
        cdef Py_ssize_t size
        if message.bare_block != NULL:
            return 0
        reply = reply_size(message.line, message.line_size, True)
        message.bare_block = new_block(reply + 22)
        line = start_of(message.bare_block)
        memcpy(line, message.line, <size_t> reply)
        size = reply + write_number(line + reply, message.body_size - 2 - max(message.headers, <Py_ssize_t> 0))
        memcpy(line + size, b"\r\n", 2)
        message.bare_line, message.bare_line_size = line, size + 2
        return 0

    cdef long long _tell_no_responders(
        self, Source source, const char *subject, Py_ssize_t subject_size, const char *reply, Py_ssize_t reply_size
    ) except -1:
        """Send the 503 to the requester's own plain subscription that covers the reply; what looking cost."""
        cdef Sublist sublist = source.table.sublist
        cdef long long cost = 0
        cdef Py_ssize_t number
        cdef Subscription one
        sublist.match_text(reply, reply_size)
        for number in range(sublist._found_count):
            for one in list_of(&sublist._found[number].plain):
                cost += DELIVERY_COST
                if one.outbox is source.outbox and one.live and type(one) is Subscription:
                    block = no_responders(PyBytes_FromStringAndSize(subject, subject_size))
                    size = b"%d" % len(block)
                    source.outbox.write(
                        b"HMSG " + PyBytes_FromStringAndSize(reply, reply_size) + b" " + one.sid + b" "
                        + size + b" " + size + b"\r\n" + block + b"\r\n"
                    )
                    return cost
        return cost

    cdef int _deny(self, Source source, bytes subject, bytes reply) except -1:
        if len(self.denied) < DENIED_MAX:
            self.denied.append((source.cid, subject, reply))
        return 0


cdef int _say(Outbox outbox, object violation) except -1:
    outbox.write(b"-ERR '" + violation.wire_text + b"'\r\n")
    return 0


cdef bint starts_with(const char *data, Py_ssize_t size, const char *prefix, Py_ssize_t prefix_size) noexcept:
    return size >= prefix_size and memcmp(data, prefix, <size_t> prefix_size) == 0


cdef bint is_reserved_reply(const char *reply, Py_ssize_t size) noexcept:
    """Whether clients must not ask for answers there."""
    return (
        starts_with(reply, size, b"_R_.", 4)
        or (starts_with(reply, size, b"$JS.ACK.", 8) and size > 8)
        or (starts_with(reply, size, b"_GR_.", 5) and size > 5)
    )
