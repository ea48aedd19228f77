"""Three real nodes of coordination, round after round of trouble, and what clients saw of it.

    clients ──► node 1 ◄──► links ◄──► node 2 ...      links: a proxy between the nodes' peer ports
       │           ▲
       │           └── a fault: killed, paused, cut off, a clock that jumps, a full disk, ...
       ▼
    what each asked and was answered ──► the oracles of parts/histories

links    the proxy    group    the processes    faults, disks    what is done to them
clients, holders      what is asked of them     round            one round, and what came of it
verdict  what the oracles say                   page             the table, and what is kept
"""
