"""What a request costs, side by side: a bare loop, Blindgate, and servers without confidentiality.

`python -m bench.load` (or `make bench`) starts everything, measures in interleaved rounds and
writes `docs/performance.md`.
"""
