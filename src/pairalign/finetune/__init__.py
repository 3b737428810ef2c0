"""Stage two: a language model learns to read its sensors."""
