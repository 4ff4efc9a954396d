"""The grid model: equipment and its connections as CIM names them, topology, power flow, state estimation. Pure."""
