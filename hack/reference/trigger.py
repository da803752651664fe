"""The metadata of a ScaledObject's trigger, from the type that parses it."""

from __future__ import annotations

from ark_api import trigger
from hack.reference.markdown import code, page, table

SOURCE = "api/ark_api/trigger.py"

_INTRODUCTION = """\
The `metadata` of a trigger of type `external-push` or `external` that names the scaler
([a ScaledObject of your own](../guides/scaledobject.md), [a ScaledJob](../guides/scaledjob.md)). Give `queue` or
`stream`; everything else has a default."""
_REFUSALS = """\
`scalerAddress` says where KEDA finds the scaler, and is KEDA's own key. Each key may also be written with `FromEnv`
behind its name: KEDA then takes the value from that variable of the target's container.

An unknown key, or a value that is not allowed, is refused by name. The ScaledObject is then not Ready, its condition
has the message, and the pool keeps its size."""


def trigger_page() -> str:
    """Return the page."""
    rows = [(code(name), code(key.default), key.meaning) for name, key in trigger.KEYS.items()]
    return page("Trigger metadata", SOURCE, _INTRODUCTION, table(("key", "default", "meaning"), rows), _REFUSALS)
