"""General abilities before and after, through lmms-eval: which sets, how to run them, how to read what it logged.

Nothing is imported here, and lmms-eval is not needed to read its results.

- `suites`: the held-out sets of the selective-tuning papers, and how each counts a sample
- `commands`: the exact command lines for base, and merged checkpoint or run
- `logs`: a result folder of lmms-eval; `compare`: the paired change by task, and forgetting
- `python -m pairalign.evaluate.abilities` runs `commands` and `compare`
"""
