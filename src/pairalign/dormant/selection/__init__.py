"""Choosing the dormant part of every weight from its scores."""
