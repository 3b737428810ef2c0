"""What stands in docs/reliability.md beside the figures: what each row means, how to make it, and where it bites."""

from __future__ import annotations

HEAD = """# What pairalign stands

What breaks long work: kills, full disks, a stranger's files, several threads, many hours. Each figure is what was tried
and what held; nothing that was tried is left out of the count, and what did not hold is listed. A row without a record
says so. Every record is made by one command and turned into this page by another:

    python bench/faults.py SECTION --out faults     # --count and --seed for other numbers and other moments
    python bench/faults.py table --out faults

Note: these are tiny models and tiny data, so that hundreds of runs fit into an hour; the code is that of a
real run, its sizes are not. A figure holds for the versions and the machine that stand under it.

| what | held | seed | date |
|---|---|---|---|
"""

MEANS = {
    "kills": """Runs are started by the command line, ended by `kill -9`, SIGTERM or SIGINT at a random moment, and
started again with the same command, until they finish. *Held* means that every file of the folder is then that of a
run nobody disturbed, byte for byte, but for dates and durations. Note: a machine that loses power may lose
more than a killed process does; only what is marked durable is flushed to the disk itself.""",
    "disk": """A small file system is filled at a random moment of the verb. *Held* means one line that names the
place and exit code 2, nothing half-written that a later command would take for whole, and the same command going on
once there is room. Note: it needs the right to mount one, which a container may not have.""",
    "fuzz": """Good files with random changes, read as a stranger's would be. *Held* means a value or an error of
pairalign's own within the time and memory limits; any other exception, a hang or a process that dies is a finding,
and its input is kept beside the record. Note: absence of findings is for the CPU time that is named, not a
proof.""",
    "hostile": """Files made to do harm: pictures that start programs, names that leave their folder, links, bombs,
packs whose hashes were left out. *Held* means refused by one line, with nothing run, written, deleted or read
outside. A plugin that the user names is trusted and runs; SECURITY.md draws the line.""",
    "threads": """Eight threads ask one model with two sensor packs: prompts without a sensor, with one, with two,
with a picture, in a batch; a forward pass, `generate` with the cache, without it, with beams; half of them inside
`disable_adapter()`, and a ninth thread tries an install that has to be refused. *Held* means tokens and logits equal
to those of the same request asked alone, bit for bit. Note: torch computes with one thread for each request
here; with more, sums may be taken in another order. Installing a pack that fits, or taking one away, is for a moment
without requests.""",
    "soak": """Tiny samples through both stages' datasets, from folders and from a web server, in this process and in
workers; requests to one model whose packs go and come; whole runs one after another in one process. *Held* means, in
each arm, memory (proportional set size without files' pages, workers included) at most 1.02 × that after a fifth of
the work, the floor of descriptors no higher than before (of workers each tensor on its way holds one), threads never
more than in the warm-up, and all of them given back at the end but those of asyncio's own pool; *bytes a unit* is the
slope that is left, per sample, request or run. Note: what grows in Python is named by its type, what a
native library keeps is not. It takes about half an hour of a quiet core.""",
    "pythons": """README's test command under other interpreters than the one that the rest of this page was measured
with. *Held* means a test that passed; what is skipped says why in pytest's own output (`-rs`).""",
}
