"""``python -m ark_scaler`` is ``ark-scaler``."""

from ark_scaler.server import main

main()
