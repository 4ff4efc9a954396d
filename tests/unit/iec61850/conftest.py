"""What the tests of report blocks share."""

import pytest
from unit.iec61850.reporting_bench import Bench


@pytest.fixture
def bench(tmp_path, monkeypatch):
    return lambda **options: Bench(tmp_path, monkeypatch, **options)
