"""All mutants, in the order of the page."""

from tools.raft_mutants.elections import ELECTIONS
from tools.raft_mutants.logs import LOGS
from tools.raft_mutants.reads import READS

MUTANTS = (*ELECTIONS, *LOGS, *READS)
