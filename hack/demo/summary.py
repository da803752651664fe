"""Sum a trace up by seconds: ``python -m hack.demo.summary TRACE.csv > SUMMARY.csv``.

The summary in this folder was made so from a public trace; it keeps what scaling sees of it (how many requests come
in which second, and how long they are), in a file small enough for a repository.
"""

from __future__ import annotations

import csv
import sys
from collections import defaultdict
from pathlib import Path

from ark_cli.trace import SUMMARY_COLUMNS, BadTrace, read

DEFAULT = Path(__file__).with_name("azure-llm-2023-code-by-second.csv")
_ATTRIBUTION = """\
# Requests and tokens by second of AzureLLMInferenceTrace_code.csv, Azure Public Dataset, Microsoft, CC-BY-4.0;
# described in "Splitwise: Efficient generative LLM inference using phase splitting", ISCA 2024.
# Changed: summed up by second since the first request, seconds without requests left out (hack/demo/summary.py).
"""


def main() -> int:
    """Write the summary of the trace named on the command line to standard output."""
    if len(sys.argv) != 2:
        print("usage: python -m hack.demo.summary TRACE.csv > SUMMARY.csv", file=sys.stderr)
        return 2
    try:
        arrivals = read(Path(sys.argv[1]))
    except BadTrace as error:
        print(error, file=sys.stderr)
        return 2
    seconds: dict[int, list[int]] = defaultdict(lambda: [0, 0, 0])
    for arrival in arrivals:
        sums = seconds[int(arrival.at)]
        sums[0] += 1
        sums[1] += arrival.input_tokens
        sums[2] += arrival.output_tokens
    sys.stdout.write(_ATTRIBUTION)
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(SUMMARY_COLUMNS)
    writer.writerows([second, *sums] for second, sums in sorted(seconds.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
