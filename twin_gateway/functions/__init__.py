"""Twin functions at work: they feed the pure computations from the point table and publish what comes out."""
