"""One process of test_fsdp2.py: `fsdp_memory.py BASE` shares a base out, and prints what that took of its own memory.

Memory that is mapped from files is left out: it is the files' own, shared by all, and given up when it is needed.
"""

from __future__ import annotations

import json
import re
import sys
import threading
from pathlib import Path

from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from pairalign.core.config import load_config
from pairalign.dormant.config import DormantConfig
from pairalign.finetune.config import RecomposeConfig, TuneConfig
from pairalign.finetune.fsdp import decoder_layers, prepare_shared
from pairalign.finetune.methods import create_method
from pairalign.finetune.methods.method import Setup
from pairalign.processes.launch import join
from pairalign.sensors.processor import load_base
from pairalign.sharding import own_part


def own_bytes() -> int:
    found = re.search(r"RssAnon:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found
    return 1024 * int(found[1])


class Peak(threading.Thread):
    """The largest `own_bytes` while it runs, above those of its start."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.start_bytes, self.largest, self.over = own_bytes(), 0, threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.002):
            self.largest = max(self.largest, own_bytes() - self.start_bytes)


def main(base: str) -> None:
    runtime = join(TuneConfig(accelerator="cpu"))
    load_base(base)  # this and the next line import what is needed
    fully_shard(nn.Linear(8, 8), mesh=init_device_mesh("cpu", (runtime.world,)))
    told = {"base": base, "sensors": {"touch": {"run": "run"}}, "out": "out", "method": "bridge"}
    config = load_config(RecomposeConfig, {**told, "tasks": {"t": {"shards": "s", "prompt": "{touch}", "answer": "a"}}})
    peak = Peak()
    peak.start()
    llm, _ = load_base(base)
    model = prepare_shared(llm, create_method("bridge", {}), Setup(DormantConfig()), config, runtime)
    peak.over.set()
    peak.join()
    weights = list(model.parameters())
    layer = sum(p.numel() * p.element_size() for p in llm.get_submodule(decoder_layers(llm)[0]).parameters())
    whole, part = (sum(p.numel() * p.element_size() for p in of) for of in (weights, map(own_part, weights)))
    print(json.dumps({"peak": peak.largest, "whole": whole, "part": part, "layer": layer}))


if __name__ == "__main__":
    main(sys.argv[1])
