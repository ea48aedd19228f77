"""Bugs put into the Raft core on purpose, to see whether its simulator finds them.

python -m tools.raft_mutants [--only NAME] [--minutes M] [--write] [--story]

A simulator that finds nothing says nothing until it is known what it would have found. Each mutant
is a small change of the core's source: a mistake that somebody made in a real system, that the
paper or the thesis warns of, or that is one word away. The simulator runs seed after seed against
it; the first violation kills it. The core as it is runs through the same seeds and must survive.
"""
