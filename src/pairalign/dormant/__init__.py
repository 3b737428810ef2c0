"""Dormant tuning: which weights of a model may learn, the layers that let them, and what is kept on disk."""
