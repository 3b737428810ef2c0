"""Pairs: the graph of modalities, the shards on disk, packing, inspecting, auditing, and the built-in world."""
