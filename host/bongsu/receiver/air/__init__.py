"""Air quality: what nodes measure is kept, rolled up, judged by tables of levels, and exported.

intake.py (a reading comes in, and is written beside the alarms) -> pack.py, rollup.py (pure: how it is kept and summed)
-> shelf.py (the store) -> levels.py (pure: which level that is) -> advisories.py (who is told) ; export.py (as CSV).
"""
