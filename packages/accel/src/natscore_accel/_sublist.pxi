# Who subscribes to what in one account, and what was found for subjects before.
# The theory, the rules and the bounds are those of natscore.sublist, and so is the order of every answer.

cdef enum:
    SHARDS = 256              # so that growing a table never takes long
    SHARD_FIRST = 8
    EPOCHS = 256
    ANYWHERE = 256            # index of the epoch that moves with each of them
    NEVER = 257               # and of one that does not move
    WATCHED_MAX = 8

# These bounds can be seen from outside: in what is matched again, and so in the cost of a turn.
cdef Py_ssize_t GENERATION_MAX = sublist._GENERATION_MAX
cdef Py_ssize_t SUBJECT_MAX = sublist._SUBJECT_MAX
cdef Py_ssize_t PLANS_MAX = sublist._PLANS_MAX
cdef long long PLACES_MAX = sublist._PLACES_MAX
cdef long long PLACES_OF_A_NODE = sublist._PLACES_OF_A_NODE
if sublist._EPOCHS != EPOCHS or plan._ENTRIES_MAX != WATCHED_MAX:
    raise ImportError("natscore and natscore-accel count differently: install matching versions")


cdef struct Members:
    # in order of arrival; one alone stands in the pointer itself, and holes are NULL
    void *items
    uint32_t count
    uint32_t used             # holes included
    uint32_t capacity         # 0: at most one


cdef struct NodeData:
    NodeData *next            # in order of arrival
    NodeData *previous
    Members plain
    PyObject *queues          # dict of queue to Group, or NULL
    PyObject *plan            # made of this node alone, or NULL
    PyObject *plans           # dict of the plans made of it and others, or NULL
    uint32_t hash
    uint32_t length
    uint32_t particular       # members that fare by the subject of each message
    bint is_pattern


cdef struct Level:
    # a place in the trie of patterns
    Level *parent
    Level *star
    NodeData *rest            # the pattern that goes on with `>` here
    NodeData *node            # the pattern that ends here
    uint32_t children
    uint32_t hash
    uint32_t length           # of its token, which follows; 0: it is the `*` of its parent


cdef struct Shard:
    void **slots
    uint32_t used
    uint32_t mask


cdef inline char *text_of(NodeData *node) noexcept:
    return <char *> (node + 1)


cdef inline bytes subject_of(NodeData *node):
    return PyBytes_FromStringAndSize(text_of(node), node.length)


cdef inline char *token_of(Level *level) noexcept:
    return <char *> (level + 1)


# -- members ---------------------------------------------------------------------------------------

cdef int add_member(Members *members, Subscription one) except -1:
    cdef PyObject **items
    cdef PyObject **grown
    cdef uint32_t capacity
    if members.capacity == 0 and members.count == 0:
        members.items = <void *> one
        members.used = 1
    elif members.used < members.capacity:
        (<PyObject **> members.items)[members.used] = <PyObject *> one
        members.used += 1
    else:
        if members.used >= 1 << 30:
            raise MemoryError
        capacity = max(<uint32_t> 4, members.used * 2)
        grown = <PyObject **> malloc(capacity * sizeof(PyObject *))
        if grown == NULL:
            raise MemoryError
        if members.capacity == 0:
            grown[0] = <PyObject *> members.items
        else:
            memcpy(grown, members.items, members.used * sizeof(PyObject *))
            free(members.items)
        members.items = grown
        members.capacity = capacity
        grown[members.used] = <PyObject *> one
        members.used += 1
    one._index = members.used - 1
    members.count += 1
    Py_INCREF(one)
    return 0


cdef void remove_member(Members *members, Subscription one) noexcept:
    cdef PyObject **items
    cdef uint32_t at, to = 0
    members.count -= 1
    if members.capacity == 0:
        members.items = NULL
        members.used = 0
    else:
        items = <PyObject **> members.items
        items[one._index] = NULL
        if members.count == 0:
            free(items)
            members.items = NULL
            members.used = members.capacity = 0
        elif members.used > 2 * members.count:
            for at in range(members.used):
                if items[at] != NULL:
                    items[to] = items[at]
                    (<Subscription> items[to])._index = to
                    to += 1
            members.used = to
    Py_DECREF(one)


cdef list list_of(Members *members):
    cdef list found = []
    cdef uint32_t at
    cdef PyObject *item
    if members.capacity == 0:
        if members.count:
            found.append(<object> members.items)
        return found
    for at in range(members.used):
        item = (<PyObject **> members.items)[at]
        if item != NULL:
            found.append(<object> item)
    return found


cdef void free_members(Members *members) noexcept:
    """Let go of all of them: their sublist is gone."""
    cdef uint32_t at
    cdef PyObject *item
    if members.capacity == 0:
        if members.count:
            forget_place(<PyObject *> members.items)
    else:
        for at in range(members.used):
            item = (<PyObject **> members.items)[at]
            if item != NULL:
                forget_place(item)
        free(members.items)
    members.count = members.used = members.capacity = 0


cdef void forget_place(PyObject *item) noexcept:
    cdef Subscription one = <Subscription> item
    one._place = GONE
    one._at = NULL
    Py_XDECREF(item)


@cython.final
@cython.no_gc
cdef class Group:
    """Members of a queue group with one subject."""

    cdef Members members

    def __dealloc__(self):
        free_members(&self.members)


# -- shards: open addressing, linear probing, no tombstones ----------------------------------------

cdef int grow_shard(Shard *shard, bint of_levels) except -1:
    cdef uint32_t capacity = SHARD_FIRST if shard.slots == NULL else 2 * (shard.mask + 1)
    cdef uint32_t mask = capacity - 1
    cdef uint32_t at, to
    cdef void **slots = <void **> calloc(capacity, sizeof(void *))
    if slots == NULL:
        raise MemoryError
    if shard.slots != NULL:
        for at in range(shard.mask + 1):
            if shard.slots[at] != NULL:
                to = (stored_hash(shard.slots[at], of_levels) >> 8) & mask
                while slots[to] != NULL:
                    to = (to + 1) & mask
                slots[to] = shard.slots[at]
        free(shard.slots)
    shard.slots = slots
    shard.mask = mask
    return 0


cdef inline uint32_t stored_hash(void *entry, bint of_levels) noexcept:
    return (<Level *> entry).hash if of_levels else (<NodeData *> entry).hash


cdef int add_to_shard(Shard *shards, void *entry, bint of_levels) except -1:
    cdef uint32_t hashed = stored_hash(entry, of_levels)
    cdef Shard *shard = &shards[hashed & (SHARDS - 1)]
    cdef uint32_t at
    if shard.slots == NULL or (shard.used + 1) * 4 > (shard.mask + 1) * 3:
        grow_shard(shard, of_levels)
    at = (hashed >> 8) & shard.mask
    while shard.slots[at] != NULL:
        at = (at + 1) & shard.mask
    shard.slots[at] = entry
    shard.used += 1
    return 0


cdef void remove_from_shard(Shard *shards, void *entry, bint of_levels) noexcept:
    cdef uint32_t hashed = stored_hash(entry, of_levels)
    cdef Shard *shard = &shards[hashed & (SHARDS - 1)]
    cdef uint32_t mask = shard.mask
    cdef uint32_t at = (hashed >> 8) & mask
    cdef uint32_t following, home
    while shard.slots[at] != entry:
        at = (at + 1) & mask
    following = at
    while True:
        following = (following + 1) & mask
        if shard.slots[following] == NULL:
            break
        home = (stored_hash(shard.slots[following], of_levels) >> 8) & mask
        if ((following - home) & mask) >= ((following - at) & mask):
            shard.slots[at] = shard.slots[following]
            at = following
    shard.slots[at] = NULL
    shard.used -= 1
    if shard.used == 0:
        free(shard.slots)
        shard.slots = NULL
        shard.mask = 0


# -- plans -----------------------------------------------------------------------------------------

cdef struct Share:
    # what a member of a group gets of the run that is being divided
    Py_ssize_t count          # 0 between runs
    Py_ssize_t first
    Py_ssize_t last


cdef struct Renamed:
    # plain receivers that know a message by another subject
    PyObject *subject
    Py_ssize_t end            # of them among the plain receivers; they begin where those before them end


cdef struct GroupRow:
    PyObject **members
    PyObject **names          # of each member, its subject of the message; NULL: as it was published
    Py_ssize_t count
    Share *shares             # of each member; NULL until a run is divided


cdef struct Receivers:
    # what a plan points at; shared by the plan and by a fan-out that is not finished
    Py_ssize_t refs
    Py_ssize_t local_count    # plain receivers: first those that know the message as it was published
    Py_ssize_t published_count
    PyObject **local
    Py_ssize_t renamed_count
    Renamed *renamed
    Py_ssize_t group_count
    GroupRow *groups
    long long fanout
    long long width           # of them, how many a turn serves
    long long overhead
    bint distinct
    bint refuses
    PyObject *asks            # a tuple of sids, or NULL: nothing is asked of the server itself
    Receivers *inland         # the same without those who get it through a stream import; NULL: there are none
    bint tracks


cdef Receivers *receivers_of(object plan) except NULL:
    """The receivers of a plan of natscore.plan, which decided who they are."""
    cdef tuple local = plan.local
    cdef tuple renamed = plan.renamed
    cdef tuple groups = plan.groups
    cdef tuple names
    cdef Py_ssize_t published = len(local)
    cdef Py_ssize_t number, place
    cdef Receivers *made = <Receivers *> calloc(1, sizeof(Receivers))
    if made == NULL:
        raise MemoryError
    made.refs = 1
    try:
        made.fanout = plan.fanout
        made.width = plan.width
        made.overhead = plan.overhead
        made.distinct = plan.distinct
        made.refuses = plan.refuses
        if plan.asks:
            asks = <tuple?> plan.asks
            Py_INCREF(asks)
            made.asks = <PyObject *> asks
        if plan.inland is not None:
            made.inland = receivers_of(plan.inland)
        made.tracks = plan.tracks
        for row in renamed:
            local += row.receivers
        made.published_count = published
        made.renamed = <Renamed *> calloc(<size_t> len(renamed) + 1, sizeof(Renamed))
        made.local = <PyObject **> calloc(<size_t> len(local) + 1, sizeof(PyObject *))
        made.groups = <GroupRow *> calloc(<size_t> len(groups) + 1, sizeof(GroupRow))
        if made.local == NULL or made.renamed == NULL or made.groups == NULL:
            raise MemoryError
        for number in range(len(local)):
            _take(made.local, number, local[number])
            made.local_count += 1
        for number in range(len(renamed)):
            _take_name(&made.renamed[number].subject, renamed[number].subject)
            made.renamed_count += 1
            published += len(renamed[number].receivers)
            made.renamed[number].end = published
        for number in range(len(groups)):
            members = groups[number].members
            made.groups[number].members = <PyObject **> calloc(<size_t> len(members) + 1, sizeof(PyObject *))
            if made.groups[number].members == NULL:
                raise MemoryError
            made.group_count += 1
            for place in range(len(members)):
                _take(made.groups[number].members, place, members[place])
                made.groups[number].count += 1
            if groups[number].names is not None:
                names = groups[number].names
                if len(names) != len(members):
                    raise ValueError("each member of a group has a name, or none has")
                made.groups[number].names = <PyObject **> calloc(<size_t> len(members) + 1, sizeof(PyObject *))
                if made.groups[number].names == NULL:
                    raise MemoryError
                for place in range(len(members)):
                    _take_name(&made.groups[number].names[place], names[place])
    except:
        release_receivers(made)
        raise
    return made


cdef int _take(PyObject **items, Py_ssize_t at, Subscription one) except -1:
    if one is None:
        raise TypeError("a plan names subscriptions of this data plane")
    Py_INCREF(one)
    items[at] = <PyObject *> one
    return 0


cdef int _take_name(PyObject **to, bytes name) except -1:
    if name is None:
        raise TypeError("a subject is bytes")
    Py_INCREF(name)
    to[0] = <PyObject *> name
    return 0


cdef void release_receivers(Receivers *them) noexcept:
    cdef Py_ssize_t number, place
    them.refs -= 1
    if them.refs:
        return
    for number in range(them.local_count):
        Py_DECREF(<object> them.local[number])
    for number in range(them.renamed_count):
        Py_DECREF(<object> them.renamed[number].subject)
    free(them.renamed)
    for number in range(them.group_count):
        for place in range(them.groups[number].count):
            Py_DECREF(<object> them.groups[number].members[place])
            if them.groups[number].names != NULL:
                Py_XDECREF(them.groups[number].names[place])
        free(them.groups[number].members)
        free(them.groups[number].names)
        free(them.groups[number].shares)
    Py_XDECREF(them.asks)
    if them.inland != NULL:
        release_receivers(them.inland)
    free(them.local)
    free(them.groups)
    free(them)


@cython.final
@cython.no_gc
cdef class CompiledPlan:
    """A plan as the loop runs it. Void when a node of it changes: it then holds nothing, and is missed."""

    cdef Receivers *receivers     # NULL: void
    cdef NodeData **nodes         # of several; of one alone it is the node that knows the plan
    cdef Py_ssize_t node_count
    cdef long long places
    cdef bytes key
    cdef unsigned short watched[WATCHED_MAX]
    cdef int watched_count
    cdef object choice            # what a mapping says of a subject, in place of receivers; or None
    cdef bint is_fixed            # it always says `target`
    cdef bytes target             # None: the message is lost

    def __dealloc__(self):
        self.drop()
        free(self.nodes)

    cdef void drop(self) noexcept:
        if self.receivers != NULL:
            release_receivers(self.receivers)
            self.receivers = NULL

    cdef int watches(self, int epoch) noexcept:
        """Which epoch a line under `epoch` watches: its own, for the first few that the plan is met under."""
        cdef int number
        if self.receivers.local_count + self.receivers.group_count == 0:
            return epoch
        for number in range(self.watched_count):
            if self.watched[number] == epoch:
                return epoch
        if self.watched_count == WATCHED_MAX:
            return ANYWHERE
        self.watched[self.watched_count] = <unsigned short> epoch
        self.watched_count += 1
        return epoch


@cython.final
cdef class Node:
    """All subscriptions of an account with the same subject, looked up anew each time it is asked."""

    cdef Sublist _sublist
    cdef readonly bytes subject

    @property
    def plain(self):
        """Subscriptions without a queue group, in the order of delivery."""
        cdef NodeData *node = self._sublist._find(self.subject)
        return list_of(&node.plain) if node != NULL else []

    @property
    def queues(self):
        """Members by queue group."""
        cdef NodeData *node = self._sublist._find(self.subject)
        if node == NULL or node.queues == NULL:
            return {}
        return {queue: list_of(&(<Group> group).members) for queue, group in (<dict> node.queues).items()}


# -- the sublist -----------------------------------------------------------------------------------

cdef bint is_pattern(const char *subject, Py_ssize_t size) noexcept:
    """Whether some token is exactly `*` or `>`."""
    cdef Py_ssize_t at
    for at in range(size):
        if (
            (subject[at] == c"*" or subject[at] == c">")
            and (at == 0 or subject[at - 1] == c".")
            and (at + 1 == size or subject[at + 1] == c".")
        ):
            return True
    return False


cdef inline Py_ssize_t token_end(const char *subject, Py_ssize_t start, Py_ssize_t size) noexcept:
    cdef const char *dot = <const char *> memchr(subject + start, c".", <size_t> (size - start))
    return dot - subject if dot != NULL else size


cdef class Sublist:
    """The subscriptions of one account. Every member is in exactly one node."""

    cdef readonly long long count
    cdef readonly long long steps
    cdef readonly list tables
    cdef uint64_t _epochs[EPOCHS + 2]
    cdef Shard _literals[SHARDS]
    cdef Shard _levels[SHARDS]
    cdef NodeData *_first[2]      # literals and patterns
    cdef NodeData *_last[2]
    cdef long long _pattern_count
    cdef Level *_root
    cdef dict _plans
    cdef long long _places
    cdef NodeData **_found        # what the last match found
    cdef Py_ssize_t _found_count
    cdef Py_ssize_t _found_capacity
    cdef Level **_now             # where a match stands
    cdef Level **_next
    cdef Py_ssize_t _levels_capacity

    def __cinit__(self):
        self.tables = []
        self._plans = {}
        self._root = <Level *> calloc(1, sizeof(Level))
        self._found_capacity = self._levels_capacity = 16
        self._found = <NodeData **> malloc(16 * sizeof(NodeData *))
        self._now = <Level **> malloc(16 * sizeof(Level *))
        self._next = <Level **> malloc(16 * sizeof(Level *))
        if self._root == NULL or self._found == NULL or self._now == NULL or self._next == NULL:
            raise MemoryError

    def __dealloc__(self):
        cdef int kind
        cdef uint32_t at
        cdef NodeData *node
        for kind in range(2):
            while self._first[kind] != NULL:
                node = self._first[kind]
                self._first[kind] = node.next
                self._free_node(node)
        for kind in range(SHARDS):
            if self._levels[kind].slots != NULL:
                for at in range(self._levels[kind].mask + 1):
                    free(self._levels[kind].slots[at])
            free(self._levels[kind].slots)
            free(self._literals[kind].slots)
        free(self._root)
        free(self._found)
        free(self._now)
        free(self._next)

    cdef void _free_node(self, NodeData *node) noexcept:
        free_members(&node.plain)
        Py_XDECREF(node.queues)
        Py_XDECREF(node.plan)
        Py_XDECREF(node.plans)
        free(node)

    # -- nodes

    cdef NodeData *_find(self, bytes subject) noexcept:
        return self._find_text(
            PyBytes_AS_STRING(subject), PyBytes_GET_SIZE(subject),
            is_pattern(PyBytes_AS_STRING(subject), PyBytes_GET_SIZE(subject)),
        )

    cdef NodeData *_find_text(self, const char *subject, Py_ssize_t size, bint pattern) noexcept:
        cdef Level *level
        if not pattern:
            return self._literal(subject, size)
        level = self._walk(subject, size)
        if level == NULL:
            return NULL
        return level.rest if subject[size - 1] == c">" and (size == 1 or subject[size - 2] == c".") else level.node

    cdef NodeData *_literal(self, const char *subject, Py_ssize_t size) noexcept:
        cdef uint32_t hashed = <uint32_t> hash_of(subject, size, 0)
        cdef Shard *shard = &self._literals[hashed & (SHARDS - 1)]
        cdef uint32_t at
        cdef NodeData *node
        if shard.slots == NULL:
            return NULL
        at = (hashed >> 8) & shard.mask
        while shard.slots[at] != NULL:
            node = <NodeData *> shard.slots[at]
            if node.hash == hashed and node.length == size and memcmp(text_of(node), subject, <size_t> size) == 0:
                return node
            at = (at + 1) & shard.mask
        return NULL

    cdef Level *_child(self, Level *parent, const char *token, Py_ssize_t size) noexcept:
        cdef uint32_t hashed = <uint32_t> hash_of(token, size, <uint64_t> <size_t> parent)
        cdef Shard *shard = &self._levels[hashed & (SHARDS - 1)]
        cdef uint32_t at
        cdef Level *level
        if shard.slots == NULL:
            return NULL
        at = (hashed >> 8) & shard.mask
        while shard.slots[at] != NULL:
            level = <Level *> shard.slots[at]
            if (
                level.hash == hashed and level.parent == parent and level.length == size
                and memcmp(token_of(level), token, <size_t> size) == 0
            ):
                return level
            at = (at + 1) & shard.mask
        return NULL

    cdef Level *_walk(self, const char *subject, Py_ssize_t size) noexcept:
        """The level that a pattern leads to, `>` at its end left out."""
        cdef Level *level = self._root
        cdef Py_ssize_t start = 0, end
        while level != NULL and start <= size:
            end = token_end(subject, start, size)
            if end - start == 1 and subject[start] == c">" and end == size:
                return level
            if end - start == 1 and subject[start] == c"*":
                level = level.star
            elif level.children:
                level = self._child(level, subject + start, end - start)
            else:
                level = NULL
            start = end + 1
        return level

    cdef Node _view(self, NodeData *node):
        cdef Node view = Node.__new__(Node)
        view._sublist = self
        view.subject = subject_of(node)
        return view

    def node(self, bytes subject not None):
        """The subscriptions with exactly this subject."""
        cdef NodeData *node = self._find(subject)
        return self._view(node) if node != NULL else None

    def nodes(self):
        """All nodes, in a fixed order."""
        cdef list views = []
        cdef NodeData *node
        cdef int kind
        for kind in range(2):
            node = self._first[kind]
            while node != NULL:
                views.append(self._view(node))
                node = node.next
        return iter(views)

    # -- changes

    def insert(self, Subscription subscription not None):
        """Add a subscription whose subject is valid."""
        cdef bytes subject
        cdef NodeData *node
        cdef const char *text
        cdef Py_ssize_t size
        cdef bint pattern
        cdef SubjectTable table
        cdef Group group
        if subscription._place != NOWHERE:
            raise ValueError("a subscription is inserted once")
        subject = <bytes> subscription._at
        text, size = PyBytes_AS_STRING(subject), PyBytes_GET_SIZE(subject)
        pattern = is_pattern(text, size)
        node = self._find_text(text, size, pattern)
        if node == NULL:
            node = self._new_node(text, size, pattern)
            if not pattern:
                for table in self.tables:
                    table._drop(text, size)
        else:
            self._void(node)
        if subscription.queue is None:
            add_member(&node.plain, subscription)
        else:
            if node.queues == NULL:
                queues = {}
                Py_INCREF(queues)
                node.queues = <PyObject *> queues
            found = (<dict> node.queues).get(subscription.queue)
            if found is None:
                found = (<dict> node.queues)[subscription.queue] = Group.__new__(Group)
            group = found
            add_member(&group.members, subscription)
        node.particular += is_particular(subscription)
        subscription._at = node
        subscription._place = IN_NODE
        Py_DECREF(subject)
        self.count += 1

    def remove(self, Subscription subscription not None):
        """Take a member out again; empty nodes and levels go with it."""
        cdef NodeData *node
        cdef Group group
        if subscription._place != IN_NODE:
            raise ValueError("a subscription that is not there is not removed")
        node = <NodeData *> subscription._at
        self._void(node)
        node.particular -= is_particular(subscription)
        subscription._at = NULL
        subscription._place = GONE
        subscription.live = False
        if subscription.queue is None:
            remove_member(&node.plain, subscription)
        else:
            group = (<dict> node.queues)[subscription.queue]
            remove_member(&group.members, subscription)
            if group.members.count == 0:
                del (<dict> node.queues)[subscription.queue]
                if not <dict> node.queues:
                    Py_DECREF(<object> node.queues)
                    node.queues = NULL
        self.count -= 1
        if node.plain.count == 0 and node.queues == NULL:
            self._remove_node(node)

    def restrict(self, Subscription subscription not None, rule):
        """Give a member another filter. It keeps its place."""
        cdef NodeData *node
        if subscription._place != IN_NODE:
            raise ValueError("a subscription that is not there is not restricted")
        node = <NodeData *> subscription._at
        if subscription.filter != rule:
            self._void(node)
            node.particular -= is_particular(subscription)
            subscription.filter = rule
            node.particular += is_particular(subscription)

    cdef NodeData *_new_node(self, const char *text, Py_ssize_t size, bint pattern) except NULL:
        cdef NodeData *node
        cdef int kind = 1 if pattern else 0
        if size > 1 << 30:
            raise MemoryError
        node = <NodeData *> calloc(1, sizeof(NodeData) + <size_t> size)
        if node == NULL:
            raise MemoryError
        node.length = <uint32_t> size
        node.is_pattern = pattern
        memcpy(text_of(node), text, <size_t> size)
        try:
            if pattern:
                self._plant(node)
            else:
                node.hash = <uint32_t> hash_of(text, size, 0)
                add_to_shard(self._literals, node, False)
        except:
            free(node)
            raise
        node.previous = self._last[kind]
        if self._last[kind] != NULL:
            self._last[kind].next = node
        else:
            self._first[kind] = node
        self._last[kind] = node
        return node

    cdef void _remove_node(self, NodeData *node) noexcept:
        cdef int kind = 1 if node.is_pattern else 0
        if node.next != NULL:
            node.next.previous = node.previous
        else:
            self._last[kind] = node.previous
        if node.previous != NULL:
            node.previous.next = node.next
        else:
            self._first[kind] = node.next
        if node.is_pattern:
            self._uproot(node)
        else:
            remove_from_shard(self._literals, node, False)
        self._free_node(node)

    cdef int _plant(self, NodeData *node) except -1:
        cdef const char *subject = text_of(node)
        cdef Py_ssize_t size = node.length
        cdef Level *level = self._root
        cdef Level *following
        cdef Py_ssize_t start = 0, end
        cdef bint rest = False
        cdef int number
        try:
            while start <= size:
                end = token_end(subject, start, size)
                if end - start == 1 and subject[start] == c">" and end == size:
                    rest = True
                    break
                if end - start == 1 and subject[start] == c"*":
                    following = level.star
                    if following == NULL:
                        following = level.star = self._new_level(level, NULL, 0)
                else:
                    following = self._child(level, subject + start, end - start)
                    if following == NULL:
                        following = self._new_level(level, subject + start, end - start)
                        level.children += 1
                level = following
                start = end + 1
        except:
            self._prune(level)
            raise
        if rest:
            level.rest = node
        else:
            level.node = node
        self._pattern_count += 1
        self._epochs[ANYWHERE] += 1
        end = token_end(subject, 0, size)
        if end == 1 and (subject[0] == c"*" or subject[0] == c">"):
            for number in range(EPOCHS):
                self._epochs[number] += 1
        else:
            self._epochs[epoch_of(subject, end)] += 1
        return 0

    cdef Level *_new_level(self, Level *parent, const char *token, Py_ssize_t size) except NULL:
        cdef Level *level = <Level *> calloc(1, sizeof(Level) + <size_t> size)
        if level == NULL:
            raise MemoryError
        level.parent = parent
        level.length = <uint32_t> size
        if size:
            memcpy(token_of(level), token, <size_t> size)
        level.hash = <uint32_t> hash_of(token_of(level), size, <uint64_t> <size_t> parent)
        try:
            add_to_shard(self._levels, level, True)
        except:
            free(level)
            raise
        return level

    cdef void _uproot(self, NodeData *node) noexcept:
        cdef const char *subject = text_of(node)
        cdef Level *level = self._walk(subject, node.length)
        if level.rest == node:
            level.rest = NULL
        else:
            level.node = NULL
        self._pattern_count -= 1
        self._prune(level)

    cdef void _prune(self, Level *level) noexcept:
        cdef Level *parent
        while level != self._root and level.children == 0 and level.star == NULL and level.rest == NULL and level.node == NULL:
            parent = level.parent
            if parent.star == level:
                parent.star = NULL
            else:
                parent.children -= 1
            remove_from_shard(self._levels, level, True)
            free(level)
            level = parent

    # -- matching

    cdef Py_ssize_t match_text(self, const char *subject, Py_ssize_t size) except -1:
        """Find the nodes whose subscriptions get a message published to a subject; leaves them in `_found`."""
        cdef NodeData *literal = self._literal(subject, size)
        cdef Py_ssize_t start = 0, end, now_count = 1, next_count, number
        cdef Level *level
        cdef Level *child
        cdef Level **swapped
        self._found_count = 0
        if literal != NULL:
            self._found[0] = literal
            self._found_count = 1
        if self._pattern_count == 0:
            return self._found_count
        if size == 0 or subject[0] == c"." or subject[size - 1] == c".":
            self._found_count = 0
            return 0
        for number in range(size - 1):
            if subject[number] == c"." and subject[number + 1] == c".":
                self._found_count = 0
                return 0
        self._now[0] = self._root
        while start <= size:
            end = token_end(subject, start, size)
            self.steps += now_count
            if 2 * now_count > self._levels_capacity:
                self._grow_levels()
            if self._found_count + 2 * now_count > self._found_capacity:
                self._grow_found(self._found_count + 2 * now_count)
            next_count = 0
            for number in range(now_count):
                level = self._now[number]
                if level.rest != NULL:
                    self._found[self._found_count] = level.rest
                    self._found_count += 1
                if level.children:
                    child = self._child(level, subject + start, end - start)
                    if child != NULL:
                        self._next[next_count] = child
                        next_count += 1
                if level.star != NULL:
                    self._next[next_count] = level.star
                    next_count += 1
            if next_count == 0:
                return self._found_count
            swapped = self._now
            self._now = self._next
            self._next = swapped
            now_count = next_count
            start = end + 1
        if self._found_count + now_count > self._found_capacity:
            self._grow_found(self._found_count + now_count)
        for number in range(now_count):
            level = self._now[number]
            if level.node != NULL:
                self._found[self._found_count] = level.node
                self._found_count += 1
        return self._found_count

    cdef int _grow_found(self, Py_ssize_t wanted) except -1:
        cdef NodeData **grown = <NodeData **> realloc(self._found, <size_t> (2 * wanted) * sizeof(NodeData *))
        if grown == NULL:
            raise MemoryError
        self._found = grown
        self._found_capacity = 2 * wanted
        return 0

    cdef int _grow_levels(self) except -1:
        cdef size_t capacity = <size_t> self._levels_capacity * 2
        cdef Level **grown = <Level **> realloc(self._now, capacity * sizeof(Level *))
        if grown == NULL:
            raise MemoryError
        self._now = grown
        grown = <Level **> realloc(self._next, capacity * sizeof(Level *))
        if grown == NULL:
            raise MemoryError
        self._next = grown
        self._levels_capacity = <Py_ssize_t> capacity
        return 0

    cdef tuple found_nodes(self):
        """What the last match found, as nodes that anybody may look at."""
        cdef Py_ssize_t number
        return tuple([self._view(self._found[number]) for number in range(self._found_count)])

    def match(self, bytes subject not None):
        """The nodes whose subscriptions get a message published to `subject`, in a fixed order."""
        self.match_text(PyBytes_AS_STRING(subject), PyBytes_GET_SIZE(subject))
        return list(self.found_nodes())

    # -- plans

    cdef PyObject *plan_of_found(self, const char *subject, Py_ssize_t size) except? NULL:
        """The plan made of exactly the nodes that the last match found, borrowed; NULL: there is none."""
        if self._found_count == 1 and not self._found[0].particular:
            return self._found[0].plan
        return PyDict_GetItem(self._plans, self._key_of(self._found, self._found_count, subject, size))

    cdef bytes _key_of(self, NodeData **nodes, Py_ssize_t count, const char *subject, Py_ssize_t size):
        """The nodes, and the subject if what is done with a message depends on that as well.

        With a subject, the number of nodes stands before them: no subject is taken for one node more.
        A key of nodes alone starts with an aligned address, so never with a colon.
        """
        cdef bytes key = PyBytes_FromStringAndSize(<char *> nodes, count * <Py_ssize_t> sizeof(NodeData *))
        if are_particular(nodes, count):
            return b":%d:%b%b" % (count, key, PyBytes_FromStringAndSize(subject, size))
        return key

    cdef CompiledPlan install(self, tuple nodes, object plan, bytes subject):
        """Remember a plan until one of its nodes changes, or it is the oldest of too many."""
        cdef CompiledPlan made = CompiledPlan.__new__(CompiledPlan)
        cdef NodeData *node
        cdef Py_ssize_t number
        cdef Node view
        made.receivers = receivers_of(plan)
        made.node_count = len(nodes)
        made.nodes = <NodeData **> malloc((<size_t> made.node_count + 1) * sizeof(NodeData *))
        if made.nodes == NULL:
            raise MemoryError
        for number in range(made.node_count):
            view = nodes[number]
            if view is None:
                raise TypeError("a plan is installed for nodes of this data plane")
            node = self._find(view.subject)
            if node == NULL:
                raise ValueError("a plan is installed for nodes that exist")
            made.nodes[number] = node
        if made.node_count == 1 and not made.nodes[0].particular:
            node = made.nodes[0]
            Py_XDECREF(node.plan)
            Py_INCREF(made)
            node.plan = <PyObject *> made
            return made
        made.places = PLACES_OF_A_NODE * made.node_count + plan.receivers
        made.key = self._key_of(
            made.nodes, made.node_count, PyBytes_AS_STRING(subject), PyBytes_GET_SIZE(subject)
        )
        self._places += made.places
        while self._plans and (len(self._plans) >= PLANS_MAX or self._places > PLACES_MAX):
            self._forget(next(iter(self._plans.values())))
        self._plans[made.key] = made
        for number in range(made.node_count):
            node = made.nodes[number]
            if node.plans == NULL:
                plans = {}
                Py_INCREF(plans)
                node.plans = <PyObject *> plans
            (<dict> node.plans)[made] = None
        return made

    cdef int _void(self, NodeData *node) except -1:
        """Let no table hit reach the plans made of `node`: its members are about to change."""
        if node.plan != NULL:
            (<CompiledPlan> node.plan).drop()
            Py_DECREF(<object> node.plan)
            node.plan = NULL
        if node.plans != NULL:
            for plan in list(<dict> node.plans):
                self._forget(plan)
        return 0

    cdef int _forget(self, CompiledPlan plan) except -1:
        cdef Py_ssize_t number
        cdef NodeData *node
        plan.drop()
        self._places -= plan.places
        del self._plans[plan.key]
        for number in range(plan.node_count):
            node = plan.nodes[number]
            del (<dict> node.plans)[plan]
            if not <dict> node.plans:
                Py_DECREF(<object> node.plans)
                node.plans = NULL
        return 0


cdef bint is_particular(Subscription one) except -1:
    """Whether what it gets, or as what, depends on the subject of each message."""
    return one.filter is not None and one.filter.depends_on_subject


cdef bint are_particular(NodeData **nodes, Py_ssize_t count) noexcept:
    """Whether a member of these nodes does not get every subject that its node matches."""
    cdef Py_ssize_t number
    for number in range(count):
        if nodes[number].particular:
            return True
    return False


cdef inline int epoch_of(const char *token, Py_ssize_t size) noexcept:
    """Which epoch subjects with this first token watch. A checksum: it replays, and is that of the pure plane."""
    return <int> (crc32_of(token, size) & (EPOCHS - 1))


cdef uint32_t _crc_table[256]


cdef void _fill_crc_table() noexcept:
    cdef uint32_t number, value
    cdef int bit
    for number in range(256):
        value = number
        for bit in range(8):
            value = (value >> 1) ^ (0xEDB88320 if value & 1 else 0)
        _crc_table[number] = value


_fill_crc_table()


cdef uint32_t crc32_of(const char *data, Py_ssize_t size) noexcept:
    cdef uint32_t value = 0xFFFFFFFF
    cdef Py_ssize_t at
    for at in range(size):
        value = (value >> 8) ^ _crc_table[(value ^ <unsigned char> data[at]) & 0xFF]
    return value ^ 0xFFFFFFFF


# -- the table of subjects -------------------------------------------------------------------------

cdef struct Line:
    uint64_t hash
    uint64_t value            # of the epoch it watches, when it was written
    PyObject *plan            # NULL: the slot is free
    char *subject
    uint32_t length
    int epoch


cdef struct Generation:
    Line *lines
    Py_ssize_t count
    size_t mask


cdef Line *line_in(Generation *generation, uint64_t hashed, const char *subject, Py_ssize_t size) noexcept:
    cdef size_t at
    cdef Line *line
    if generation.count == 0:
        return NULL
    at = hashed & generation.mask
    while True:
        line = &generation.lines[at]
        if line.plan == NULL:
            return NULL
        if line.hash == hashed and line.length == size and memcmp(line.subject, subject, <size_t> size) == 0:
            return line
        at = (at + 1) & generation.mask


cdef void clear_generation(Generation *generation) noexcept:
    cdef size_t at
    cdef PyObject *plan
    if generation.lines != NULL:
        for at in range(generation.mask + 1):
            plan = generation.lines[at].plan
            if plan != NULL:
                free(generation.lines[at].subject)
                Py_DECREF(<object> plan)
        free(generation.lines)
    generation.lines = NULL
    generation.count = 0
    generation.mask = 0


cdef int grow_generation(Generation *generation) except -1:
    cdef size_t capacity = 64 if generation.lines == NULL else 2 * (generation.mask + 1)
    cdef Line *lines = <Line *> calloc(capacity, sizeof(Line))
    cdef size_t at, to
    if lines == NULL:
        raise MemoryError
    if generation.lines != NULL:
        for at in range(generation.mask + 1):
            if generation.lines[at].plan != NULL:
                to = generation.lines[at].hash & (capacity - 1)
                while lines[to].plan != NULL:
                    to = (to + 1) & (capacity - 1)
                lines[to] = generation.lines[at]
        free(generation.lines)
    generation.lines = lines
    generation.mask = capacity - 1
    return 0


cdef void drop_line(Generation *generation, Line *line) noexcept:
    cdef size_t mask = generation.mask
    cdef size_t at = <size_t> (line - generation.lines)
    cdef size_t following = at, home
    cdef PyObject *plan = line.plan
    free(line.subject)
    while True:
        following = (following + 1) & mask
        if generation.lines[following].plan == NULL:
            break
        home = generation.lines[following].hash & mask
        if ((following - home) & mask) >= ((following - at) & mask):
            generation.lines[at] = generation.lines[following]
            at = following
    generation.lines[at].plan = NULL
    generation.count -= 1
    Py_DECREF(<object> plan)


cdef class SubjectTable:
    """Published subject to plan, for connections with equal rights in one account."""

    cdef readonly Sublist sublist
    cdef tuple _reserved
    cdef CompiledPlan _refusal
    cdef CompiledPlan _nobody
    cdef object _mapper
    cdef SubjectTable _mapped     # where the subjects are looked up that mappings lead to
    cdef Sublist _allow
    cdef Sublist _deny
    cdef Generation _young
    cdef Generation _old
    cdef CompiledPlan _long       # keeps alive what was found for a subject too long to be remembered

    def __cinit__(
        self, Sublist sublist not None, tuple reserved not None, CompiledPlan refusal not None,
        CompiledPlan nobody not None, Sublist allow, Sublist deny, mapper,
    ):
        self._nobody = nobody
        self._allow = allow
        self._deny = deny
        self.sublist = sublist
        self._reserved = reserved
        self._refusal = refusal
        sublist.tables.append(self)
        if mapper is not None:
            self.remap(mapper)

    def __dealloc__(self):
        clear_generation(&self._young)
        clear_generation(&self._old)

    def __len__(self):
        return self._young.count + self._old.count + (len(self._mapped) if self._mapped is not None else 0)

    def remap(self, mapper):
        """From now on, map by `mapper`. Everything is looked up anew."""
        if self._mapped is not None:
            self.sublist.tables.remove(self._mapped)
            self._mapped = None
        self._mapper = mapper
        if mapper is not None:
            self._mapped = SubjectTable(
                self.sublist, self._reserved, self._refusal, self._nobody, self._allow, self._deny, None
            )
        clear_generation(&self._young)
        clear_generation(&self._old)

    cdef PyObject *look_up_text(self, const char *subject, Py_ssize_t size) except? NULL:
        """The plan for a subject, borrowed; NULL: none was made yet of the nodes that the sublist found.

        One with a choice, if a mapping covers it: then what is chosen is looked up in `_mapped`.
        """
        cdef uint64_t hashed = hash_of(subject, size, 0)
        cdef Sublist sublist = self.sublist
        cdef Line *line = line_in(&self._young, hashed, subject, size)
        cdef PyObject *found
        cdef int epoch, watched
        cdef CompiledPlan chosen
        if line != NULL and line.value == sublist._epochs[line.epoch] and (<CompiledPlan> line.plan).receivers != NULL:
            return line.plan
        line = line_in(&self._old, hashed, subject, size)
        if line != NULL and line.value == sublist._epochs[line.epoch] and (<CompiledPlan> line.plan).receivers != NULL:
            found = line.plan
            self._keep(hashed, subject, size, found, line.epoch)
            return found
        if self._mapper is not None:
            chosen = self._choice_of(subject, size)
            if chosen is not None:
                if size > SUBJECT_MAX:
                    self._long = chosen
                found = <PyObject *> chosen
                self._keep(hashed, subject, size, found, NEVER)  # what is chosen has a line of its own
                return found
        if self._refuses(subject, size):
            found = <PyObject *> self._refusal
            self._keep(hashed, subject, size, found, NEVER)  # what is subscribed does not change it
            return found
        sublist.match_text(subject, size)
        found = sublist.plan_of_found(subject, size)
        if found == NULL:
            return NULL
        epoch = epoch_of(subject, token_end(subject, 0, size))
        watched = (<CompiledPlan> found).watches(epoch)
        self._keep(hashed, subject, size, found, watched)
        return found

    cdef CompiledPlan _choice_of(self, const char *subject, Py_ssize_t size):
        """What a mapping says of a subject; None: no mapping covers it."""
        cdef CompiledPlan made
        choice, places = self._mapper.choose(PyBytes_FromStringAndSize(subject, size))
        self.sublist.steps += <long long> places
        if choice is None:
            return None
        made = CompiledPlan.__new__(CompiledPlan)
        made.receivers = self._nobody.receivers
        made.receivers.refs += 1
        made.choice = choice
        made.is_fixed = choice.is_fixed
        made.target = choice.target
        return made

    cdef PyObject *look_up_response(self, const char *subject, Py_ssize_t size) except? NULL:
        """The same for a subject that is refused, for somebody who has leave. Reserved ones stay refused.

        It is where a mapping led to, if one did: it is not mapped again.
        """
        if self._is_reserved(subject, size):
            return <PyObject *> self._refusal
        self.sublist.match_text(subject, size)
        return self.sublist.plan_of_found(subject, size)

    cdef object responses(self, permission, responses_max):
        """The record of somebody who may answer where this table refuses."""
        return Responses(permission, responses_max, self._allow, self._deny)

    cdef bint _refuses(self, const char *subject, Py_ssize_t size) except -1:
        return (
            self._is_reserved(subject, size)
            or (self._allow is not None and not self._are_about(self._allow, subject, size))
            or (self._deny is not None and self._are_about(self._deny, subject, size))
        )

    cdef bint _are_about(self, Sublist rules, const char *subject, Py_ssize_t size) except -1:
        """Whether one of these rules matches. What it costs to find out is counted as matching."""
        cdef long long before = rules.steps
        cdef bint found = rules.match_text(subject, size) != 0
        self.sublist.steps += rules.steps - before
        return found

    cdef bint _is_reserved(self, const char *subject, Py_ssize_t size) noexcept:
        cdef Py_ssize_t number, length
        cdef PyObject *prefix
        for number in range(PyTuple_GET_SIZE(self._reserved)):
            prefix = <PyObject *> PyTuple_GET_ITEM(self._reserved, number)
            length = PyBytes_GET_SIZE(<object> prefix)
            if size >= length and memcmp(subject, PyBytes_AS_STRING(<object> prefix), <size_t> length) == 0:
                return True
        return False

    cdef int _keep(self, uint64_t hashed, const char *subject, Py_ssize_t size, PyObject *plan, int epoch) except -1:
        cdef Line *line
        cdef PyObject *former
        cdef char *copy
        cdef size_t at
        if size > SUBJECT_MAX:
            return 0
        line = line_in(&self._young, hashed, subject, size)
        if line != NULL:
            Py_INCREF(<object> plan)
            former = line.plan
            line.plan = plan
            line.epoch = epoch
            line.value = self.sublist._epochs[epoch]
            Py_DECREF(<object> former)
            return 0
        copy = <char *> malloc(<size_t> size + 1)
        if copy == NULL:
            raise MemoryError
        memcpy(copy, subject, <size_t> size)
        Py_INCREF(<object> plan)   # before the old generation goes, which may hold the last reference
        try:
            if self._young.count >= GENERATION_MAX:
                clear_generation(&self._old)
                self._old = self._young
                memset(&self._young, 0, sizeof(Generation))
            if self._young.lines == NULL or 2 * (self._young.count + 1) > <Py_ssize_t> self._young.mask + 1:
                grow_generation(&self._young)
        except:
            free(copy)
            Py_DECREF(<object> plan)
            raise
        at = hashed & self._young.mask
        while self._young.lines[at].plan != NULL:
            at = (at + 1) & self._young.mask
        line = &self._young.lines[at]
        line.hash = hashed
        line.subject = copy
        line.length = <uint32_t> size
        line.plan = plan
        line.epoch = epoch
        line.value = self.sublist._epochs[epoch]
        self._young.count += 1
        return 0

    cdef void _drop(self, const char *subject, Py_ssize_t size) noexcept:
        cdef uint64_t hashed
        cdef Line *line
        if self._young.count == 0 and self._old.count == 0:
            return
        hashed = hash_of(subject, size, 0)
        line = line_in(&self._young, hashed, subject, size)
        if line != NULL:
            drop_line(&self._young, line)
        line = line_in(&self._old, hashed, subject, size)
        if line != NULL:
            drop_line(&self._old, line)

    def drop(self, bytes subject not None):
        """Forget one line: what it matches has changed."""
        self._drop(PyBytes_AS_STRING(subject), PyBytes_GET_SIZE(subject))

    def look_up(self, bytes subject not None):
        """The plan for `subject`, or the nodes it matches when no plan was made of them yet."""
        cdef PyObject *found = self.look_up_text(PyBytes_AS_STRING(subject), PyBytes_GET_SIZE(subject))
        return <object> found if found != NULL else self.sublist.found_nodes()
