"""Skills taught one after the other, and what becomes of each."""
