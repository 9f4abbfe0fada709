"""What every party of Blindgate shares: protocols, attestation, sealing, the client SDK and the CLI."""
