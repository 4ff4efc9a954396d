"""Regional line losses: regions from the topology, meter data, balances with uncertainty, and what deviates."""
