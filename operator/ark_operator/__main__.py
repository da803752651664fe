"""``python -m ark_operator`` is ``ark-operator``."""

from ark_operator.main import main

main()
