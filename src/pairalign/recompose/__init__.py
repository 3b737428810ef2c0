"""Stage two: a language model reads an aligned sensor through dormant weights."""
