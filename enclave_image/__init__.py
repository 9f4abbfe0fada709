"""Enclave images: built from locked inputs to the same bytes everywhere, and read again.

`build` makes an image out of Debian packages and wheels that are pinned by hash, our own code, a
model and a configuration; `eif` is the file format, `pcrs` what the hypervisor measures of it.
"""
