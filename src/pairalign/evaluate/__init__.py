"""Measuring an aligned space: pure metrics on embeddings, their uncertainty, their pictures and the report.

Nothing is imported here: a metric needs no matplotlib, and a picture no trained run.

- `intervals`: `Score`, the bootstrap (plain and clustered), the Wilson interval
- `generation`: descriptions of a signal, by keywords and by a judge; `abilities`: lmms-eval before and after
- `retrieval`: R@k, median rank, factor agreement, each with its exact chance; `ranking`: ties and chance
- `geometry`: alignment, uniformity, modality gap, the dimensions that an edge uses, centred kernel alignment
- `probe`: linear probe, linear and kernel R²
- `zero_shot`: prompt templates, class embeddings, top-k accuracy
- `pictures`, `space_map`, `report`: the figures, the self-contained HTML page and `metrics.json`
- `protocols`: published measurements of named data sets, beside the figures that the field reports
- `pool`, `measure`, `tables`, `page`, `run`: a run encoded, measured and reported
"""
