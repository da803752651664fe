"""Whether an object already is as it should be: every field that is wanted is there with the same value.

What the API server adds (defaults, status) and what others add does not count. Lists whose items have a name are
compared item by item, whatever their order. Quantities are compared by their amount, since the API server rewrites
them (1000m becomes 1), and an empty or zero value is the same as none, since it drops those.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from ark_operator.decision.template import is_named, name_of

_QUANTITY = re.compile(r"([+-]?\d+(?:\.\d*)?|[+-]?\.\d+)(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|n|u|[eE][+-]?\d{1,3})?")
_SUFFIXES: Mapping[str, Decimal] = {
    **{suffix: Decimal(1000) ** power for power, suffix in enumerate("kMGTPE", 1)},
    **{f"{suffix}i": Decimal(1024) ** power for power, suffix in enumerate("KMGTPE", 1)},
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
}


def matches(observed: Any, desired: Any, name: str = "") -> bool:
    """Return whether all that is desired is observed.

    Args:
        observed: what the API server has.
        desired: what should be there.
        name: of the field, which tells how its items are named.
    """
    if isinstance(desired, Mapping):
        if not isinstance(observed, Mapping):
            return observed is None and not desired
        return all(matches(observed.get(field), value, field) for field, value in desired.items())
    if isinstance(desired, list):
        return _matches_list(observed or [], desired, name)
    # An absent field has its type's zero value; the API server does not write those out.
    return bool(observed == desired) or (observed is None and not desired) or _same_amount(observed, desired)


def _matches_list(observed: Any, desired: Sequence[Any], name: str) -> bool:
    if not isinstance(observed, list):
        return False
    names = [name_of(name, wanted) for wanted in desired] if is_named(name) else []
    if len(set(names)) < len(desired):
        # No names, or none that tell the items apart.
        return len(observed) == len(desired) and all(
            matches(existing, wanted) for existing, wanted in zip(observed, desired, strict=True)
        )
    existing = {name_of(name, item): item for item in observed}
    return all(own in existing and matches(existing[own], wanted) for own, wanted in zip(names, desired, strict=True))


def _same_amount(observed: Any, desired: Any) -> bool:
    amounts = [_amount(value) for value in (observed, desired)]
    return None not in amounts and amounts[0] == amounts[1]


def _amount(value: Any) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    match = _QUANTITY.fullmatch(str(value))
    if match is None:
        return None
    number, suffix = match[1], match[2] or ""
    if suffix[:1] in ("e", "E") and len(suffix) > 1 and suffix != "Ei":
        return Decimal(number + suffix)
    return Decimal(number) * _SUFFIXES.get(suffix, Decimal(1))
