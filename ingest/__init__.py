"""MQTT in, events out: decode, validate, de-duplicate, commit, acknowledge."""
