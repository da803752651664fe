"""Full collections look at what is new only, and everything is as before at the end."""

from __future__ import annotations

import gc

from ark_scaler.garbage import short_pauses


def test_what_survived_a_full_collection_is_not_looked_at_again() -> None:
    thresholds, callbacks = gc.get_threshold(), list(gc.callbacks)
    with short_pauses():
        kept = [[number] for number in range(10_000)]
        gc.collect()
        assert gc.get_freeze_count() > len(kept)
        assert not any(entry is kept for entry in gc.get_objects())
    assert gc.get_freeze_count() == 0
    assert (gc.get_threshold(), list(gc.callbacks)) == (thresholds, callbacks)
