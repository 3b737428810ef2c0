"""The processes of a run: who started them, what ends them, and how they stop."""
