"""Settings of all tests."""

from __future__ import annotations

from hypothesis import settings

# What a change is judged by finds the same every time; `--hypothesis-profile=explore` looks for more.
# How long an example takes says more of the machine than of the code.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.register_profile("explore", max_examples=2_000, deadline=None)
settings.load_profile("repeatable")
