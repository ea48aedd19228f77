"""All cases of the corpus, and their groups in the order of reading."""

from tests.parts.http import (
    cases_chunks,
    cases_lengths,
    cases_limits,
    cases_lines,
    cases_targets,
    cases_turns,
)

_FILES = (cases_lengths, cases_chunks, cases_lines, cases_targets, cases_turns, cases_limits)
GROUPS = [group for file in _FILES for group in file.GROUPS]
CASES = [case for group in GROUPS for case in group.cases]
