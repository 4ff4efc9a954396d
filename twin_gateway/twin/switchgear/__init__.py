"""Condition of switchgear: wear, mechanism, drive, coil, gas, discharge, temperature, health (spec 6.2 and 6.3)."""
