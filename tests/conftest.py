"""Settings of all tests."""

from __future__ import annotations

from hypothesis import settings

# What a change is judged by finds the same every time; `--hypothesis-profile=explore` looks for more.
settings.register_profile("repeatable", derandomize=True)
settings.register_profile("explore", max_examples=2_000)
settings.load_profile("repeatable")
