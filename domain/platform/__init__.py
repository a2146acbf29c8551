"""What the outside is told: bills, temperatures and injections to the national platform."""
