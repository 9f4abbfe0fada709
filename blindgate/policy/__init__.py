"""Key policies that hold: written from measurements, and linted for the holes we know.

A KMS key policy decides who may open what was wrapped under the key, so it is as much a part
of the chain of trust as the verifier is. `writer` produces one, `lint` reads any, and both work
on the parsed form in `document`. Everything here is pure: text in, values out.
"""
