"""What temperatures do to a vaccine: mean kinetic temperature, heat budgets, time out of range."""
