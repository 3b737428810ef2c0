"""Published protocols: a run measured the way the field reports a data set, beside the figures that it reports.

Nothing is imported here: the command line lists the names without loading torch.

- `registry`: `Protocol`, `register_protocol`, `known_protocols`; one file a protocol, found by name
- `run`: `evaluate_protocol(run, pairs, name)`, the entry point
- `task`: what a protocol is given: the run, the shards, who plays which role, which splits, what was trained on
- `result`: the one form of every result: JSON and a short table
- `classes`, `shapes`: zero-shot over a fixed list of classes; the three benchmarks of shapes share it
- `tvl`, `touch_and_go`, `modelnet40`, `objaverse_lvis`, `scanobjectnn`, `cross_sensor`: the protocols
"""
