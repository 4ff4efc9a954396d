"""FLISR: fault location, isolation and service restoration as pure computations (IEC TR 63353, 7.3)."""
