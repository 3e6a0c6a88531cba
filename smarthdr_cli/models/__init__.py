"""Fusion networks, the judge, and the one checkpoint format."""
