"""FHIR R5 and R4B: an Immunization for each dose, read and searched."""
