"""Four times as many requests as can be answered, for a minute: what is refused, and how.

`bench.load` measures clients that wait for their answers; these do not.
"""
