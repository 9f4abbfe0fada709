"""`blindgate doctor`: what is wrong with a parent instance, and how to fix it.

result      the outcome of one check
host        what checks may do: read files, run programs, speak HTTP, ask an enclave
setup       what is installed here, read from /etc/blindgate and from the image
checks      one module a subject; each check is a function of a host and a setup
examination runs all checks concurrently, each with a timeout
report      the screen, JSON, and the file for a bug report
"""
