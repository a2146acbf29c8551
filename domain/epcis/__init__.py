"""EPCIS 2.0 事件库 / EPCIS 2.0 repository: documents, their events, queries."""
