"""Regulators at work: inspections for one case and time, and legal holds on lots."""
