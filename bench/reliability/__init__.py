"""The sections of `bench/faults.py`: a module each, with `measure(work, count, seed)` that gives a record, and `COUNT`,
how many of each the table is made of."""
