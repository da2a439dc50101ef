"""The commands.

A module here imports at its top what its options need, and that alone. What a command works with, it imports in its
body, and after its arguments are checked where that takes no data: torch and RecBole take seconds, and ``--help`` and a
refusal are to need none of them. `tests/test_start_up.py` holds this.
"""
