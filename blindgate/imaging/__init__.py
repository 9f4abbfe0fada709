"""Image files: what they are, how large they may be, and their upright RGB pixels.

The enclave decodes with this package what it analyses, and the client draws boxes on what it
decodes, so both see the same pixels. It needs Pillow and nothing else.
"""
