"""Commands: gates, selection, the device's answer, feedback, audit."""
