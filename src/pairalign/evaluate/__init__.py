"""Measuring an aligned space: retrieval, geometry, probes, zero-shot, identifiability, and the report."""
