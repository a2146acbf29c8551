"""What a clinic does around an injection: check, consent, observation, AEFI, supply, charges."""
