"""What developers run: a local Redis, the demo, the benchmarks, the generated code. No part of the product."""
