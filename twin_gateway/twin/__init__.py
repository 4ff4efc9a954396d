"""Twin computations: functions of arrays and graphs. They neither await nor log nor read a clock."""
