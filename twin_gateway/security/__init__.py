"""Users, roles and what they may do."""
