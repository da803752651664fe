"""``python -m ark_agent`` is ``ark-agent``."""

from ark_agent.main import main

main()
