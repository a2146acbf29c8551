"""The records and reports that the law asks for: JSON, CSV and PDF."""
