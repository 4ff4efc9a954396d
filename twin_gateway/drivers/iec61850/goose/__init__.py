"""GOOSE subscription: frames from a process that alone may open a raw socket, streams, data sets, supervision (LGOS).

A protocol of its own beside MMS: the messages are multicast on a network, not an association with their sender, and one
may be lost without the other. Decoding of data sets is that of the reports.
"""
