"""The outside world, one file per kind: who is told of an incident, and how (DESIGN section 4)."""
