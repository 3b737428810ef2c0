"""The parts of `bench/front.py`: arms, which of them get more seeds, runs, and the page."""
