"""FLISR at work: it watches the feeders, has computed, asks people, and commands through the desk (spec 3)."""
