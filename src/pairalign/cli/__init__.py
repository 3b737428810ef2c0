"""The command line: one file a verb, light until a verb runs."""
