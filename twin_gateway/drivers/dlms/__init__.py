"""DLMS/COSEM meters over the TCP wrapper: codec without input or output, association, reading, disconnector."""
