"""The same detector behind servers that people use, without confidentiality.

Each is what its own documentation recommends for a CPU model: the image as the raw body where
the server can take one, as many workers or threads as cores, nothing batched. They run in an
environment of their own (`locks/bench.txt`), with this repository on the path for the detector.
"""
