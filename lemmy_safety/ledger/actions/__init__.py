"""Actions on objects: wanted, under way, ended; and the circuit breaker that counts them. Carries nothing out."""
