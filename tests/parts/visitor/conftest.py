"""Visitors as a town opens them: once for the process."""

import pytest

from bastide.parts.visitor.visitors import Visitors, open_visitors


@pytest.fixture(scope="session")
def visitors() -> Visitors:
    return open_visitors()
