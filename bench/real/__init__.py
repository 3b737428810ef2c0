"""The parts of `bench/real_llm.py`: a base of real pretrained weights, what it is taught, and what is asked of it."""
