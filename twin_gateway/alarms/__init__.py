"""Alarms and conditions: the list of codes, the states of a condition, the book of all conditions, alarm rules."""
