"""The digital-twin addressing service: addresses, quality, units, catalogue, point table and their OPC UA face."""
