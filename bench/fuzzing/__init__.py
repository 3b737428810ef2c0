"""Fuzzing of everything that reads other people's files; `bench/fuzz.py` is its command line.

`change` makes damaged files of good ones, `readers` says what reads which, `worker` reads them and judges, `watch`
stands outside and sees hangs and deaths, `record` is what is kept of a reader.
"""
