"""Black boxes that speak only MQTT and HTTP: stores, vehicles, scanners, clinics, loggers."""
