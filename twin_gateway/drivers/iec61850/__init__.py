"""IEC 61850 MMS: transport and association, report decoding by offsets, model and points, report blocks, commands.

The codec library open61850 is touched only below this package (and by the simulator).
"""
