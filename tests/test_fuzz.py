"""A few hundred cases of hypothesis over every reader; ``benchmarks/hostile.py`` runs ten thousand."""

import pytest

hypothesis = pytest.importorskip("hypothesis", reason="no hypothesis here: pip install hypothesis")
from hypothesis import HealthCheck, given, settings  # noqa: E402

from .support.fuzz import READERS, attempt  # noqa: E402


@pytest.mark.parametrize("kind", READERS)
def test_a_reader_gives_a_result_or_a_sentence(kind):
    content, read = READERS[kind]

    @settings(
        max_examples=15, derandomize=True, deadline=5000, database=None, suppress_health_check=list(HealthCheck),
        print_blob=False,
    )  # fmt: skip
    @given(content)
    def check(given):
        attempt(read, given)

    check()
