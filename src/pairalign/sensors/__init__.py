"""Sensors in a language model: encoder, head and bridge, spliced into its prompt."""
