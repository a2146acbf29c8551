"""The EPCIS 2.0 REST interface under `/epcis`: JSON and JSON-LD, no XML."""
