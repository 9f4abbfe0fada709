"""Sealing one HTTP exchange end to end: Binary HTTP (RFC 9292) inside OHTTP (RFC 9458).

Everything here is pure: bytes in, bytes out, no sockets, no clocks, no global state.

- `bhttp`: HTTP messages as bytes, known-length, padded.
- `keys`: `application/ohttp-keys`, what an enclave publishes and a client chooses from.
- `ohttp`: sealing and opening, both sides, on HPKE.
- `hpke`: HPKE (RFC 9180) in base mode, for one message; `hkdf` and `dhkem` are parts of it.
- `xwing`: the X-Wing KEM, which stays safe if either X25519 or ML-KEM-768 does.
- `padding`: the sizes that messages are padded to, so that their length says little.
"""
