"""What is kept by the thousand shares its texts."""

from __future__ import annotations

import json

from ark_kube.compact import compact


def test_two_objects_share_their_names_and_short_texts_and_stay_equal() -> None:
    text = json.dumps({"kind of": ["some value", 1, None, {"kind of": True}], "long": "x" * 101})
    one, other = compact(json.loads(text)), compact(json.loads(text))
    assert one == other == json.loads(text)
    assert next(iter(one)) is next(iter(other))
    assert one["kind of"][0] is other["kind of"][0]
