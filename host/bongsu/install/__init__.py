"""Getting a board ready: what goes onto it (bundle.py)."""
