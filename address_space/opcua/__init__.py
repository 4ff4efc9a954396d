"""The OPC UA face of the point table: nodes made when asked for, services in raw octets, asyncua underneath."""
