"""The digital-twin addressing service: addresses, quality, units, catalogue, point table, events and their OPC UA face."""
