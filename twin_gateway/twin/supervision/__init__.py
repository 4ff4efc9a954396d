"""Supervision of devices: conditions, states, root causes, roll-up, availability, clocks, revisions (spec 7)."""
