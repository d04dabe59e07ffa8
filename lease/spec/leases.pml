/*
 * Who may answer reads alone, and who may acknowledge appends: appointment,
 * activation, lease, release, planned moves, elections, restarts of nodes and a
 * change of managers, as one process whose steps come in every possible order.
 *
 * Nobody waits for anybody: a step that may happen now may also happen after any
 * number of ticks, or never. So pauses of every length, of nodes and managers,
 * and messages that are late or lost, need no steps of their own.
 *
 * README.md says what is left out and which rule is which in the code. Each
 * WITHOUT_... takes one rule away; the model must then find a violation.
 */

#ifndef TERMS
#define TERMS 4         /* raft terms; the first leader is in term 1 */
#endif
#ifndef APPOINTMENTS
#define APPOINTMENTS 3  /* the first leader has appointment 1 */
#endif
#ifndef WRITES
#define WRITES 1
#endif
#ifndef RESTARTS
#define RESTARTS 1      /* of nodes */
#endif
#ifndef FAILOVERS
#define FAILOVERS 1     /* of the manager; zero or one */
#endif

/*
 * Time. A tick is two units of true time, of which a clock counts one or three:
 * the drift bound is a half. The lease is two units long. So the holder counts
 * one, the granter three, and either is one tick at the worst rate.
 */
#ifdef WITHOUT_DRIFT_BOUND
#define HELD  2
#define WAIT  2
#define CLAIM 2
#define SINCE 2
#else
#define HELD  1
#define WAIT  3
#define CLAIM 1         /* for so long a manager grants after its office was confirmed */
#define SINCE 3         /* for so long a new one waits for that of the one before */
#endif
#define SLOW 1
#define FAST 3

#define A 0             /* nodes; a third one follows whoever leads */
#define B 1
#define OLD 0           /* the first manager */
#define NEW 1           /* the one that takes over from it */

#define MAX(x, y)  ((x) > (y) -> (x) : (y))
#define LESS(x, y) ((x) > (y) -> (x) - (y) : 0)

/* Raft, as far as it matters here: of each term at most one leader; that of the
   newest term has all that was acknowledged; the others may go on believing. */
byte term = 1;
byte length = 0;        /* appends that are on a quorum */

typedef Node {
	byte leads;         /* raft term; zero when it believes that it does not lead */
	byte reached;       /* of its own raft term on a quorum: zero nothing, else one and length */
	bit ready;          /* it knows an entry of its own raft term to be committed */
	byte commit;        /* what it knows to be committed */
	byte appoint;       /* the newest appointment that it was ever to be told of */
	/* lease.Holder */
	byte appointment;
	byte released;
	byte activated;     /* raft term */
	byte leaseTerm;     /* of the lease held; zero when none */
	byte leaseOf;       /* its appointment */
	byte left;          /* of it, by the node's own clock */
	/* A grant on its way; zero is none. */
	byte grantOf;       /* appointment */
	byte grantTerm;
	byte grantAge;      /* since before it was asked for, by the node's clock, up to HELD */
};
Node node[2];

/* lease.Record */
typedef Record {
	byte appointment;
	byte to;
	byte holder;
	byte held;
	byte term;
};
Record stored;          /* in etcd */
byte office = OLD;      /* in etcd */

typedef Manager {
	bit believes;       /* to be in office */
	byte claim;         /* for so long it may grant, by its own clock; NEW has no successor */
#ifdef WITHOUT_EARLY_CLAIM
	bit confirming;     /* the store has confirmed the office, and it has not heard of it */
#endif
	bit writing;        /* a record is written, and it has not heard of it */
	Record next;
	/* lease.Granter */
	Record record;
	byte released;
	byte granted;
	byte free;          /* time until others may be activated, by its own clock */
};
Manager manager[2];

byte restarts = 0;
byte must = 0;          /* what a fresh read that begins now must reflect: it was
                           acknowledged, or a fresh read returned it */
byte everGranted = 0;   /* bits: raft terms in which a manager granted */

byte rateOld = SLOW;    /* of OLD's clock. Those of the nodes are slow, so that leases
                           last, and NEW's is fast, so that its wait is short: the
                           other rates allow nothing that these do not. */

#define COPY(x, y) \
	x.appointment = y.appointment; x.to = y.to; x.holder = y.holder; x.held = y.held; x.term = y.term

#define CLEAR(x) \
	x.appointment = 0; x.to = 0; x.holder = 0; x.held = 0; x.term = 0

#ifdef WITHOUT_TERM
#define ACTIVATED(n) (node[n].leads != 0 && node[n].activated != 0)
#define UNDER(n)     (node[n].leads != 0 && node[n].leaseTerm != 0)
#else
#define ACTIVATED(n) (node[n].leads != 0 && node[n].activated == node[n].leads)
#define UNDER(n)     (node[n].leads != 0 && node[n].leaseTerm == node[n].leads)
#endif

/* Three properties: at no instant of true time do two nodes believe to hold the
   lease, no leader acknowledges that was not activated, and, in answers below, no
   fresh read is stale. READS_ONLY asks for the last one alone. */
#define BELIEVES(n) (UNDER(n) && node[n].left > 0)
#ifdef READS_ONLY
#define ONE_HOLDER
#define WAS_ACTIVATED(n)
#else
#define ONE_HOLDER       assert(!(BELIEVES(A) && BELIEVES(B)));
#define WAS_ACTIVATED(n) assert((everGranted >> node[n].leads) & 1);
#endif

/* ---- Leaders ---- */

/* Does the node answer a default read alone? */
#if defined(WITHOUT_LEASE)
#define HOLDS(n) (node[n].leads != 0)
#elif defined(WITHOUT_CHECK_PER_READ)
#define HOLDS(n) UNDER(n)
#else
#define HOLDS(n) BELIEVES(n)
#endif

#ifdef WITHOUT_OWN_TERM
#define READY(n) (node[n].leads != 0)
#else
#define READY(n) (node[n].ready)
#endif

/* May a leader learn that its entries are committed? group.Replica.isEarly. */
#if defined(WITHOUT_ACTIVATION) || defined(WITHOUT_COMMIT_GATE) || defined(WITHOUT_INDEX_GATE)
#define MAY_COMMIT(n) true
#else
#define MAY_COMMIT(n) ACTIVATED(n)
#endif

/* May it acknowledge appends? group.Replica.settle. */
#ifdef WITHOUT_ACTIVATION
#define MAY_ACKNOWLEDGE(n) (node[n].leads != 0)
#else
#define MAY_ACKNOWLEDGE(n) ACTIVATED(n)
#endif

/* May it answer quorum reads, its own and those of followers?
   group.Replica.mayAnswer. */
#ifdef WITHOUT_INDEX_GATE
#define MAY_INDEX(n) (node[n].leads != 0)
#else
#define MAY_INDEX(n) ACTIVATED(n)
#endif

inline elected(n) {
	term++;
	node[n].leads = term; node[n].reached = 0; node[n].ready = 0;
	ONE_HOLDER
}

inline hearsOfNewerTerm(n) { node[n].leads = 0; node[n].reached = 0; node[n].ready = 0 }

inline learnsCommit(n) {
	node[n].ready = 1;
	node[n].commit = MAX(node[n].commit, node[n].reached - 1)
}

inline acknowledges(n) {
	WAS_ACTIVATED(n)
	must = node[n].commit
}

/* A read that saw what the node knows to be committed. That a read waits, looks
   and looks at the lease again takes time in the code; the worst is that it begins
   when the index is taken and sees no more than that. */
inline answers(n) {
	assert(node[n].commit >= must);
	must = node[n].commit
}

#ifdef WITHOUT_APPLY
inline answersUnapplied(n) { assert(0 >= must) }
#endif

/* With WITHOUT_SAME_TERM the index is taken first, and the lease looked at later,
   in whatever term that is. */
#ifdef WITHOUT_SAME_TERM
byte reads = 0;         /* one and the node that is read from */
byte index;
byte wants;
#endif

/* ---- lease.Holder ---- */

inline takesAppointment(n) { node[n].appointment = node[n].appoint }

inline releases(n) {
	node[n].released = node[n].appointment;
	if
	:: node[n].leaseOf <= node[n].released -> node[n].leaseTerm = 0; node[n].leaseOf = 0; node[n].left = 0
	:: else
	fi
}

#ifdef WITHOUT_RELEASE_FENCE
#define NOT_RELEASED(n) true
#else
#define NOT_RELEASED(n) node[n].grantOf > node[n].released
#endif

inline uses(n) {
	if
	:: node[n].grantTerm == node[n].leads && node[n].grantOf == node[n].appointment && NOT_RELEASED(n) ->
		node[n].activated = MAX(node[n].activated, node[n].grantTerm);
#ifdef WITHOUT_COUNT_FROM_BEFORE
		node[n].grantAge = 0;
#endif
		if
		:: node[n].grantAge < HELD && (node[n].grantTerm != node[n].leaseTerm || node[n].grantOf != node[n].leaseOf ||
		   HELD - node[n].grantAge > node[n].left) ->
			node[n].leaseTerm = node[n].grantTerm; node[n].leaseOf = node[n].grantOf; node[n].left = HELD - node[n].grantAge
		:: else
		fi
	:: else
	fi;
	noGrant(n);
	ONE_HOLDER
}

inline noGrant(n) { node[n].grantOf = 0; node[n].grantTerm = 0; node[n].grantAge = 0 }

/* All that is in memory only is gone, and so are the streams. */
inline restart(n) {
	restarts++;
	node[n].leads = 0; node[n].reached = 0; node[n].ready = 0; node[n].commit = 0;
	node[n].appointment = 0; node[n].released = 0; node[n].activated = 0;
	node[n].leaseTerm = 0; node[n].leaseOf = 0; node[n].left = 0;
	noGrant(n)
}

inline passNode(n, rate) {
	node[n].left = LESS(node[n].left, rate);
#ifndef WITHOUT_CHECK_PER_READ
	if
	:: node[n].left == 0 -> node[n].leaseTerm = 0; node[n].leaseOf = 0 /* they say nothing any more */
	:: else
	fi;
#endif
	if
	:: node[n].grantOf != 0 -> node[n].grantAge = (node[n].grantAge + rate > HELD -> HELD : node[n].grantAge + rate)
	:: else
	fi
}

#ifdef WITHOUT_SUSPENDED_TIME
#define TICK :: atomic { if :: skip :: passNode(A, SLOW) fi; if :: skip :: passNode(B, SLOW) fi; passManagers() }
#else
#define TICK :: d_step { passNode(A, SLOW); passNode(B, SLOW); passManagers() }
#endif

/* ---- Managers ---- */

#ifdef WITHOUT_CLAIM
#define IN_OFFICE(m) (manager[m].believes)
#else
#define IN_OFFICE(m) (manager[m].believes && (m == NEW || manager[m].claim > 0))
#endif

#ifdef WITHOUT_SWAP
#define MAY_WRITE(m) (manager[m].believes && !manager[m].writing)
#else
#define MAY_WRITE(m) (manager[m].believes && !manager[m].writing && office == m)
#endif

#ifdef WITHOUT_WAIT
#define FREE(m, n) true
#else
#define FREE(m, n) (n == manager[m].record.holder || manager[m].free == 0)
#endif

#ifdef WITHOUT_OLD_TERM_REFUSED
#define OLD_TERM(m, n) false
#else
#define OLD_TERM(m, n) (node[n].leads < manager[m].record.term || \
	node[n].leads == manager[m].record.term && n != manager[m].record.holder)
#endif

/* lease.Granter.judge, without the proof of quorum and disk, which concerns
   availability alone. A claim is judged when it is made; what is late is the grant. */
#define MAY_GRANT(m, n) (IN_OFFICE(m) && node[n].leads != 0 && n == manager[m].record.to && \
	node[n].appointment == manager[m].record.appointment && \
	node[n].appointment > manager[m].released && !OLD_TERM(m, n) && FREE(m, n))

#define RECORDED(m, n) (n == manager[m].record.holder && \
	node[n].appointment == manager[m].record.held && node[n].leads == manager[m].record.term)

/* lease.Granter.Release */
inline granterReleases(m, n, id) {
	manager[m].released = MAX(manager[m].released, id);
	if
	:: manager[m].granted <= manager[m].released -> manager[m].free = 0
	:: else
	fi
}

inline grants(m, n) {
	manager[m].granted = MAX(manager[m].granted, node[n].appointment);
	manager[m].free = MAX(manager[m].free, WAIT);
	everGranted = everGranted | (1 << node[n].leads);
	if
	:: node[n].grantOf == 0 -> node[n].grantOf = node[n].appointment; node[n].grantTerm = node[n].leads; node[n].grantAge = 0
	:: else /* lost */
	fi
}

#ifdef WITHOUT_RECORD
inline activates(m, n) {
	manager[m].record.holder = n; manager[m].record.held = node[n].appointment; manager[m].record.term = node[n].leads
}
#define MAY_ACTIVATE(m) true
#else
inline activates(m, n) {
	COPY(manager[m].next, manager[m].record);
	manager[m].next.holder = n; manager[m].next.held = node[n].appointment; manager[m].next.term = node[n].leads;
	COPY(stored, manager[m].next);
	manager[m].writing = 1
}
#define MAY_ACTIVATE(m) MAY_WRITE(m)
#endif

/* Policy may have any reason to appoint any node, so there is none here. */
inline appoints(m, n) {
	COPY(manager[m].next, manager[m].record);
	manager[m].next.appointment = manager[m].record.appointment + 1; manager[m].next.to = n;
	COPY(stored, manager[m].next);
	manager[m].writing = 1
}

/* A manager hears that its record is written, and orders what it says. */
inline recorded(m) {
	if
	:: manager[m].next.appointment > manager[m].record.appointment && manager[m].next.to == A ->
		node[A].appoint = MAX(node[A].appoint, manager[m].next.appointment)
	:: manager[m].next.appointment > manager[m].record.appointment && manager[m].next.to == B ->
		node[B].appoint = MAX(node[B].appoint, manager[m].next.appointment)
	:: else
	fi;
	COPY(manager[m].record, manager[m].next);
	CLEAR(manager[m].next);
	manager[m].writing = 0
}

inline takesOffice() {
	office = NEW;
	manager[NEW].believes = 1;
	COPY(manager[NEW].record, stored);
	manager[NEW].granted = stored.held;
#ifdef WITHOUT_WAIT_AFTER_FAILOVER
	manager[NEW].free = 0
#else
	manager[NEW].free = SINCE + WAIT
#endif
}

/* It crashed, or found out. Until then it lives on as if it were in office. */
inline leavesOffice() {
	manager[OLD].believes = 0; manager[OLD].claim = 0; manager[OLD].writing = 0;
	CLEAR(manager[OLD].next);
	CLEAR(manager[OLD].record);
	manager[OLD].free = 0; manager[OLD].released = 0; manager[OLD].granted = 0
}

inline passManagers() {
	manager[OLD].claim = LESS(manager[OLD].claim, rateOld);
	manager[OLD].free = LESS(manager[OLD].free, rateOld);
	manager[NEW].free = LESS(manager[NEW].free, FAST)
}

/* ---- Steps ---- */

#define FOR_NODE(n) \
	:: d_step { term < TERMS && node[n].leads != term -> elected(n) } \
	:: d_step { node[n].leads != 0 && node[n].leads < term -> hearsOfNewerTerm(n) } \
	:: d_step { restarts < RESTARTS -> restart(n) } \
	/* the newest leader's first entry, or an append, gets to a quorum */ \
	:: d_step { node[n].leads == term && node[n].reached == 0 -> node[n].reached = 1 + length } \
	:: d_step { node[n].leads == term && node[n].reached != 0 && length < WRITES -> length++; node[n].reached = 1 + length } \
	/* it hears of that, perhaps when it is deposed and does not know */ \
	:: d_step { node[n].reached != 0 && MAY_COMMIT(n) && (!node[n].ready || node[n].commit + 1 < node[n].reached) -> learnsCommit(n) } \
	:: d_step { node[n].ready && MAY_ACKNOWLEDGE(n) && node[n].commit > must -> acknowledges(n) } \
	/* a quorum confirms the leader of the newest term only */ \
	:: d_step { node[n].leads == term && node[n].ready && MAY_INDEX(n) && node[n].commit != must -> answers(n) } \
	FOLLOWER(n) \
	DEFAULT_READ(n) \
	:: d_step { node[n].appoint > node[n].appointment && node[n].appoint > node[n].released -> takesAppointment(n) } \
	/* it was asked to, or hands its leadership over */ \
	:: d_step { node[n].appointment > node[n].released -> releases(n) } \
	:: d_step { node[n].grantOf != 0 -> uses(n) } \
	:: d_step { node[n].grantOf != 0 -> noGrant(n) }

/* A follower that asked an entitled leader in time has replayed more since: all
   that anybody knows to be committed. */
#if defined(WITHOUT_ACTIVATION) || defined(WITHOUT_INDEX_GATE)
#define FOLLOWER(n)
#else
#define FOLLOWER(n) :: d_step { node[n].commit > must -> must = node[n].commit }
#endif

#if defined(WITHOUT_SAME_TERM)
#define DEFAULT_READ(n) \
	:: d_step { reads == 0 && READY(n) -> reads = 1 + n; index = node[n].commit; wants = must } \
	:: d_step { reads == 1 + n && READY(n) && HOLDS(n) -> assert(index >= wants); reads = 0; index = 0; wants = 0 }
#elif defined(WITHOUT_APPLY)
#define DEFAULT_READ(n) :: d_step { READY(n) && HOLDS(n) -> answersUnapplied(n) }
#else
#define DEFAULT_READ(n) :: d_step { READY(n) && HOLDS(n) && node[n].commit != must -> answers(n) }
#endif

#define FOR_MANAGER(m) \
	:: d_step { manager[m].writing -> recorded(m) } \
	:: d_step { MAY_WRITE(m) && manager[m].record.appointment < APPOINTMENTS -> appoints(m, A) } \
	:: d_step { MAY_WRITE(m) && manager[m].record.appointment < APPOINTMENTS -> appoints(m, B) } \
	CLAIM_OF(m, A) \
	CLAIM_OF(m, B)

#define CLAIM_OF(m, n) \
	:: d_step { MAY_GRANT(m, n) && RECORDED(m, n) -> grants(m, n) } \
	:: d_step { MAY_GRANT(m, n) && !RECORDED(m, n) && MAY_ACTIVATE(m) -> activates(m, n) } \
	/* it hears what the node has released */ \
	:: d_step { manager[m].believes && n == manager[m].record.holder && node[n].released > manager[m].released -> \
		granterReleases(m, n, node[n].released) } \
	UNASKED(m, n)

/* WITHOUT_RELEASE_ANSWER takes the order to release for the answer. */
#ifdef WITHOUT_RELEASE_ANSWER
#define UNASKED(m, n) \
	:: d_step { manager[m].believes && n == manager[m].record.holder && n != manager[m].record.to && \
		manager[m].record.held > manager[m].released -> granterReleases(m, n, manager[m].record.held) }
#else
#define UNASKED(m, n)
#endif

/* The store confirms the office of a manager, which counts from before it asked.
   WITHOUT_EARLY_CLAIM it counts from when it hears the answer. */
#ifdef WITHOUT_EARLY_CLAIM
#define CONFIRMS \
	:: d_step { manager[OLD].believes && office == OLD && !manager[OLD].confirming -> manager[OLD].confirming = 1 } \
	:: d_step { manager[OLD].confirming -> manager[OLD].confirming = 0; manager[OLD].claim = CLAIM }
#else
#define CONFIRMS \
	:: d_step { manager[OLD].believes && office == OLD && manager[OLD].claim < CLAIM -> manager[OLD].claim = CLAIM }
#endif

inline begin() {
	node[A].leads = 1; node[A].reached = 1; node[A].ready = 1;
	node[A].appoint = 1; node[A].appointment = 1; node[A].activated = 1;
	everGranted = 2;
	stored.appointment = 1; stored.to = A; stored.holder = A; stored.held = 1; stored.term = 1;
	manager[OLD].believes = 1; manager[OLD].granted = 1;
	COPY(manager[OLD].record, stored)
}

active proctype world() {
	atomic {
		begin();
		/* slow, it grants for long; fast, it waits for a short time */
		if :: rateOld = SLOW :: rateOld = FAST fi
	}
	do
	TICK
	FOR_NODE(A)
	FOR_NODE(B)
	FOR_MANAGER(OLD)
	FOR_MANAGER(NEW)
	CONFIRMS
	:: d_step { FAILOVERS == 1 && office == OLD -> takesOffice() }
	:: d_step { manager[OLD].believes && office == NEW -> leavesOffice() }
	od
}
