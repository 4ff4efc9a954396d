"""Tools for those who write mapping files: imports, drafts, merging. Nothing that runs depends on them."""
