"""Raft, pure: several nodes agree on one log, of which a minority may be gone.

**The idea.** One node leads for a term. It numbers what is asked for, the others copy it, and once
a majority has an entry durably it is committed: applied, everywhere, at that place for ever. Any
two majorities have a node in common. So a term has one leader, for a node votes once a term; and
the next leader has all that is committed, for a node votes only for who has at least what it has.

    term 1                  term 2                    term 3
    1  a b c d  leader      1  a b c d   gone         1  a b c e    d was never with a majority:
    2  a b c                2  a b c e   leader       2  a b c e    it is overwritten
    3  a b                  3  a b c e                3  a b c e    c was: it is in every later log

**The shape.** `Raft` is called with what happened and the time, and tells by `ready()` what to do:

          tick  step  propose  read  change  transfer
                     │
    raft.py ─────────┴──── terms, elections, what is admitted at all
      ├── leader.py        while it leads: Appends, commits, rounds, reads, handing over
      │     ├── progress.py   what it knows of each follower, and may send
      │     └── reads.py      what waits for a round, when each round began
      ├── replica.py       while another leads: its entries, its snapshot
      ├── log.py           the entries, and the frontiers written, handed, committed
      ├── members.py, quorum.py     who votes, and what a majority has
      └── outbox.py        what leaves now, and what only behind a write
                     │
          ready ─────┘ ──► written  applied  chunk_kept  installed  snapshot_taken

**The price.** A message costs O(1) beside its entries, a commit O(voters log voters). Looking up a
term or a size in the log is a bisection; nothing walks it. An entry takes a round trip and a sync,
which the leader's own runs beside; a read takes a round trip that all reads between two Readies
share, or nothing within a lease.

**Where it differs** from the thesis, and from etcd's raft:

- Time is handed in and not counted in ticks, so that a clock that jumps, or a process that was
  paused, is seen at once: CheckQuorum and leases count from when a round began, not from when its
  echo came. etcd counts ticks, and for CheckQuorum from when a follower was last heard.
- After it asked another to take over, a leader has no lease for the rest of its term, even if that
  was given up: the message may come late, and who is asked so ignores leases.
- A node that comes back grants no vote for an election's time, since it may have promised that.
- A heartbeat names the last entry that was sent, so that it shows a loss; it is answered without
  waiting for the disk. `commit` goes out as soon as it moves.
- Members count from when they are in the log, as in the thesis and unlike in etcd. A leader lets go
  of who is removed as soon as the entry is in its log, so a removed node may not learn that it is;
  it asks on, and nobody who hears a leader heeds it.
- A change to voters of whom no majority is heard is refused: they come as learners first.
- One write is out at a time: what comes meanwhile is the next one, which is group commit.
"""
