"""Regulators' reports: their parts, formats, proofs, and who may ask."""
