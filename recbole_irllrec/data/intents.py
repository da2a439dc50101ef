"""Where release 0.1 had what users make a text table with; it is in `tables.intents`."""

from ..tables.intents import IntentTable

__all__ = ["IntentTable"]
