"""IEC 60870-5-104 stations: ASDU codec, APCI state machine, interrogations, commands."""
