"""Real servers as child processes on loopback, for tests, demo and benchmarks; each ends with its context."""
