"""How good are latency models fitted to published latencies? Leaves out every network once.

    python samples/benchmarks/published_tables.py [NAME ...] [--networks]

For each board and number of threads, two protocols: the network left out on all boards (what the
model is worth for a network that nobody published), and left out on this board only.
"""

from __future__ import annotations

import argparse

from edgecnn.latency import published
from edgecnn.latency.published import Fitted, Share


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=published.names())
    parser.add_argument("--networks", action="store_true", help="also the error of each network")
    arguments = parser.parse_args()
    print(f"{'board':20} threads  n   left out on all boards      left out on this board")
    print(f"{'':31} median  <=10 %  <=20 %    median  <=10 %  <=20 %")
    for name in arguments.names:
        for threads in published.threads_of(name):
            fitted = published.fit(name, threads)
            count = len(fitted.errors)
            print(f"{name:20} {threads:7} {count:2} {_text(fitted.unseen)}  {_text(fitted.here)}")
            if arguments.networks:
                _networks(fitted)


def _text(share: Share) -> str:
    return f"{share.median:7.1%} {share.within_10:7.0%} {share.within_20:7.0%}"


def _networks(fitted: Fitted) -> None:
    for one in sorted(fitted.errors, key=lambda error: abs(error.unseen)):
        print(
            f"    {one.network:20} {one.published_ms:9.2f} ms {one.unseen:+7.1%} {one.here:+7.1%}"
        )


if __name__ == "__main__":
    main()
