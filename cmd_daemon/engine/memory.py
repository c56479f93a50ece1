"""How the garbage collector treats a heap of some hundred thousand entities."""

import gc

YOUNG = 50_000
"""New objects, less those gone, between two collections of the young ones."""


def settle() -> None:
    """Once, after recovery: what has been loaded stays for long, and the collector need not walk it
    again and again. It also runs less often from now on: entities, events and batches hold no cycles
    and are freed by their counts alone."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, 20, 20)
