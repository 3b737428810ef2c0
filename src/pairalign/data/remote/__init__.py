"""Shards that are not in a plain local folder: opening, transfer with retries, the cache, writing."""
